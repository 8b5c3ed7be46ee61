# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a merge of layers is refused or ends early, in the same words for all backends and with the same details."""

from __future__ import annotations

import os

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.merge import MergeGoesOnError, MergeProgress


def no_space_to_merge(vm: str, top: str, base: str, *, free: int, wanted: int, device: bool = False) -> KvmError:
    """Return the error of an image that may grow, by what a merge writes into it, by more than there is."""
    where, how = ("on that block device", " (lvextend)") if device else ("there", "")
    return KvmError(
        "no_space",
        f"Merging {top} of {vm} into {base} may need {wanted >> 20} MiB {where}, and {free >> 20} MiB are free.",
        f"Nothing was changed. Make room first{how}.",
        directory=os.path.dirname(base),
        free_bytes=free,
        wanted_bytes=wanted,
        reserve_bytes=0,
    )


def merge_timeout(vm: str, deadline: Deadline) -> KvmError:
    """Return the error of a merge that was given up: qemu-img, for a VM that is off, cannot go on with one."""
    return KvmError(
        "timeout",
        f"A layer of {vm} was not merged within {deadline.seconds:g} seconds, and the merge was aborted.",
        "The VM and its other snapshots are as before, and no file was deleted. Run the task again with "
        "a longer timeout. The merge of a VM that is off starts over.",
    )


def compare_timeout(vm: str, one: str, other: str, deadline: Deadline) -> KvmError:
    """Return the error of two images that were not compared in the time that the task gives a VM."""
    return KvmError(
        "timeout",
        f"{one} and {other} of {vm} were not compared within {deadline.seconds:g} seconds.",
        "No file was deleted. Run the task again with a longer timeout.",
    )


def merge_goes_on(vm: str, deadline: Deadline, progress: MergeProgress) -> MergeGoesOnError:
    """Return the error of a merge that QEMU goes on with after the task."""
    return MergeGoesOnError(
        f"A layer of {vm} is not merged after {deadline.seconds:g} seconds. The merge goes on without this task: {progress}.",
        f"Look how far it is with vm_snapshot_info. The next task on {vm} waits for it and finishes the removal: run this "
        "one again.",
        progress,
    )
