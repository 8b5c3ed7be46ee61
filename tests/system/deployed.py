# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of the lab with the node agent's role: deploying there, and what serves."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from lab import host_table, ssh
from lab.api import Host, all_hosts
from lab.host_table import HOSTS

from .agent_role import Agent, Builds, agent_of, clean, keep, put_back, run_role, sha
from .playbook_run import Run

# The role's hosts, by init.
_HOSTS = {spec.init: spec.name for spec in HOSTS if spec.agent}

SYSTEMD, OPENRC = _HOSTS[host_table.SYSTEMD], _HOSTS[host_table.OPENRC]

Deploy = Callable[..., Run]


def up(name: str) -> Host:
    for host in all_hosts():
        if host.name == name:
            return host
    pytest.skip(f"{name} is not up; start it with: dev/lab/lab up")


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    return Builds(tmp_path_factory.mktemp("agent"))


@pytest.fixture
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host without an agent, before and after."""
    found = up(request.param)
    clean(found)
    yield found
    clean(found)


on_both = pytest.mark.parametrize("host", [SYSTEMD, OPENRC], indirect=True)

# Where the init makes no difference.
on_one = pytest.mark.parametrize("host", [OPENRC], indirect=True)

on_the_other = pytest.mark.parametrize("host", [SYSTEMD], indirect=True)


@pytest.fixture
def deploy(host: Host, tmp_path: Path) -> Deploy:
    """Run the role with a build, and with more inputs."""

    def deploy(build: Path, *more: str, **inputs: Any) -> Run:
        return run_role(host, tmp_path, *more, qx_node_binary=str(build), **inputs)

    return deploy


@pytest.fixture(scope="session")
def kept() -> set[str]:
    """The hosts on which a good agent was kept."""
    return set()


@pytest.fixture
def served(host: Host, deploy: Deploy, builds: Builds, kept: set[str]) -> Agent:
    """The good agent, deployed by the role and serving; from the second time on put back as the role had left it."""
    if host.name in kept:
        return put_back(host, builds.good())
    done = deploy(builds.good())
    assert done.status == 0, done.output
    agent = agent_of(host)
    assert agent.serves(builds.good())
    keep(host)
    kept.add(host.name)
    return agent


def refused(done: Run, *texts: str) -> None:
    assert done.status != 0, done.output
    for text in texts:
        assert text in done.output, done.output
    assert "Traceback" not in done.output
    assert "Error while evaluating" not in done.output


def wait_for(host: Host, test: str, then: str = "true", seconds: float = 240) -> None:
    tries = int(seconds * 20)
    wait = f"i=0; until {test}; do i=$((i+1)); [ $i -lt {tries} ] || exit 1; sleep 0.05; done"
    host.run(f"{wait}; {then}", timeout=seconds + 30)


def upload(host: Host, build: Path) -> None:
    """Bring a release there as the role would: without a shared connection that takes it long."""
    release = f"/opt/qx-node/releases/{sha(build)}"
    content = build.read_bytes()
    words_of_cat = f"mkdir -p {release} && cat > {release}/qx-node && chmod 755 {release}/qx-node"
    subprocess.run([*ssh.command(host.name), words_of_cat], check=True, input=content)
