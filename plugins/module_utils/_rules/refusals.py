# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What more than one backend refuses, in the same words and with the same details."""

from __future__ import annotations

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot


def snapshot_changed(vm: str, snapshot: Snapshot) -> KvmError:
    """Return the error of a revert to what others have written to since."""
    return KvmError(
        "snapshot_changed",
        f"{vm} cannot be reverted to snapshot {snapshot.name!r} as it was: {'; '.join(snapshot.past_reasons)}.",
        "Nothing was changed, and the VM was not stopped. Bring the file back from a backup with its time (cp -p, rsync -a), "
        "choose another snapshot, or take it as it is now: accept_changed: true.",
        snapshot=snapshot.name,
        reasons=list(snapshot.past_reasons),
    )


def record_newer(vm: str, theirs: str, ours: str) -> KvmError:
    """Return the error of a record that a later release wrote, of which this one would lose something."""
    return KvmError(
        "record_newer",
        f"The record of {vm} on its host was written by version {theirs} of this collection, and this is {ours}.",
        "Nothing was changed. Update the collection where Ansible runs: ansible-galaxy collection install --upgrade "
        "limiquantix.kvm.",
        written_by=theirs,
        version=ours,
    )
