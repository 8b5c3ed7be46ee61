# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tells that a snapshot belongs to a group: labels, so that whoever reads or removes snapshots sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.appointment import Appointment
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot

GROUP, MEMBERS, PENDING = "group", "group_members", "group_pending"
# Of the run that cut a group nothing is heard any more UNDO_AFTER seconds after its hard end; it confirms only until
# CONFIRM_WITHIN. So nobody undoes what that run is about to confirm.
CONFIRM_WITHIN, UNDO_AFTER = 60.0, 90.0


def group_labels(
    given: Optional[Mapping[str, str]], group: str, members: Sequence[str], appointment: Appointment
) -> dict[str, str]:
    """Return the labels of a member that is not confirmed yet. Raises ``bad_request``."""
    labels = dict(given or {})
    taken = sorted({GROUP, MEMBERS, PENDING}.intersection(labels))
    if taken:
        message = f"The label{'s' if len(taken) > 1 else ''} {', '.join(taken)} cannot be given to a group's snapshot."
        raise KvmError("bad_request", message, "Nothing was changed. The playbook sets them itself: leave them out.")
    pending = f"{appointment.boot_id} {appointment.hard_end:.3f}"
    return {**labels, GROUP: group, MEMBERS: ",".join(sorted(members)), PENDING: pending}


def is_pending(snapshot: Snapshot) -> bool:
    """Whether nobody has said yet that a snapshot was taken at one moment with the rest of its group."""
    return PENDING in snapshot.labels


def confirmed(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of a member whose group was taken at one moment."""
    return {key: value for key, value in labels.items() if key != PENDING}


def seconds_since_end(snapshot: Snapshot, boot_id: str, now: float) -> Optional[float]:
    """Return how long ago a pending snapshot's hard end was, None where the host was started anew since."""
    boot, _space, hard_end = snapshot.labels.get(PENDING, "").partition(" ")
    try:
        return now - float(hard_end) if boot == boot_id else None
    except ValueError:  # no label of ours
        return None
