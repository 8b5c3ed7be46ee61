# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node agent that is no good, or finds its place taken, gives way to the one before it."""

from __future__ import annotations

import pytest
from lab.api import Host

from .agent_role import Agent, Builds, agent_of, changed, sha
from .deployed import (
    OPENRC,
    SYSTEMD,
    Deploy,
    deploy,
    host,
    on_both,
    on_one,
    on_the_other,
    refused,
    served,
    wait_for,
)

__all__ = ("deploy", "host", "served")

pytestmark = pytest.mark.agent


@pytest.mark.parametrize(
    ("host", "how", "reason"),
    [
        (SYSTEMD, "die", "panicked at 'the third second'"),
        (OPENRC, "die", "panicked at 'the third second'"),
        (SYSTEMD, "crash", "panicked at 'this build is broken'"),
        (SYSTEMD, "unhealthy", "says healthy: false"),
        (OPENRC, "html", "answers, but not with the JSON of qx-node: '<!doctype html>"),
        (SYSTEMD, "deaf", "does not answer"),
    ],
    indirect=["host"],
)
def test_a_new_agent_that_is_no_good_gives_way_to_the_old_one(
    *, host: Host, deploy: Deploy, builds: Builds, served: Agent, how: str, reason: str
) -> None:
    done = deploy(builds.bad(how), qx_node_stay_up=20 if how == "die" else 1, qx_node_health_timeout=3)
    agent = agent_of(host)
    refused(done, reason, "is back, runs and is healthy", "limiquantix-node 0.1.0 starts")
    assert agent.serves(builds.good())
    assert agent.releases == {sha(builds.good())}
    assert host.run("test -e /opt/qx-node/unfinished.json", check=False).returncode == 1
    if how == "die":
        settled = deploy(builds.good())
        assert (settled.status, changed(settled)[host.name]) == (0, 0), settled.output


@on_both
def test_a_first_agent_that_is_no_good_leaves_nothing(host: Host, deploy: Deploy, builds: Builds) -> None:
    refused(deploy(builds.bad("crash")), "This host had no release before, and has none now")
    agent = agent_of(host)
    assert (agent.pids, agent.installed, agent.service, agent.releases) == ([], None, None, set())


@on_both
def test_an_agent_whose_port_is_in_use_gives_way_to_the_old_one(
    host: Host, deploy: Deploy, builds: Builds, served: Agent
) -> None:
    """The service file that was no good goes, too."""
    before = host.run(["cat", served.service or ""]).stdout
    refused(
        deploy(builds.good(), qx_node_arguments=["--http-listen", "127.0.0.1:22"]), "Address already in use", "is back"
    )
    assert agent_of(host).serves(builds.good())
    assert host.run(["cat", served.service or ""]).stdout == before


@on_one
def test_another_program_on_its_port_is_named(host: Host, deploy: Deploy, builds: Builds) -> None:
    server = "setsid python3 -m http.server --bind 127.0.0.1 8080 >/dev/null 2>&1 </dev/null & echo $!"
    pid = host.run(server).stdout.strip()
    wait_for(host, "curl -s 127.0.0.1:8080 || wget -qO- 127.0.0.1:8080 || ss -ltn | grep :8080")
    try:
        refused(deploy(builds.good()), f"Process {pid} (python3 -m http.server", "This host had no release before")
    finally:
        host.run(["kill", pid])


@on_one
def test_an_agent_that_nobody_has_started_as_a_service_is_no_proof(
    host: Host, deploy: Deploy, builds: Builds, served: Agent
) -> None:
    """It is the same release, has the port, and is healthy."""
    host.run("rc-service qx-node stop")
    pid = host.run(f"setsid {served.link} >/dev/null 2>&1 </dev/null & echo $!").stdout.strip()
    wait_for(host, "curl -s 127.0.0.1:8080 || wget -qO- 127.0.0.1:8080 || ss -ltn | grep :8080")
    try:
        refused(deploy(builds.good()), f"Process {pid} ({served.link}", "QX-NODE ON THIS HOST DOES NOT SERVE")
    finally:
        host.run(["kill", pid])
    assert deploy(builds.good()).status == 0
    assert agent_of(host).serves(builds.good())


@on_the_other  # systemd lets a stopped process go on to its end, supervise-daemon gives it the 30 s that an agent has
def test_an_agent_that_hangs_is_restarted(host: Host, deploy: Deploy, builds: Builds, served: Agent) -> None:
    host.run(f"kill -STOP {served.pids[0]}")
    done = deploy(builds.good())
    assert (done.status, changed(done)[host.name]) == (0, 1), done.output
    agent = agent_of(host)
    assert agent.serves(builds.good())
    assert agent.pids != served.pids
