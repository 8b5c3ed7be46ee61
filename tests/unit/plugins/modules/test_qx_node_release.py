# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import io
import os
import struct
from pathlib import Path
from typing import Callable, Optional

import pytest

from ansible_collections.limiquantix.kvm.plugins.modules import qx_node_release as module
from ansible_collections.limiquantix.kvm.plugins.modules.qx_node_release import (
    Health,
    NotServing,
    Probe,
    Releases,
    folded,
    machine_of,
)

URL = "http://127.0.0.1:8080/api/v1/host/health"
Prove = Callable[..., str]


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    (tmp_path / "bin").mkdir()
    return Releases(tmp_path / "base", tmp_path / "bin" / "qx-node")


def store(releases: Releases, content: str, used: int = 0) -> str:
    """Put a release there, last used at that second."""
    sha = hashlib.sha256(content.encode()).hexdigest()
    binary = releases.binary(sha)
    binary.parent.mkdir(parents=True)
    binary.write_text(content)
    os.utime(binary.parent, (used, used))
    return sha


def test_a_release_is_what_its_name_says(releases: Releases) -> None:
    sha = store(releases, "one")
    assert releases.stored(sha)
    releases.binary(sha).write_text("another")
    assert not releases.stored(sha)
    assert not releases.stored("0" * 64)


def test_a_plain_file_is_kept_and_the_link_takes_its_place(releases: Releases) -> None:
    releases.path.write_text("by hand")
    by_hand = releases.current()
    one = store(releases, "one")
    releases.keep_current()
    releases.use(one)
    assert releases.is_linked(one)
    assert by_hand is not None
    assert releases.stored(by_hand)
    assert releases.path.read_text() == "one"


def test_a_link_that_leads_elsewhere_is_followed(releases: Releases, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("by hand")
    releases.path.symlink_to(tmp_path / "elsewhere")
    releases.keep_current()
    assert len(releases.all()) == 1
    assert (tmp_path / "elsewhere").read_text() == "by hand"


@pytest.mark.parametrize(
    ("keep", "left"), [(1, {"b", "d"}), (2, {"b", "c", "d"}), (3, {"b", "c", "d"}), (9, {"a", "b", "c", "d"})]
)
def test_the_current_and_the_previous_are_never_pruned(releases: Releases, keep: int, left: set[str]) -> None:
    shas = {name: store(releases, name, used=second) for second, name in enumerate("abcd")}
    # Linked by hand: `use` would make it the one used last.
    releases.path.symlink_to(releases.binary(shas["d"]))
    (releases.base / "previous").symlink_to(f"releases/{shas['b']}")
    releases.prune(keep)
    assert {name for name, sha in shas.items() if releases.stored(sha)} == left
    assert releases.previous() == shas["b"]


def test_no_previous(releases: Releases) -> None:
    assert releases.previous() is None
    releases.base.mkdir()
    (releases.base / "previous").symlink_to("releases/" + "0" * 64)
    assert releases.previous() is None


@pytest.mark.parametrize(("number", "name"), [(62, "x86_64"), (183, "aarch64"), (999, "machine 999")])
def test_machine(tmp_path: Path, number: int, name: str) -> None:
    (tmp_path / "elf").write_bytes(b"\x7fELF\x02\x01" + bytes(12) + struct.pack("<H", number))
    assert machine_of(tmp_path / "elf") == name


def test_no_program(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("#!/bin/sh\n")
    assert "not an ELF program" in (machine_of(tmp_path / "text") or "")


def test_repeated_lines_are_told_once() -> None:
    assert folded(["a", "b", "b", "b", "a"]) == ["a", "b (3 times)", "a"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"healthy": true, "version": "2"}', None),
        ('{"healthy": false}', "says healthy: false"),
        ('{"healthy": "true"}', 'says healthy: "true"'),
        ('{"status": "ok"}', "not with the agent's JSON"),
        ("[true]", "not with the agent's JSON"),
        ("<!doctype html>\n<html>", "not with the agent's JSON: '<!doctype html>'"),
        ('{"healthy": tr', "not with the agent's JSON"),
        ("", "not with the agent's JSON"),
    ],
)
def test_health(monkeypatch: pytest.MonkeyPatch, body: str, reason: Optional[str]) -> None:
    monkeypatch.setattr(module, "open_url", lambda *_words, **_options: io.BytesIO(body.encode()))
    health = Health(URL, True, None)
    if reason is None:
        assert health.ask() == "2"
    else:
        with pytest.raises(NotServing, match=reason.replace("[", r"\[")):
            health.ask()


class Scene:
    """A service, its processes and its health, told moment by moment; the last one lasts."""

    name = "qx-node"

    def __init__(self, *moments: tuple[dict[int, str], bool]) -> None:
        self.moments = list(moments)
        self.clock = 0.0

    def probe(self, stay_up: float = 0) -> Probe:
        return Probe(self, self, self, stay_up)  # type: ignore[arg-type]

    def active(self) -> bool:
        return bool(self.moments[0][0])

    def running(self) -> dict[int, tuple[str, str]]:
        return {pid: (sha, "/usr/bin/qx-node") for pid, sha in self.moments[0][0].items()}

    def age(self, _pid: int) -> float:
        return self.clock

    def ask(self) -> str:
        if not self.moments[0][1]:
            raise NotServing("is not well")
        return "2"

    def sleep(self, seconds: float) -> None:
        self.clock += seconds
        if len(self.moments) > 1:
            self.moments.pop(0)


@pytest.fixture
def prove(monkeypatch: pytest.MonkeyPatch) -> Prove:
    def prove(scene: Scene, stay_up: float = 0, seconds: float = 5, to_appear: float = 1) -> str:
        monkeypatch.setattr(module.time, "sleep", scene.sleep)
        monkeypatch.setattr(module.time, "monotonic", lambda: scene.clock)
        return scene.probe(stay_up).prove("new", seconds, to_appear)

    return prove


def test_it_may_take_its_time(prove: Prove) -> None:
    scene = Scene(({}, False), ({7: "new"}, False), ({7: "new"}, False), ({7: "new"}, True))
    assert prove(scene, stay_up=3) == "2"
    assert scene.clock >= 3


def test_a_process_that_ends_is_not_waited_for(prove: Prove) -> None:
    scene = Scene(({7: "new"}, True), ({}, False))
    with pytest.raises(NotServing, match="its process ended after 0 s"):
        prove(scene, stay_up=3)
    assert scene.clock < 1


def test_a_process_that_is_started_again_has_ended(prove: Prove) -> None:
    with pytest.raises(NotServing, match="its process ended"):
        prove(Scene(({7: "new"}, True), ({8: "new"}, True)), stay_up=3)


def test_another_program_is_named(prove: Prove) -> None:
    with pytest.raises(NotServing, match="process 7 runs /usr/bin/qx-node"):
        prove(Scene(({7: "old"}, True)))


def test_never_well(prove: Prove) -> None:
    scene = Scene(({7: "new"}, False))
    with pytest.raises(NotServing, match="is not well"):
        prove(scene)
    assert 5 < scene.clock < 6
