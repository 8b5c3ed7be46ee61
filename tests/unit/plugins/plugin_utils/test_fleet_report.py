# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report on the fleet: what needs a hand is found, what is not known is never nothing, and text stays text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.filter.fleet_report import fleet_report
from ansible_collections.limiquantix.kvm.plugins.plugin_utils.fleet_report import DEEP, as_text, document, line, size
from ansible_collections.limiquantix.kvm.tests.unit.plugins.plugin_utils.fleet_answers import (
    NOW,
    OPERATION,
    snapshot,
    told,
    vm,
)


def found(*vms: dict[str, Any], **values: Any) -> list[tuple[str, str, str | None]]:
    """Return word, kind and VM of what is found on a host that has these VMs."""
    report = document({"hv": told(*vms, **values)}, NOW)
    return [(one["word"], one["kind"], one["vm"]) for one in report["findings"]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, []),
        ({"failed": True, "msg": "Its record was written by a newer version."}, [("act", "unread")]),
        ({"problems": ["a", "b"]}, [("act", "problem"), ("act", "problem")]),
        ({"missing_files": [{"snapshot": "s", "file": "/gone"}]}, [("act", "missing")]),
        ({"operation": {**OPERATION, "interrupted": True}}, [("act", "interrupted")]),
        ({"operation": {**OPERATION, "interrupted": False}}, [("work", "running")]),
        ({"kept": [{"file": "/k", "reason": "it was vdb", "bring_back": None}]}, [("look", "kept")]),
        ({"unknown_overlays": ["/a", "/b"], "orphans": ["/a"]}, [("look", "orphan"), ("look", "strange")]),
        ({"unknown_overlays": ["/a"], "orphans": ["/a"]}, [("look", "orphan")]),
        ({"notes": ["n"]}, [("look", "note")]),
        ({"chains": [{"target": "vda", "depth": DEEP, "complete": True}]}, [("look", "deep")]),
        ({"chains": [{"target": "vda", "depth": DEEP - 1, "complete": True}]}, []),
        ({"snapshots": [snapshot(past="unproven"), snapshot("t", past="unproven")]}, [("look", "unproven")]),
        ({"snapshots": [snapshot(expires="2026-11-26T15:59:59+00:00")]}, [("look", "expired")]),
        ({"snapshots": [snapshot(expires="2026-11-26T15:59:59Z")]}, [("look", "expired")]),
        ({"snapshots": [snapshot(expires="2026-11-25")]}, [("look", "expired")]),
        ({"snapshots": [snapshot(expires="2026-11-26T17:00:00+01:00")]}, [("look", "expired")]),
        ({"snapshots": [snapshot(expires="2026-11-27"), snapshot(expires=None), snapshot(expires="never")]}, []),
    ],
    ids=str,
)  # fmt: skip
def test_what_a_vm_needs(values: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert found(vm(**values)) == [(word, kind, "web01") for word, kind in expected]


def test_a_vm_nothing_is_told_of_is_not_well() -> None:
    """The node agent does not look at images and files: one line for each host that it is asked on."""
    keys = ("problems", "missing_files", "kept", "orphans", "unknown_overlays", "notes", "look")
    silent = [vm(name, uuid=name, **dict.fromkeys(keys)) for name in ("a", "b")]
    report = document({"agent": told(*silent, filesystems=None), "hv": told(vm())}, NOW)
    (finding,) = report["findings"]
    assert (finding["word"], finding["kind"], finding["host"], finding["vm"]) == ("look", "untold", "agent", None)
    assert finding["text"].endswith(": a, b.")
    assert (report["word"], report["counts"]["unknown_vms"]) == ("look", 2)
    assert "2 of the VMs unknown" in report["line"]


@pytest.mark.parametrize("unknown", [False, True])
def test_a_name_that_no_host_has_is_told_once(unknown: bool) -> None:
    """Also one that is on another host, by its name or its UUID, is there."""
    hosts = {
        "a": told(vm(), missing=["gone", "db01", "AF-1"]),
        "b": told(vm("db01", uuid="af-1"), missing=["gone", "web01"]),
    }
    report = document({**hosts, **({"c": {}} if unknown else {})}, NOW)
    (finding,) = [one for one in report["findings"] if one["kind"] == "absent"]
    assert (finding["word"], finding["host"], finding["vm"]) == ("act", None, "gone")
    assert ("1 could not be read" in finding["text"]) is unknown


@pytest.mark.parametrize(
    ("free", "expected"), [(10, []), (9, ["look"]), (5, ["look"]), (4, ["act"]), (0, ["act"]), (None, ["act"])]
)
def test_a_file_system_that_is_nearly_full_or_does_not_answer(free: int | None, expected: list[str]) -> None:
    vms = ["a", "b", "c", "d", "e", "f"]
    room = {"path": "/srv", "total": None if free is None else 100, "free": free, "vms": vms, "written_by": vms}
    report = document({"hv": told(vm(), filesystems=[room])}, NOW)
    assert [one["word"] for one in report["findings"]] == expected
    assert all("a, b, c, d, e and 1 more" in one["text"] for one in report["findings"])


@pytest.mark.parametrize(
    ("writers", "says"),
    [(["b"], "If it is full, these VMs stop: b."), ([], "No VM writes to it now.")],
)
def test_a_full_file_system_stops_those_that_write_to_it(writers: list[str], says: str) -> None:
    room = {"path": "/srv", "total": 100, "free": 1, "vms": ["a", "b"], "written_by": writers}
    (finding,) = document({"hv": told(vm(), filesystems=[room])}, NOW)["findings"]
    assert finding["text"].endswith(says)


def test_a_chain_that_was_not_read_to_its_end_may_be_deeper() -> None:
    chain = {"target": "vda", "depth": DEEP, "complete": False}
    (finding,) = document({"hv": told(vm(chains=[chain]))}, NOW)["findings"]
    assert f"has at least {DEEP} layers" in finding["text"]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"unreachable": True, "msg": "No route to host"},
        {"error_code": "missing_library", "msg": "python3-libvirt is missing.", "vms": [], "filesystems": None},
        {"msg": "MODULE FAILURE", "module_stderr": "no python"},
    ],
    ids=str,
)
def test_a_host_that_tells_nothing_is_unknown_and_never_left_out(answer: dict[str, Any]) -> None:
    report = document({"hv": answer, "other": told(vm())}, NOW)
    assert [(host["host"], host["known"]) for host in report["hosts"]] == [("hv", False), ("other", True)]
    (finding,) = report["findings"]
    assert (finding["word"], finding["kind"], finding["host"]) == ("act", "unknown", "hv")
    assert finding["text"] == answer.get("msg", "The host was not asked.")
    assert (report["word"], report["counts"]["unknown_hosts"]) == ("act", 1)
    assert "1 of the hosts unknown" in report["line"]


