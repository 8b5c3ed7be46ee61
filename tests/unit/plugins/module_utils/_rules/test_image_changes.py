# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a snapshot is as it was, decided from notes and numbers alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import (
    CHANGED,
    UNCHANGED,
    UNPROVEN,
    Fingerprint,
    Identity,
    Past,
    before_merge,
    difference,
    earlier,
    noted_anew,
    same,
    spoilt,
    together,
)

WAS = Identity(size=100, mtime_ns=1_764_000_000_123_456_789, inode=1, device=2, backing="/vm/base")
NOW = replace(WAS, mtime_ns=WAS.mtime_ns + 5 * 10**9)
DATE = "2025-11-24T16:00:05+00:00"
NOTE = Fingerprint(WAS, since=2, states=("s2 x",))
BITMAPS = replace(NOTE, identity=replace(WAS, bitmaps=2, mapping="m"))


@pytest.mark.parametrize(
    ("found", "is_same"),
    [
        (replace(WAS, inode=7, device=8), True),
        (replace(WAS, mtime_ns=1_764_000_000_123_456_700), True),
        (replace(WAS, mtime_ns=1_764_000_000_123_456_000), True),
        (replace(WAS, mtime_ns=1_764_000_000_000_000_000), True),
        (replace(WAS, mtime_ns=1_764_000_000_123_000_000), False),
        (replace(WAS, mtime_ns=WAS.mtime_ns + 1), False),
        (replace(WAS, mtime_ns=0), False),
        (replace(WAS, size=101), False),
    ],
)
def test_a_copy_is_the_same(found: Identity, is_same: bool) -> None:
    assert same(WAS, found) == is_same


def lost(found: Identity, bitmaps: int = 1, snapshots: int = 0, mapping: Optional[str] = "m") -> Identity:
    return replace(found, bitmaps=bitmaps, snapshots=snapshots, mapping=mapping)


@pytest.mark.parametrize(
    ("note", "found", "gone", "active", "past"),
    [
        (NOTE, NOW, (), False, CHANGED),
        (NOTE, NOW, ("s2 x",), False, UNPROVEN),
        (NOTE, NOW, ("s9 x",), False, CHANGED),
        (NOTE, replace(NOW, backing="/vm/other"), ("s9 x",), False, UNPROVEN),
        (NOTE, replace(NOW, backing="/vm/other"), (), False, CHANGED),
        (BITMAPS, lost(NOW), (), False, UNPROVEN),
        (BITMAPS, lost(NOW), (), True, CHANGED),
        (BITMAPS, lost(NOW, mapping="n"), (), False, CHANGED),
        (BITMAPS, lost(NOW, bitmaps=2), (), False, CHANGED),
        (BITMAPS, lost(NOW, bitmaps=1, snapshots=1), (), False, CHANGED),
    ],
)
def test_who_may_have_written(
    note: Fingerprint, found: Identity, gone: tuple[str, ...], active: bool, past: str
) -> None:
    judged = difference(note, found, gone, active)
    assert judged.past == past
    assert judged.reasons
    if past == CHANGED:
        assert judged.reasons == (f"was changed by others on {DATE}; nobody knows its content",)


@pytest.mark.parametrize(
    ("note", "serial", "past"),
    [
        (NOTE, 2, UNCHANGED),
        (NOTE, 3, UNCHANGED),
        (NOTE, 1, UNPROVEN),
        (NOTE, 0, UNPROVEN),
        (replace(NOTE, changed_before=2, changed_at=DATE), 1, CHANGED),
        (replace(NOTE, changed_before=2, changed_at=DATE), 2, UNCHANGED),
        (replace(NOTE, changed_before=2, changed_at=DATE), 0, CHANGED),
        (replace(NOTE, changed_before=2, changed_at="2024-01-01T00:00:00+00:00"), 0, UNPROVEN),
        (replace(NOTE, writing=True), 2, UNPROVEN),
        (replace(NOTE, why="was merged"), 1, UNPROVEN),
    ],
)
def test_for_which_snapshot(note: Fingerprint, serial: int, past: str) -> None:
    judged = earlier(note, serial, "2025-01-01T00:00:00+00:00")
    assert (judged.past, bool(judged.reasons)) == (past, past != UNCHANGED)
    if note.why:
        assert judged.reasons == (note.why,)


def test_what_was_found_out_stays_known() -> None:
    assert noted_anew(None, NOW, 3, Past()) == Fingerprint(NOW, 3)
    assert noted_anew(NOTE, NOW, 3, Past()) == NOTE
    changed = noted_anew(NOTE, NOW, 3, difference(NOTE, NOW, (), False))
    assert [earlier(changed, serial, "").past for serial in (2, 3)] == [CHANGED, UNCHANGED]
    unproven = noted_anew(changed, NOW, 4, Past(UNPROVEN, ("why",)))
    assert [earlier(unproven, serial, "").past for serial in (2, 3, 4)] == [CHANGED, UNPROVEN, UNCHANGED]


def test_a_merge_keeps_the_worse_of_both() -> None:
    top = Fingerprint(NOW, 3, changed_before=3, changed_at=DATE, states=("s3 x",))
    above = Fingerprint(WAS, 4)
    images = before_merge(
        {"/base": NOTE, "/top": top, "/above": above, "/other": NOTE}, ["/top"], "/base", ("/above", "/x")
    )
    assert images["/base"] == Fingerprint(WAS, 3, 3, DATE, states=("s3 x",), writing=True)
    assert images["/above"] == replace(above, writing=True)
    assert images["/other"] == NOTE
    assert before_merge(images, ["/top"], "/base", ("/above",)) == images
    assert "/base" not in before_merge({"/base": NOTE}, ["/top"], "/base", ())
    assert "/base" not in before_merge({"/top": NOTE}, ["/top"], "/base", ())


def test_of_what_goes_down_at_once_the_worst_is_kept_and_the_highest_state() -> None:
    low = Fingerprint(NOW, 3, changed_before=3, changed_at=DATE, states=("s2 x",))
    top = Fingerprint(NOW, 5, states=("s3 x",))
    images = before_merge({"/base": NOTE, "/low": low, "/top": top}, ["/top", "/low"], "/base", ())
    assert images["/base"] == Fingerprint(WAS, 5, 3, DATE, states=("s3 x",), writing=True)
    assert "/base" not in before_merge({"/base": NOTE, "/top": top}, ["/top", "/low"], "/base", ())


def test_the_worst_counts() -> None:
    changed, unproven = Past(CHANGED, ("was changed",)), Past(UNPROVEN, ("is a block device",))
    assert together([("/a", Past()), ("/b", Past())]) == Past()
    assert together([("/a", unproven), ("/b", changed), ("/c", changed)]) == Past(
        CHANGED, ("/b was changed", "/c was changed")
    )
    assert together([("/a", unproven), ("/b", unproven), ("/c", Past())]) == Past(
        UNPROVEN, ("/a is a block device (and 1 more)",)
    )


def test_each_image_is_a_problem_once() -> None:
    told = spoilt(
        [("s1", CHANGED, ("/a was changed",)), ("s2", CHANGED, ("/a was changed",)), ("s3", UNPROVEN, ("/b",))]
    )
    assert told == ("/a was changed (of snapshot 's1', 's2')",)
