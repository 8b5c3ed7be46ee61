# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking a planned snapshot in the mock: what its guest agent does meanwhile, then one change of the state file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.meeting import Meeting, boot_time
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.images import add_file, add_overlay
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.json_format import DEFAULT_SIZE
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.vm_xml import vm_element
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.firmware_states import firmware_states
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.expiry import expiry
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import libvirt_error
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.freeze import (
    Freeze,
    freeze_seconds,
    notes_on,
    require_frozen,
    thaw_failed,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.memory import memory_timeout
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.appointment import Stamps
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import SnapshotPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine

_OPERATION_FAILED = 9  # virterror.h
# Only these are kept of a snapshot; the rest is found out when it is read.
_FOUND_OUT = ("current", "missing_files", "past", "past_reasons", "untold")


def freeze_guest(plan: SnapshotPlan, agent: str, slow_seconds: float, deadline: Deadline) -> Freeze:
    """Return how the freeze of this guest goes; raise ``quiesce_failed`` where it cannot begin and is required."""
    if not plan.freeze:
        return Freeze(False)
    seconds = freeze_seconds(plan, deadline)
    if agent == "silent":
        silent = Freeze(False, "the guest agent did not freeze: Guest agent is not responding")
        require_frozen(plan, silent)
        return silent
    if agent == "stuck":
        return Freeze(False, "the guest agent did not answer when it was asked to thaw", still_frozen=True)
    if agent == "thaws_early":
        return Freeze(False, "the guest thawed before the snapshot was complete")
    if slow_seconds > seconds:
        return Freeze(False, f"the freeze reached its limit of {seconds} seconds")
    return Freeze(True)


def wait_while_taking(plan: SnapshotPlan, slow_seconds: float, deadline: Deadline) -> None:
    """Take as long as this VM takes; raise ``timeout`` where saving its memory takes longer than there is."""
    if not plan.request.include_memory:
        time.sleep(slow_seconds)
        return
    time.sleep(min(slow_seconds, deadline.remaining()))
    if deadline.passed:
        raise memory_timeout(plan.vm.name, deadline.seconds)


@contextmanager
def held(vm: VirtualMachine, meeting: Optional[Meeting]) -> Iterator[None]:
    """Hold a VM for the block together with its group's other members here; without a meeting nothing is held."""
    if meeting is None:
        yield
        return
    meeting.gather(vm.name)
    began = held_at = boot_time()
    meeting.cut(vm.name)
    switched_from = boot_time()
    yield
    switched_to = boot_time()
    meeting.last()
    meeting.note(vm.id.uuid, Stamps(began, held_at, switched_from, switched_to, boot_time()))


def switch_disks(plan: SnapshotPlan, state: dict[str, Any], native: dict[str, Any], quiesced: bool) -> None:
    """Put every disk on its overlay and add the snapshot."""
    if any(snapshot["name"] == plan.request.name for snapshot in native["snapshots"]):
        text = f"operation failed: domain moment {plan.request.name} already exists"
        raise libvirt_error(plan.vm.name, "taking the snapshot", _OPERATION_FAILED, text)
    overlays = {disk.target: str(disk.file) for disk in plan.snapshot.disks}
    for disk in native["disks"]:
        overlay = overlays.get(disk["target"])
        if overlay:
            add_overlay(state, overlay, disk["source"])
            disk.update(source=overlay, format="qcow2", type="file")
    if plan.snapshot.memory_file:
        add_file(state, plan.snapshot.memory_file, {"format": "raw", "size": plan.vm.memory_bytes})
    firmware = firmware_states(vm_element(native))
    for part, copy in plan.snapshot.firmware_copies.items():
        add_file(state, copy, {"format": "raw", "size": DEFAULT_SIZE, **state["files"][firmware[part].file]})
    snapshot = {key: value for key, value in asdict(plan.snapshot).items() if key not in _FOUND_OUT}
    snapshot["disks"] = [{key: disk[key] for key in ("target", "file", "format", "base")} for disk in snapshot["disks"]]
    taken = datetime.now(timezone.utc).replace(microsecond=0)
    snapshot["created_at"] = taken.isoformat()
    snapshot["expires"] = expiry(plan.request.expires, taken)
    snapshot["quiesced"] = quiesced
    native["snapshots"].append(snapshot)
    native["current"] = plan.request.name


def report(plan: SnapshotPlan, freeze: Freeze) -> tuple[str, ...]:
    """Return the notes on a snapshot that was taken; raise ``thaw_failed`` or ``quiesce_lost`` where that is worse."""
    if freeze.still_frozen:
        raise thaw_failed(plan.vm.name, f"Thaw it: virsh domfsthaw {plan.vm.name}.")
    return notes_on(plan, freeze)
