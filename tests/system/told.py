# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What vm_snapshot_info tells of a VM of the lab."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from lab.api import Host, reset_vm

from system.ansible_run import run_module

IMAGES = "/var/lib/libvirt/images"


@pytest.fixture
def off01(host: Host) -> Iterator[str]:
    """A shut-off VM that a test may do anything to."""
    reset_vm(host, "off01")
    yield "off01"
    reset_vm(host, "off01")


@pytest.fixture
def files01(host: Host) -> Iterator[str]:
    """A running one, with two qcow2 disks, a raw one and a cdrom."""
    reset_vm(host, "files01")
    yield "files01"
    reset_vm(host, "files01")


def info(host: Host, vm: str, **options: Any) -> dict[str, Any]:
    """The entry of one VM."""
    result = run_module(host, "vm_snapshot_info", {"vms": [vm], **options})
    assert not result["failed"], result["msg"]
    assert result["changed"] is False
    (entry,) = result["vms"]
    assert entry["vm"] == vm
    return entry


def snapshot(host: Host, vm: str, name: str, *options: str) -> None:
    host.virsh("snapshot-create-as", vm, name, *options)


def no_trouble(entry: dict[str, Any]) -> bool:
    return not (entry["problems"] or entry["missing_files"] or entry["unknown_overlays"])
