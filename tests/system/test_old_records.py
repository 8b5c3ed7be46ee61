# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an interrupted run of an earlier version left on a host is finished or undone by today's code, and nothing is lost.

Each record in tests/fixtures/records was written by the version in its folder, killed at some step; the VM is made as it was
found then. The bytes of its disks and snapshots judge.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contract.world import IMAGES, ROOT
from shares import NAMES

from .field_disk import Disk
from .field_vm import Entry, FieldVm
from .planted import Planted, planted

__all__ = ("planted",)

FIXTURES = ROOT / "tests/fixtures/records"
_SAYS = {"finished": "Finished|had taken", "undone": "Undid|Removed what"}
_AFTER = "after"  # a snapshot that only the test takes
_ON_HOST = "/run/records/world_of_old.py"
_CALLS = {"take": FieldVm.take, "revert": FieldVm.revert, "remove": FieldVm.remove}


def _call(planted: Planted, call: str, **arguments: Any) -> dict[str, Any]:
    done = planted.host.run(["python3", _ON_HOST, call], stdin=json.dumps(arguments))
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture
def vm(planted: Planted) -> Iterator[FieldVm]:
    """A VM that is not there yet, and is gone afterwards."""
    planted.host.put(_ON_HOST, Path(__file__).with_name("world_of_old.py").read_text(encoding="utf-8"))
    made = FieldVm(planted, "records1", "vda", Disk("vdb", format="raw"))
    made.wipe()
    yield made
    made.wipe()


def _left_behind(vm: FieldVm, file: Path) -> dict[str, Any]:
    """Make the VM and its record as the killed run left them; return the fixture."""
    text = file.read_text(encoding="utf-8").replace('"@', f'"{IMAGES}/{vm.name}')
    fixture: dict[str, Any] = json.loads(text)
    _call(vm.planted, "build", definition=vm.pristine_xml(), fixture=fixture)
    return fixture


def _told(vm: FieldVm, fixture: dict[str, Any]) -> None:
    """Assert that info tells which run was interrupted."""
    kind, options = fixture["task"]
    snapshot = fixture["then"].get("told", options["name"])
    operation = vm.info()["operation"]
    assert (operation["kind"], operation["snapshot"], operation["running"]) == (kind, snapshot, False), operation


def _next_task(vm: FieldVm, fixture: dict[str, Any], again: bool) -> tuple[Entry, dict[str, Any]]:
    """Run the same task again, or take another snapshot; return the VM's entry and what must be true then."""
    then = {**fixture["then"], "snapshots": dict(fixture["then"]["snapshots"])}
    if not again:
        then["snapshots"][_AFTER] = then["present"]
        return vm.take(_AFTER), then
    kind, options = fixture["task"]
    if kind == "take":
        then["snapshots"].setdefault(options["name"], then["present"])
    if kind == "revert":
        then["present"] = then["snapshots"][options["name"]]
    return _CALLS[kind](vm, **options), then


def _as_it_must_be(vm: FieldVm, then: dict[str, Any], images_noted: bool) -> None:
    seen = _call(vm.planted, "look", vm=vm.name, directory=IMAGES)
    assert seen["problems"] == []
    assert seen["present"] == dict.fromkeys(("vda", "vdb"), then["present"]), seen
    assert seen["snapshots"] == {name: {"vda": byte, "vdb": byte} for name, byte in then["snapshots"].items()}
    assert seen["running"] == then["running"], seen
    assert seen["layers"] == 2 * (len(then["snapshots"]) + 1), seen
    pasts = {one["name"]: one["past"] for one in vm.sound()["snapshots"]}
    before = pasts.keys() & {"s1", "s2"}
    assert {pasts[name] for name in before} == {"unchanged" if images_noted else "unproven"}, pasts


def _cases(at_rest: bool) -> list[Any]:
    """Return every fixture with each host to try it on."""
    files = [file for file in sorted(FIXTURES.glob("*/*.json")) if (file.stem == "rest") == at_rest]
    return [
        pytest.param(host, file, number % 2 == 0, id=f"{host}-{file.parent.name}-{file.stem}")
        for number, file in enumerate(files)
        for host in NAMES
    ]


@pytest.mark.parametrize(("planted", "file", "again"), _cases(at_rest=False), indirect=["planted"])
def test_what_an_earlier_version_left_is_recovered(vm: FieldVm, file: Path, again: bool) -> None:
    fixture = _left_behind(vm, file)
    _told(vm, fixture)
    entry, then = _next_task(vm, fixture, again)
    assert entry["error_code"] is None, entry
    assert re.search(_SAYS[then["recovered"]], entry["recovered"] or ""), entry
    _as_it_must_be(vm, then, "images" in fixture["record"])


@pytest.mark.parametrize(("planted", "file", "again"), _cases(at_rest=True), indirect=["planted"])
def test_what_an_earlier_version_noted_is_known(vm: FieldVm, file: Path, again: bool) -> None:
    fixture = _left_behind(vm, file)
    noted = {one["name"]: (one["owned"], one["quiesced"]) for one in vm.info()["snapshots"]}
    assert noted == {"s1": (True, False), "s2": (True, False)}
    assert vm.take(_AFTER)["error_code"] is None
    fixture["then"]["snapshots"][_AFTER] = fixture["then"]["present"]
    _as_it_must_be(vm, fixture["then"], "images" in fixture["record"])
