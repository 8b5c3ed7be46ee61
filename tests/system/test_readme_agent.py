# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""README's examples through the node agent."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from contract.agent_world import AgentWorld

from .examples import EXAMPLES, run_example, taken
from .tls_front import TlsFront

# Nobody else listens on 8443 there.
AGENTS = ("127.77.0.11", "127.77.0.12")


@pytest.fixture
def agents(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[AgentWorld]]:
    """An agent of its own at each of the addresses, over TLS, and the certificate that a reader has beside the play."""
    for program in ("cargo", "openssl"):
        if not shutil.which(program):
            pytest.skip(f"there is no {program}")
    names = ["-subj", "/CN=agents", "-addext", "subjectAltName=" + ",".join(f"IP:{address}" for address in AGENTS)]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "agents.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    worlds = [AgentWorld(tmp_path_factory.mktemp("agent")) for _address in AGENTS]
    fronts = []
    try:
        for address, world in zip(AGENTS, worlds):
            world.reset()
            fronts.append(TlsFront((address, 8443), world.port, tmp_path / "agents.pem", tmp_path / "key.pem"))
        yield worlds
    finally:
        for front in fronts:
            front.stop()
        for world in worlds:
            world.close()


def test_the_example_through_the_agent_snapshots_every_vm_once(
    agents: list[AgentWorld], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    inventory = tmp_path / "inventory.json"
    inventory.write_text(json.dumps({"hypervisors": {"hosts": {address: {} for address in AGENTS}}}))
    done = run_example("through-qx-node", tmp_path, inventory)
    assert taken(done) == {address: {"web01", "off01", "tsc01"} for address in AGENTS}
    assert {vm["disk_only"] for vm in done.vms().values()} == {True}
    for agent in agents:
        for vm in ("web01", "off01", "tsc01"):
            assert [one["name"] for one in agent.info(vm)["snapshots"]] == ["pre-patch"]
    assert taken(run_example("through-qx-node", tmp_path, inventory)) == {address: set() for address in AGENTS}


def test_the_play_with_the_token_of_the_controller_reaches_every_agent(
    agents: list[AgentWorld], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each host asks its own qx-node, which listens elsewhere here."""
    monkeypatch.setenv("LIMIQUANTIX_KVM_TOKEN", "of-the-controller")
    text = EXAMPLES["token-of-the-controller"].text
    monkeypatch.setitem(
        EXAMPLES,
        "token-of-the-controller",
        replace(EXAMPLES["token-of-the-controller"], text=text.replace(":8080", ":{{ port }}")),
    )
    hosts_of = {f"host{agent.port}": {"port": agent.port} for agent in agents}
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = tmp_path / "inventory.json"
    inventory.write_text(json.dumps({"hypervisors": {"hosts": hosts_of, "vars": local}}))
    done = run_example("token-of-the-controller", tmp_path, inventory)
    assert done.output.count("ok: [host") == len(agents), done.output
