# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM whose disk is not there now: what it is based on cannot be read, and it may be back tomorrow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .field import MakeVm, agreed, make_vm
from .field_disk import Disk, create_image
from .field_vm import FieldVm
from .other_users import HOME, home, names, template, well
from .planted import Planted, planted

__all__ = ("home", "make_vm", "planted")

MOUNT, STORE = f"{HOME}/mnt", "/opt/fustore/a/b"
AWAY = "/var/tmp/fuaway"
APP = f"{MOUNT}/fuapp.qcow2"
FSTAB = f"{STORE} {MOUNT} none bind,noauto 0 0"


@pytest.fixture(autouse=True)
def mounted(planted: Planted, home: None) -> Iterator[None]:
    away = f"umount {MOUNT}; rm -rf /opt/fustore {AWAY}; sed -i '\\|^{FSTAB}$|d' /etc/fstab"
    planted.host.run(away, check=False)
    planted.host.run(f"mkdir -p {MOUNT} {STORE} && echo '{FSTAB}' >> /etc/fstab && mount {MOUNT}")
    yield
    planted.host.run(away, check=False)


def clone_away(make_vm: MakeVm, known_by: str) -> FieldVm:
    """Return a template with s1, and 42 since, whose clone's storage is not mounted."""
    vm = template(make_vm, HOME)
    well(vm.take("s1"))
    vm.write("vda", 42)
    create_image(vm.host, APP, backing=f"{HOME}/futmpl.qcow2")
    app = make_vm("fuapp", Disk("vda", file=APP, size=""), directory=f"{HOME}/other")
    if known_by == "a record":
        well(app.take("a1"))
    elif known_by == "libvirt":
        below = f"<backingStore type='file'><format type='qcow2'/><source file='{HOME}/futmpl.qcow2'/></backingStore>"
        app.redefine("<target dev='vda'", f"{below}<target dev='vda'")
    vm.host.run(["umount", MOUNT])
    return vm


@pytest.mark.parametrize("known_by", ["a record", "libvirt"])
def test_a_clone_whose_storage_is_not_mounted_and_that_was_known(make_vm: MakeVm, known_by: str) -> None:
    vm = clone_away(make_vm, known_by)
    entry = well(agreed(vm.remove, "s1")[1])
    # The record knows the directory behind the mount, whose image can be read.
    because = f"{STORE}/fuapp.qcow2 is based on it" if known_by == "a record" else "VM fuapp"
    assert names(entry["notes"], f"{HOME}/futmpl.qcow2 stays", because), entry["notes"]
    vm.host.run(["mount", MOUNT])
    assert vm.reads(APP, 1), entry["msg"]
    assert vm.disk_reads("vda", 42)


@pytest.mark.parametrize("how", ["not mounted", "moved away"])
def test_a_disk_that_is_not_there_and_of_which_nothing_is_known_is_named(make_vm: MakeVm, how: str) -> None:
    """Only its own directory is unknown; whoever brings it back must know that it may be spoilt."""
    vm = clone_away(make_vm, "nobody")
    if how == "moved away":
        vm.host.run(f"mount {MOUNT} && mkdir {AWAY} && mv {APP} {AWAY}/away.qcow2")
    entry = well(agreed(vm.remove, "s1")[1])
    app = f"{STORE}/fuapp.qcow2" if how == "moved away" else APP  # behind the mount, where there is one
    assert names(entry["notes"], app, "VM fuapp", f"{HOME}/futmpl.qcow2"), entry["notes"]
    assert names(entry["notes"], f"{MOUNT} is not mounted") == (how == "not mounted"), entry["notes"]
    assert vm.disk_reads("vda", 42)
