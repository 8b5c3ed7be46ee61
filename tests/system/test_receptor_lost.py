# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When run_on_nodes.py gives a node up, which plays it never splits, and what it says and sends. No receptor runs here."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Optional

import pytest
import yaml

from .guide_blocks import ROOT
from .receptor_mesh import PROGRAM


class Heard:
    """A stream of which something was heard at zero."""

    def __init__(self, keeps_alive: bool) -> None:
        self.heard_at, self.keeps_alive, self.is_cut = 0.0, keeps_alive, False

    def cut(self) -> None:
        self.is_cut = True


@pytest.mark.parametrize(
    ("keeps_alive", "reached_until", "back_at", "given_up_at"),
    [
        (False, 0, 1000, 61),  # away
        (False, 1000, 0, None),  # nothing says that it should be heard: a long task
        (True, 1000, 0, 60),  # it stands still, or its run was killed
        (False, 5, 20, 80),  # its machine booted: receptor calls the run Running for ever
        (True, 5, 20, 80),
    ],
)
def test_when_a_node_is_given_up(
    monkeypatch: pytest.MonkeyPatch, keeps_alive: bool, reached_until: int, back_at: int, given_up_at: Optional[int]
) -> None:
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    module = importlib.import_module("node_part")
    part, stream = module.Part("exec-1", "all", {"mock-1"}, "Report"), Heard(keeps_alive)
    part._stream = stream
    given_up = None
    for second in range(1, 200):
        monkeypatch.setattr(module.time, "monotonic", lambda now=float(second): now)
        part.watch({"exec-1"} if second <= reached_until or second >= back_at else set(), 60)
        if stream.is_cut:
            given_up = second
            break
    assert given_up == given_up_at
    if given_up:
        assert part.became("mock-1")[0] == "unknown"


def test_the_plays_of_the_group_playbooks_are_known() -> None:
    text = PROGRAM.read_text("utf-8")
    for path in (ROOT / "playbooks").glob("*_group.yml"):
        for play in yaml.safe_load(path.read_text("utf-8")):
            assert f'"{play["name"]}"' in text


@pytest.mark.parametrize(
    ("last", "failed", "other"),
    [
        ("Report", {"mock-2": 1}, "done"),
        ("Find the VMs", {"mock-2": 1}, "failed"),  # a task with run_once, which the other did not even begin
        ("Find the VMs", {}, "done"),  # the play had nothing more to do
    ],
)
def test_a_host_that_ansible_left_alone_is_not_called_done(
    monkeypatch: pytest.MonkeyPatch, last: str, failed: dict[str, int], other: str
) -> None:
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    part = importlib.import_module("node_part").Part("exec-1", "all", {"mock-1", "mock-2"}, "Report")
    for task in ("Look", last):
        part._event({"event": "playbook_on_task_start", "event_data": {"name": task}})
    totals = {"dark": {}, "failures": failed, "changed": {}, "processed": {"mock-1": 1, "mock-2": 1}}
    part._event({"event": "playbook_on_stats", "event_data": totals})
    assert part.became("mock-1")[0] == other


@pytest.mark.parametrize(("check", "word"), [(True, "would change"), (False, "changed")])
def test_check_mode_is_not_called_changed(monkeypatch: pytest.MonkeyPatch, check: bool, word: str) -> None:
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    part = importlib.import_module("node_part").Part("exec-1", "all", {"mock-1"}, "Report", check)
    part._event({"event": "playbook_on_task_start", "event_data": {"name": "Report"}})
    totals = {"dark": {}, "failures": {}, "changed": {"mock-1": 1}, "processed": {"mock-1": 1}}
    part._event({"event": "playbook_on_stats", "event_data": totals})
    assert part.became("mock-1") == ("done", word)


@pytest.mark.parametrize(
    ("of_folder", "given", "expected"),
    [
        ("", "", (None, False)),
        ("--check", "--diff", ("--check --diff", True)),  # a rehearsal stays one
        ("--diff", "-C", ("--diff -C", True)),
        ("--diff", "", ("--diff", False)),
    ],
)
def test_options_of_the_folder_and_of_the_command_both_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, of_folder: str, given: str, expected: tuple[Optional[str], bool]
) -> None:
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    (tmp_path / "private/env").mkdir(parents=True)
    if of_folder:
        (tmp_path / "private/env/cmdline").write_text(of_folder)
    job = importlib.import_module("run_on_nodes").Job(tmp_path / "private", "play.yml", given, tmp_path)
    file = tmp_path / "sent/env/cmdline"
    assert (file.read_text() if file.exists() else None, job.check) == expected
