# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On a machine of its own, a stock Debian: what AppArmor forbids there. `make metal` runs these."""

from __future__ import annotations

from typing import Any

from .field import MakeVm, agreed, make_vm
from .field_vm import FieldVm
from .metal import planted

__all__ = ("make_vm", "planted")

# The removal ends when the profile has been adjusted, just before libvirt is asked for the commit.
_KILL_AFTER_ADJUSTING = """
original = live_commit.allow
def allow(*words):
    original(*words)
    die()
live_commit.allow = allow
"""


def _profile(vm: FieldVm) -> str:
    return f"/etc/apparmor.d/libvirt/libvirt-{vm.uuid}.files"


def _rules(vm: FieldVm) -> str:
    """Return the rules of its own profile, which AppArmor must accept."""
    vm.host.run(f"apparmor_parser -Q {_profile(vm).removesuffix('.files')}")
    return vm.host.run(["cat", _profile(vm)]).stdout


def _denial(vm: FieldVm) -> str:
    return f'deny "{vm.directory}/{vm.name}.qcow2" w,'


def _seen(vm: FieldVm) -> dict[str, Any]:
    """Return all that a refusal must leave as it is."""
    return {
        "record": vm.host.run(f"cat /var/lib/limiquantix-kvm/{vm.uuid}.json").stdout,
        "files": vm.files(),
        "snapshots": vm.snapshots(),
        "xml": vm.xml(),
        "profile": vm.host.run(f"stat -c '%i %Y %U %a' {_profile(vm)}").stdout,
        "process": vm.host.run(f"cat /run/libvirt/qemu/{vm.name}.pid").stdout,
    }


def test_a_live_removal_under_apparmor_is_refused_beforehand_or_adjusts_its_own_profile(make_vm: MakeVm) -> None:
    vm = make_vm("metal1")
    vm.write("vda", 1)
    assert vm.take("s1")["error_code"] is None
    vm.start()  # on a chain: libvirt denies its QEMU the base
    label = vm.host.run(f"cat /proc/$(cat /run/libvirt/qemu/{vm.name}.pid)/attr/current").stdout.strip()
    assert label == f"libvirt-{vm.uuid} (enforce)"
    assert _denial(vm) in _rules(vm)
    vm.write("vda", 2)

    before = _seen(vm)
    told, done = agreed(vm.remove, "s1")
    assert (told["error_code"], done["error_code"]) == ("apparmor_denied", "apparmor_denied"), done["msg"]
    assert done["details"] == {"profile": _profile(vm), "lines": [_denial(vm)]}
    assert _seen(vm) == before

    told, done = agreed(vm.remove, "s1", apparmor="adjust")
    assert (done["error_code"], done["changed"]) == (None, True), done["msg"]
    assert any(_denial(vm) in note for note in told["notes"]), told["notes"]
    assert _denial(vm) not in _rules(vm)
    assert vm.host.run(f"stat -c '%U %a' {_profile(vm)}").stdout.split() == before["profile"].split()[2:]
    assert vm.disk_reads("vda", 2)
    assert (vm.snapshots(), vm.active_file("vda")) == ([], f"{vm.directory}/{vm.name}.qcow2")
    vm.sound()

    # A kill between adjusting and the commit: whatever task comes next goes on, as the killed one was allowed.
    assert vm.take("s2")["error_code"] is None
    vm.write("vda", 3)
    vm.off()
    vm.start()
    rules = _rules(vm)
    assert _denial(vm) in rules  # as libvirt writes it, at each start
    killed = vm.planted.remove(_KILL_AFTER_ADJUSTING, vm.name, name="s2", apparmor="adjust")
    assert killed == {"killed": True}
    # Looked at here: libvirt 11.3 writes the profile anew after the pivot.
    assert set(rules.splitlines()) - set(_rules(vm).splitlines()) == {f"  {_denial(vm)}"}
    assert (vm.state, vm.disk_reads("vda", 3)) == ("running", True)
    done = vm.remove("s2")
    assert done["error_code"] is None, done["msg"]
    assert (vm.snapshots(), vm.active_file("vda")) == ([], f"{vm.directory}/{vm.name}.qcow2")
    assert vm.disk_reads("vda", 3)
    vm.sound()
