# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a VM is after a revert: its clock, and its power."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from lab.api import Host

from .ansible_run import run_module
from .conftest import Fresh
from .guest import is_writing, wait_for

FULL = "/srv/full"
_AGO = 8  # seconds


def snapshot(host: Host, vm: str, **options: Any) -> dict[str, Any]:
    """Do something with snapshot s1 of a VM; return its entry."""
    entry: dict[str, Any] = run_module(host, "vm_snapshot", {"vms": [vm], "name": "s1", **options})["vms"][0]
    assert entry["error_code"] is None, entry
    return entry


def behind(host: Host, vm: str) -> float:
    """Return by how many seconds a guest's clock is behind, as its agent tells it."""
    answer = host.run(["virsh", "qemu-agent-command", vm, '{"execute": "guest-get-time"}']).stdout
    return time.time() - float(json.loads(answer)["return"]) / 1e9


def test_the_clock_of_a_guest_with_an_agent_is_right_after_memory_was_loaded(host: Host, fresh: Fresh) -> None:
    fresh("web01")
    snapshot(host, "web01", include_memory=True)
    time.sleep(_AGO)  # it is this time by which the clock would be behind
    assert snapshot(host, "web01", state="reverted")["notes"] == []
    assert abs(behind(host, "web01")) < 3


def test_a_guest_without_an_agent_is_told_to_be_behind(host: Host, fresh: Fresh) -> None:
    fresh("db01")
    since = snapshot(host, "db01", include_memory=True)["snapshot"]["created_at"]
    (note,) = snapshot(host, "db01", state="reverted")["notes"]
    assert note.startswith(f"the clock of db01 goes on from {since}")
    assert "it has no guest agent" in note


def test_a_guest_that_is_paused_after_memory_was_loaded_is_told_to_be_behind(host: Host, fresh: Fresh) -> None:
    fresh("web01")
    snapshot(host, "web01", include_memory=True)
    (note,) = snapshot(host, "web01", state="reverted", power="paused")["notes"]
    assert "not set because it is paused" in note


@pytest.fixture
def full(host: Host) -> Any:
    """A small file system."""
    host.run(["mkdir", "-p", FULL])
    host.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=0755", "tmpfs", FULL])
    yield FULL
    host.run(["umount", "--lazy", FULL], check=False)


def test_restore_means_running_where_a_full_file_system_paused_the_vm(host: Host, fresh: Fresh, full: str) -> None:
    fresh("web01")
    snapshot(host, "web01", overlay_dir=full)
    host.run(["sh", "-c", f"dd if=/dev/zero of={full}/fill bs=4k 2>&1 || true"])
    wait_for("the pause", lambda: "I/O error" in host.run(["virsh", "domstate", "--reason", "web01"]).stdout, 60)
    host.run(["rm", f"{full}/fill"])
    assert snapshot(host, "web01", state="reverted")["power"] == "running"
    assert is_writing(host, "web01", 60)  # it boots first


def test_restore_means_paused_where_somebody_has_paused_the_vm(host: Host, fresh: Fresh) -> None:
    fresh("web01")
    snapshot(host, "web01")
    host.run(["virsh", "suspend", "web01"])
    assert snapshot(host, "web01", state="reverted")["power"] == "paused"
