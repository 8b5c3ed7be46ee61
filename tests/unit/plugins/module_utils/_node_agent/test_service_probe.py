# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import socket
from typing import Any, Callable
from unittest.mock import Mock

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent import service_probe as _probe
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.errors import NotServing
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.health import Health
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.service_probe import (
    Probe,
    Processes,
    listener,
)

Prove = Callable[..., str]


class Scene:
    """A service, its processes and its health, told moment by moment; the last one lasts."""

    name, url = "qx-node", "http://127.0.0.1:8080/api/v1/host/health"

    def __init__(self, *moments: tuple[dict[int, str], bool]) -> None:
        self.moments = list(moments)
        self.clock = 0.0

    def probe(self, stay_up: float = 0) -> Probe:
        return Probe(self, self, self, stay_up)

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
    def prove(scene: Scene, stay_up: float = 0, seconds: float = 5, to_appear: float = 1, **more: Any) -> str:
        monkeypatch.setattr(_probe.time, "sleep", scene.sleep)
        monkeypatch.setattr(_probe.time, "monotonic", lambda: scene.clock)
        return scene.probe(stay_up).prove("new", seconds, to_appear, **more)

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


def test_a_process_of_before_the_restart_is_not_the_services_although_it_runs_the_same(prove: Prove) -> None:
    with pytest.raises(NotServing, match="process 7 runs /usr/bin/qx-node since before the restart"):
        prove(Scene(({7: "new"}, True)), older={7})
    assert prove(Scene(({7: "new"}, True), ({7: "new", 8: "new"}, True)), older={7}) == "2"


def test_a_process_of_before_the_restart_does_not_answer_for_the_service(
    prove: Prove, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening = [7]
    monkeypatch.setattr(_probe, "listener", lambda _port: listening[0])
    scene = Scene(({7: "old", 8: "new"}, True))
    with pytest.raises(NotServing, match="process 7, which ran before the restart, answers"):
        prove(scene, older={7})
    listening[0] = 8
    assert prove(Scene(({7: "old", 8: "new"}, True)), older={7}) == "2"


def test_an_agent_that_is_never_well_is_given_up_in_time(prove: Prove) -> None:
    scene = Scene(({7: "new"}, False))
    with pytest.raises(NotServing, match="is not well"):
        prove(scene)
    assert 5 < scene.clock < 6


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_who_listens_on_the_port_is_named(family: int) -> None:
    with socket.socket(family) as taken:
        try:
            taken.bind(("localhost" if family == socket.AF_INET else "::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        taken.listen()
        port = taken.getsockname()[1]
        health = Health(f"http://127.0.0.1:{port}/api/v1/host/health", True, None)
        assert listener(port) == os.getpid()
        named = Probe(Mock(), Processes(frozenset({"qx-node"})), health, 0).in_the_way()
        assert f"Process {os.getpid()} (" in named
        agents = Processes(frozenset({os.path.basename(os.readlink("/proc/self/exe"))}))
        assert Probe(Mock(), agents, health, 0).in_the_way() == ""
        assert Probe(Mock(), agents, health, 0).in_the_way({os.getpid()}) == named
    assert listener(port) is None
    assert Probe(Mock(), Processes(frozenset({"qx-node"})), health, 0).in_the_way() == ""