def test_a_host_without_vms_and_one_where_some_vm_fails_are_known() -> None:
    failed = told(vm(failed=True, msg="x"), vm("db01"), error_code="record_newer", failed=True)
    report = document({"empty": told(), "hv": failed, "agent": told(vm("c", uuid="c"), filesystems=None)}, NOW)
    assert [host["known"] for host in report["hosts"]] == [True, True, True]
    assert report["counts"] | {} == {
        "act": 1, "work": 0, "look": 0, "unknown_hosts": 0, "unknown_vms": 1, "hosts": 3, "vms": 3, "snapshots": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("percent", "left", "said"),
    [
        (42, 180, ", 42 % of a layer, about 3 min left of it, since"),
        (42, None, ", 42 % of a layer, since"),
        (None, None, " s, since"),
    ],
)
def test_work_has_its_percent_and_its_time(percent: int | None, left: int | None, said: str) -> None:
    operation = {**OPERATION, "percent": percent, "seconds_left": left, "interrupted": False}
    (finding,) = document({"hv": told(vm(operation=operation))}, NOW)["findings"]
    assert said in finding["text"]


def test_what_needs_a_hand_comes_first() -> None:
    assert [word for word, _kind, _vm in found(vm(notes=["n"]), vm("b", operation={**OPERATION, "interrupted": False}),
                                               vm("c", problems=["p"]))] == ["act", "work", "look"]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ({}, "Nothing needs a hand. 1 host, 0 VMs, 1 snapshot."),
        ({"act": 1}, "1 thing needs a hand. 1 host, 0 VMs, 1 snapshot."),
        (
            {"look": 1, "unknown_hosts": 1, "unknown_vms": 2, "vms": 3},
            "Nothing needs a hand, 1 to look at. 1 host, 3 VMs, 1 snapshot, 1 of the hosts unknown, 2 of the VMs unknown.",
        ),
        ({"act": 2, "look": 3, "work": 1}, "2 things need a hand, 3 to look at, 1 at work. 1 host, 0 VMs, 1 snapshot."),
    ],
)
def test_the_one_line(number: dict[str, int], expected: str) -> None:
    none = dict.fromkeys(("act", "work", "look", "unknown_hosts", "unknown_vms", "vms"), 0)
    assert line({**none, "hosts": 1, "snapshots": 1, **number}) == expected


@pytest.mark.parametrize(
    "name", ["</script><script>alert(1)</script>", "{{ 7 * 7 }}{% x %}{# y", "a & b", "{{{", "\\{{", "ü\u2028"]
)
def test_a_name_is_text_wherever_it_stands(name: str) -> None:
    text = fleet_report({"hv": {"read": told(vm(name, notes=[name]))}}, ["hv"], "read", NOW.isoformat())
    assert json.loads(text)["hosts"][0]["vms"][0]["vm"] == name
    assert not any(mark in text for mark in ("<", ">", "&", "{{", "{%", "{#", "\u2028"))


def test_hosts_that_were_meant_are_there_whatever_they_registered() -> None:
    """What Ansible has of a host is taken as it is: no string of it is a template."""

    class HostVars(dict[str, Any]):
        def raw_get(self, host: str) -> dict[str, Any]:
            return {"b": {}, "a": {"read": told(vm())}}[host]

    report = json.loads(fleet_report(HostVars(), ["b", "a"], "read"))
    assert [(host["host"], host["known"]) for host in report["hosts"]] == [("a", True), ("b", False)]


def test_the_text_is_the_report() -> None:
    report = document({"hv": told(vm(snapshots=[snapshot()]))}, NOW)
    assert json.loads(as_text(report)) == report
    assert report["made_at"] == "2026-11-26T16:00:00+00:00"


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (107374182400, "100 GiB"), (1 << 60, "1048576 TiB")],
)
def test_sizes_are_written_as_people_read_them(number: int, expected: str) -> None:
    assert size(number) == expected
