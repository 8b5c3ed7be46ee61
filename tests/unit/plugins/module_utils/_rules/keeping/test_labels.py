# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels as a filter."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.labels import (
    as_labels,
    carries,
    label_filter,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import snapshot

CARRIED = {"by": "me", "change": "42"}


@pytest.mark.parametrize(
    ("labels", "carried"),
    [
        (None, True),
        ({"by": "me"}, True),
        (CARRIED, True),
        ({**CARRIED, "more": "x"}, False),
        ({"by": "you"}, False),
        ({"by": ""}, False),
        ({"By": "me"}, False),
        ({"by": "me", "change": "43"}, False),
    ],
)
def test_all_that_are_given_must_be_carried(labels: Any, carried: bool) -> None:
    assert carries(snapshot("s", labels=CARRIED), labels) is carried


def test_a_value_that_is_no_text_is_the_same_when_it_is_kept_and_when_it_is_looked_for() -> None:
    given = {"change": 42, "golden": True, 7: None}
    kept = as_labels(given)
    assert kept == {"change": "42", "golden": "True", "7": "None"}
    assert carries(snapshot("s", labels=kept), label_filter(given))


def test_an_empty_filter_is_an_empty_variable() -> None:
    assert label_filter(None) is None
    with pytest.raises(KvmError, match="would choose every snapshot") as caught:
        label_filter({})
    assert caught.value.error_code == "bad_request"
