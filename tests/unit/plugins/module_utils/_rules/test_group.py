# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tells that a snapshot belongs to a group."""

from __future__ import annotations

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.group import (
    confirmed,
    group_labels,
    is_pending,
    seconds_since_end,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.appointment import Appointment
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot

APPOINTMENT = Appointment("boot", 1.0, 2.0, 3.0, 6.0)


def test_a_member_is_pending_until_it_is_confirmed() -> None:
    labels = group_labels({"team": "web"}, "g", ["b", "a"], APPOINTMENT)
    assert is_pending(Snapshot("s", labels=labels))
    after = confirmed(labels)
    assert after == {"team": "web", "group": "g", "group_members": "a,b"}
    assert not is_pending(Snapshot("s", labels=after))


@pytest.mark.parametrize("label", ["group", "group_members", "group_pending"])
def test_nobody_gives_these_labels_himself(label: str) -> None:
    with pytest.raises(KvmError) as caught:
        group_labels({label: "x"}, "g", [], APPOINTMENT)
    assert caught.value.error_code == "bad_request"


def test_how_long_ago_it_was_is_known_until_the_host_is_started_anew() -> None:
    snapshot = Snapshot("s", labels=group_labels(None, "g", [], APPOINTMENT))
    assert seconds_since_end(snapshot, "boot", 16.0) == pytest.approx(10.0)
    assert seconds_since_end(snapshot, "another", 16.0) is None
    assert seconds_since_end(Snapshot("s", labels={"group_pending": "boot x"}), "boot", 16.0) is None
