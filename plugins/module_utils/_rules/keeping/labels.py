# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels as a filter: a snapshot must carry all that are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot


def as_labels(given: Optional[Mapping[Any, Any]]) -> Optional[dict[str, str]]:
    """Return labels as they are kept, None where none are given."""
    return None if given is None else {str(key): str(value) for key, value in given.items()}


def label_filter(given: Optional[Mapping[Any, Any]]) -> Optional[dict[str, str]]:
    """Return the labels that a snapshot must carry; raise ``bad_request`` for a filter that is empty.

    That is what an empty variable of a play becomes, and it would let every snapshot pass.
    """
    labels = as_labels(given)
    if labels is not None and not labels:
        message = "labels is empty, so it would choose every snapshot."
        raise KvmError("bad_request", message, "Nothing was changed. Give a label, or leave labels out.")
    return labels


def carries(snapshot: Snapshot, labels: Optional[Mapping[str, str]]) -> bool:
    """Whether a snapshot carries all the labels."""
    return all(snapshot.labels.get(key) == value for key, value in (labels or {}).items())
