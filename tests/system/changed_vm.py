# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM with snapshots on which faults are planted, and what its disks hold then."""

from __future__ import annotations

import re

from lab.api import Host, reset_vm

from .guest import holds, write
from .planted import Planted, only, planted

__all__ = ("planted",)

VM, DISKS = "files01", {"vda": 0, "vdb": 1, "vdc": 2}

PRISTINE = {"files01.qcow2", "files01-vdb.qcow2", "files01-vdc.raw", "files01-sda.iso"}


def fresh(planted: Planted, *names: str, vm: str = VM) -> Host:
    """Return the host with a pristine VM and snapshots of it; before the n-th its vda was filled with n, now with more."""
    host = planted.host
    reset_vm(host, vm)
    for number, name in enumerate(names, 1):
        write(host, vm, 0, number)
        assert only(planted.snapshot("", vm, name, quiesce="never"))["error_code"] is None
    write(host, vm, 0, len(names) + 1)
    return host


def disk(host: Host, vm: str, target: str = "vda") -> str:
    """Return the image that a disk is on, by virsh's own word."""
    found = re.search(rf"^\s*{target}\s+(\S+)", host.virsh("domblklist", vm), re.MULTILINE)
    assert found
    return found[1]


def state(host: Host, vm: str = VM) -> str:
    return host.virsh("domstate", vm).strip()


def holds_now(host: Host, pattern: int, vm: str = VM, size: str = "64k") -> bool:
    return holds(host, disk(host, vm), "qcow2", pattern, size)


def job(host: Host, vm: str = VM, target: str = "vda") -> str:
    """Return what virsh says of a disk's block job; nothing where there is none, as of a VM that is off."""
    said = host.run(["virsh", "blockjob", vm, target], check=False)
    none = any(text in said.stdout + said.stderr for text in ("No current block job", "domain is not running"))
    return "" if none else (said.stdout + said.stderr).strip()


def sound(planted: Planted, vm: str = VM) -> None:
    info = planted.info(vm)
    found = {key: info[key] for key in ("missing_files", "unknown_overlays", "orphans", "problems", "operation")}
    assert not any(found.values()), found
