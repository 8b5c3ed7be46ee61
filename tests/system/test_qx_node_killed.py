# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roll-outs that are cut off: a controller killed, a host that drops away, VMs that end."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from lab.api import Host, reset_vm
from lab.paths import INVENTORY, SSH_CONFIG

from .agent_role import Agent, Builds, agent_of, changed, words
from .deployed import OPENRC, SYSTEMD, Deploy, deploy, host, on_one, served, upload, wait_for

__all__ = ("deploy", "host", "served")

pytestmark = pytest.mark.agent

# Without pipelining there is a terminal, which hangs up, and the module's process bears its name.
ON_A_TERMINAL = {"ansible_pipelining": False}


def wait_for_the_new_one(host: Host, old: Agent) -> None:
    wait_for(host, f"pgrep -x qx-node | grep -qvx {old.pids[0]}")


def begin(command: list[str]) -> subprocess.Popen[str]:
    """Start it in a process group of its own, so that all of it can be killed at once."""
    return subprocess.Popen(
        command,
        env={**os.environ, "ANSIBLE_INVENTORY": str(INVENTORY)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(("host", "how"), [(SYSTEMD, "deaf"), (OPENRC, "deaf"), (OPENRC, None)], indirect=["host"])
def test_the_controller_is_killed(
    *, host: Host, deploy: Deploy, builds: Builds, served: Agent, tmp_path: Path, how: str | None
) -> None:
    """While the new agent is being proven; the host goes back by itself, or goes on."""
    new = builds.bad(how) if how else builds.good(2)
    upload(host, new)
    # A connection of its own, so that killing the command cuts it.
    alone = f"-F {SSH_CONFIG} -o ControlPath=none -o ControlMaster=no"
    inputs = {"qx_node_stay_up": 3, "qx_node_health_timeout": 4, "ansible_ssh_args": alone, **ON_A_TERMINAL}
    process = begin(words(host.name, tmp_path, qx_node_binary=str(new), **inputs))
    wait_for(host, "test -e /opt/qx-node/unfinished.json")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(host, "test ! -e /opt/qx-node/unfinished.json")
    there = agent_of(host)
    assert there.serves(builds.good() if how else new)
    again = deploy(builds.good() if how else new)
    assert (again.status, changed(again)[host.name]) == (0, 0), again.output
    assert agent_of(host) == there


@pytest.mark.parametrize(("host", "how"), [(SYSTEMD, None), (OPENRC, "unhealthy")], indirect=["host"])
def test_a_run_killed_as_by_a_power_cut_is_settled_by_the_next(
    *, host: Host, deploy: Deploy, builds: Builds, served: Agent, tmp_path: Path, how: str | None
) -> None:
    """As by a power cut: nobody on the host goes on. The next run settles it, whatever it is asked for."""
    new = builds.bad(how) if how else builds.good(2)
    inputs = {"qx_node_stay_up": 60, "qx_node_health_timeout": 60, **ON_A_TERMINAL}
    process = begin(words(host.name, tmp_path, qx_node_binary=str(new), **inputs))
    wait_for_the_new_one(host, served)
    host.run("pkill -KILL -f '[q]x_node_release'")
    process.communicate(timeout=300)
    assert host.run("ls /opt/qx-node/unfinished.json").stdout
    told = deploy(builds.good(), "--check", "-v")
    assert "an earlier run was interrupted" in told.output
    assert changed(told)[host.name] == 1
    done = deploy(builds.good())
    assert done.status == 0, done.output
    assert agent_of(host).serves(builds.good())
    assert host.run("test -e /opt/qx-node/unfinished.json", check=False).returncode == 1


@on_one
def test_the_host_drops_away(host: Host, deploy: Deploy, builds: Builds, served: Agent, tmp_path: Path) -> None:
    """In the middle of the upload: its network is cut, and comes back."""
    large = builds.folder / "large"
    large.write_bytes(builds.good(2).read_bytes() + bytes(200 << 20))
    watchful = (
        f"-F {SSH_CONFIG} -o ControlPath=none -o ServerAliveInterval=1 -o ServerAliveCountMax=3 -o ConnectTimeout=3"
    )
    inputs = {"ansible_ssh_args": watchful, "ansible_ssh_retries": 0, **ON_A_TERMINAL}
    process = begin(words(host.name, tmp_path, qx_node_binary=str(large), **inputs))
    link = f"lqlab{host.spec.number}"
    try:
        wait_for(host, "find /root/.ansible/tmp -type f -size +1M | grep -q .")
        subprocess.run(["ip", "link", "set", link, "down"], check=True)
        said, _nothing = process.communicate(timeout=300)
    finally:
        subprocess.run(["ip", "link", "set", link, "up"], check=True)
    assert process.returncode != 0
    assert "UNREACHABLE" in said or "lost connection" in said or "failed to transfer" in said, said
    assert agent_of(host).serves(builds.good())
    assert agent_of(host).pids == served.pids
    done = deploy(builds.good(2))
    assert done.status == 0, done.output
    assert agent_of(host).serves(builds.good(2))


@on_one
def test_vms_that_end_are_named(host: Host, deploy: Deploy, builds: Builds, served: Agent, tmp_path: Path) -> None:
    process = begin(words(host.name, tmp_path, qx_node_binary=str(builds.good(2)), qx_node_stay_up=4))
    wait_for(host, f"pgrep -x qx-node | grep -qvx {served.pids[0]}", then="virsh destroy db01")
    said, _nothing = process.communicate(timeout=300)
    reset_vm(host, "db01")
    assert process.returncode != 0
    assert "VMs that ran before do not run any more: db01" in said
    assert agent_of(host).serves(builds.good(2))
