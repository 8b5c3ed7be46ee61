# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report on VMs that moved, are moving, or are nowhere: it advises nothing that harms them, nor says that all is well."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.plugin_utils.fleet_report import DEEP, document
from ansible_collections.limiquantix.kvm.tests.unit.plugins.plugin_utils.fleet_answers import (
    NOW,
    OPERATION,
    snapshot,
    told,
    vm,
)


@pytest.mark.parametrize(
    ("fleet", "word", "kinds"),
    [
        ({"a": told(), "b": told()}, "look", ["none"]),
        ({"a": told(), "b": {}}, "act", ["unknown", "none"]),
        ({"a": told(missing=["gone"])}, "act", ["absent"]),
        ({"a": {}}, "act", ["unknown"]),
        ({"a": told(), "b": told(vm())}, "ok", []),
    ],
    ids=str,
)
def test_where_no_vm_was_found_at_all_nothing_is_well(fleet: dict[str, Any], word: str, kinds: list[str]) -> None:
    """A glob with a slip matches nothing on any host, and so nothing was looked at."""
    report = document(fleet, NOW)
    assert (report["word"], [one["kind"] for one in report["findings"]]) == (word, kinds)


def test_a_vm_that_runs_on_two_hosts_is_told_once() -> None:
    off = vm(state="shutoff")
    report = document({"a": told(vm()), "b": told(vm()), "c": told(off)}, NOW)
    (finding,) = [one for one in report["findings"] if one["kind"] != "moved"]
    assert (finding["word"], finding["kind"], finding["host"], "a and b" in finding["text"]) == (
        "act",
        "twice",
        "a",
        True,
    )
    (finding,) = document({"a": told(vm()), "c": told(off)}, NOW)["findings"]
    assert (finding["word"], finding["kind"], finding["host"]) == ("look", "moved", "c")


@pytest.mark.parametrize("other", ["running", "paused", "pmsuspended"])
def test_nobody_is_told_to_stop_a_vm_that_may_be_moving(other: str) -> None:
    """While a migration is under way it runs on one host and is paused on the other: whoever destroys one may destroy both."""
    (finding,) = document({"a": told(vm()), "b": told(vm(state=other))}, NOW)["findings"]
    assert finding["kind"] == "twice"
    assert "live migration), leave it alone" in finding["text"]
    assert "virsh" not in finding["text"]


def test_of_a_vm_that_runs_on_another_host_nothing_is_advised_to_go() -> None:
    kept = {"file": "/k", "reason": "it was vdb", "bring_back": "virsh attach-disk"}
    left = vm(
        state="shutoff", orphans=["/o"], unknown_overlays=["/o", "/u"], kept=[kept], problems=["vda cannot be read"],
        chains=[{"target": "vda", "depth": DEEP, "complete": True}], snapshots=[snapshot(expires="2026-11-25")],
        operation={**OPERATION, "interrupted": True},
    )  # fmt: skip
    findings = document({"a": told(vm()), "b": told(left)}, NOW)["findings"]
    assert [(one["host"], one["kind"]) for one in findings] == [("b", "problem"), ("b", "interrupted"), ("b", "moved")]
    texts = " ".join(one["text"] for one in findings)
    assert "runs on a" in texts
    assert not any(word in texts for word in ("virsh", "vm_snapshot_prune", "The next run"))
