# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM that this libvirt does not have, or not only this one: its newest data is nobody's to delete."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk
from .other_users import HOME, filled, home
from .planted import Planted, planted

__all__ = ("home", "make_vm", "planted")

SESSION = "/home/frida/.config/libvirt/qemu"


def test_a_vm_of_a_template_that_is_undefined_for_an_hour(make_vm: MakeVm) -> None:
    """Its image is based on the template's, and nobody's by now: an orphan on that is not the template's."""
    tmpl = make_vm("futmpl", "vda", directory=HOME)
    web = make_vm("fuweb", Disk("vda", backing=tmpl.active_file("vda")), directory=HOME)
    filled(web)
    newest, definition = web.active_file("vda"), web.xml(inactive=True)
    web.virsh("undefine", "--snapshots-metadata")
    entry = agreed(tmpl.prune, orphans=True)[1]
    assert entry["orphans_removed"] == [], entry
    assert web.reads(newest, 42)
    web.define(definition)
    assert web.disk_reads("vda", 42)


@pytest.fixture
def frida(planted: Planted) -> Iterator[str]:
    """The directory in which a user's own daemon has its definitions."""
    planted.host.run(f"mkdir -p {SESSION}")
    yield SESSION
    planted.host.run("rm -rf /home/frida")


@pytest.mark.parametrize("how", ["revert", "remove"])
def test_a_vm_that_somebody_runs_in_a_session_with_its_uuid(make_vm: MakeVm, frida: str, how: str) -> None:
    vm = filled(make_vm("fuweb", "vda", directory=HOME))
    overlay = vm.active_file("vda")
    vm.host.put(f"{frida}/fuweb.xml", vm.xml(inactive=True))
    vm.write("vda", 43)  # as a VM of the session does
    entry = agreed(vm.revert if how == "revert" else vm.remove, "s1")[1]
    assert vm.reads(overlay, 43), entry["msg"]
    assert overlay in (vm.active_file("vda"), *(one["file"] for one in vm.info()["kept"])), entry
