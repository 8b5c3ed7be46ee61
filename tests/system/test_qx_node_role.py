# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node agent's role: put there, upgraded, gone back from, removed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from lab.api import Host

from .agent_role import FIXTURES, Agent, Builds, agent_of, changed, clean, run_role, sha, words
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
    up,
)
from .playbook_run import run

__all__ = ("deploy", "host", "served")

pytestmark = pytest.mark.agent


@on_both
def test_check_do_check_do(host: Host, deploy: Deploy, builds: Builds) -> None:
    told = deploy(builds.good(), "--check", "--diff")
    bare = agent_of(host)
    done = deploy(builds.good())
    there = agent_of(host)
    told_again, done_again = deploy(builds.good(), "--check"), deploy(builds.good())
    assert [one.status for one in (told, done, told_again, done_again)] == [0] * 4, told.output + done.output
    assert [changed(one)[host.name] > 0 for one in (told, done, told_again, done_again)] == [True, True, False, False]
    assert f"+{sha(builds.good())}" in told.output
    assert (bare.installed, bare.files, bare.service) == (None, [], None)
    assert there.serves(builds.good())
    assert there.link == f"/opt/qx-node/releases/{sha(builds.good())}/qx-node"
    assert f'\\"sha256\\": \\"{sha(builds.good())}\\"' in done_again.output  # the facts
    assert agent_of(host).pids == there.pids


@on_both
def test_upgrade_and_back_on_request(host: Host, deploy: Deploy, builds: Builds, served: Agent, tmp_path: Path) -> None:
    told = deploy(builds.good(2), "--check")
    done = deploy(builds.good(2), qx_node_arguments=["--http-listen", "127.0.0.1:8080"])
    upgraded = agent_of(host)
    assert (told.status, done.status) == (0, 0), done.output
    assert changed(told)[host.name] == 1
    assert upgraded.serves(builds.good(2))
    assert upgraded.version == "0.1.0+2"
    back = run_role(host, tmp_path, tasks_from="rollback")
    assert back.status == 0, back.output
    assert agent_of(host).serves(builds.good())
    # Its service file has come back with it.
    assert "127.0.0.1" not in host.run(["cat", served.service or ""]).stdout
    named = run_role(host, tmp_path, tasks_from="rollback", qx_node_rollback_to=sha(builds.good(2))[:10])
    again = run_role(host, tmp_path, tasks_from="rollback", qx_node_rollback_to=sha(builds.good(2))[:10])
    assert agent_of(host).serves(builds.good(2))
    assert (changed(named)[host.name], changed(again)[host.name]) == (1, 0)


@on_both
def test_arguments_reach_the_agent_as_they_are(host: Host, deploy: Deploy, builds: Builds, served: Agent) -> None:
    odd = """a b "c" 'd' $HOME %n \\ `id`"""
    done = deploy(builds.good(), qx_node_arguments=["--node-id", odd], qx_node_environment={"ODD": odd})
    agent = agent_of(host)
    assert done.status == 0, done.output
    assert agent.pids != served.pids
    ours = host.run(
        f"tr '\\0' '\\n' < /proc/{agent.pids[0]}/cmdline; tr '\\0' '\\n' < /proc/{agent.pids[0]}/environ"
    ).stdout
    assert f"--node-id\n{odd}\n" in ours
    assert f"\nODD={odd}\n" in ours


@on_both
def test_removing_leaves_nothing_and_once_more_changes_nothing(host: Host, served: Agent, tmp_path: Path) -> None:
    told = run_role(host, tmp_path, "--check", "--diff", tasks_from="remove")
    assert agent_of(host) == served
    for line in (f"-/usr/local/bin/qx-node -> {served.link}", f"-{served.service}", "-the service qx-node"):
        assert line in told.output, told.output
    done, again = run_role(host, tmp_path, tasks_from="remove"), run_role(host, tmp_path, tasks_from="remove")
    agent = agent_of(host)
    assert [changed(one)[host.name] for one in (told, done, again)] == [1, 1, 0]
    assert (agent.pids, agent.installed, agent.files, agent.service) == ([], None, [], None)


@on_one
def test_an_agent_that_runs_on_is_not_called_removed(host: Host, served: Agent, tmp_path: Path) -> None:
    pid = host.run(
        f"setsid {served.link} --http-listen 127.0.0.1:8099 >/dev/null 2>&1 </dev/null & echo $!"
    ).stdout.strip()
    try:
        refused(run_role(host, tmp_path, tasks_from="remove"), f"process {pid} runs {served.link}", f"(kill {pid})")
        assert agent_of(host).link == served.link
    finally:
        host.run(["kill", pid])
    assert run_role(host, tmp_path, tasks_from="remove").status == 0
    assert agent_of(host).files == []


@on_one
def test_a_plain_file_becomes_the_first_release(
    host: Host, deploy: Deploy, builds: Builds, served: Agent, tmp_path: Path
) -> None:
    host.run("cp --remove-destination /opt/qx-node/releases/*/qx-node /usr/local/bin/qx-node && rm -r /opt/qx-node")
    done = deploy(builds.good(2))
    assert done.status == 0, done.output
    assert agent_of(host).serves(builds.good(2))
    assert run_role(host, tmp_path, tasks_from="rollback").status == 0
    assert agent_of(host).serves(builds.good())
    # It was there before the role was, so it stays when the role goes.
    done, again = run_role(host, tmp_path, tasks_from="remove"), run_role(host, tmp_path, tasks_from="remove")
    left = agent_of(host)
    assert [changed(one)[host.name] for one in (done, again)] == [1, 0], done.output
    assert (left.pids, left.installed, left.link, left.files) == ([], sha(builds.good()), None, [])


@on_the_other
def test_old_releases_go_but_never_the_previous(host: Host, deploy: Deploy, builds: Builds, served: Agent) -> None:
    for number in (2, 3):
        assert deploy(builds.good(number), qx_node_keep_releases=1).status == 0
    agent = agent_of(host)
    assert agent.serves(builds.good(3))
    assert agent.releases == {sha(builds.good(2)), sha(builds.good(3))}


@on_both
def test_the_hosts_own_service_file_is_left_alone(
    host: Host, deploy: Deploy, builds: Builds, served: Agent, tmp_path: Path
) -> None:
    file = served.service or ""
    host.run(
        f"sed -i 's/limiquantix.kvm.qx_node/the host/' {file} && [ ! -d /run/systemd/system ] || systemctl daemon-reload"
    )
    own = host.run(["cat", file]).stdout
    refused(
        deploy(builds.good(2), qx_node_arguments=["--node-id", "x"]), file, "qx_node_arguments would have no effect"
    )
    assert agent_of(host).pids == served.pids
    assert deploy(builds.good(2)).status == 0
    assert agent_of(host).serves(builds.good(2))
    assert host.run(["cat", file]).stdout == own
    assert deploy(builds.good(2), qx_node_service_file="always").status == 0
    assert host.run(["cat", file]).stdout != own
    # Ours has taken its place, and gives it back.
    assert run_role(host, tmp_path, tasks_from="rollback").status == 0
    assert agent_of(host).serves(builds.good())
    assert host.run(["cat", file]).stdout == own
    assert deploy(builds.good(), qx_node_service_file="always").status == 0
    assert host.run(["cat", file]).stdout != own
    assert run_role(host, tmp_path, tasks_from="remove").status == 0
    left = agent_of(host)
    assert (left.pids, left.installed, left.files) == ([], None, [])
    assert host.run(["cat", file]).stdout == own


@on_one
def test_it_says_which_program_a_foreign_service_runs(
    host: Host, deploy: Deploy, builds: Builds, served: Agent
) -> None:
    host.run("sed -i 's/limiquantix.kvm.qx_node/the host/; s,/usr/local,/usr,' /etc/init.d/qx-node")
    host.run("cp /usr/local/bin/qx-node /usr/bin/qx-node")
    host.run("rc-service qx-node restart")
    refused(deploy(builds.good(2)), "runs /usr/bin/qx-node", "is back, runs and is healthy")


@pytest.mark.fleet
def test_a_roll_out_stops_at_the_first_host_that_fails(builds: Builds, tmp_path: Path) -> None:
    pair = [up(SYSTEMD), up(OPENRC)]
    for one in pair:
        clean(one)
    pattern = f"{SYSTEMD}:{OPENRC}"
    playbook = ["ansible-playbook", "limiquantix.kvm.deploy_agent"]
    good = words(pattern, tmp_path, qx_node_binary=str(builds.good()), qx_node_hosts=pattern)[2:]
    first = run([*playbook, *good])
    again = run([*playbook, *good])
    assert (first.status, again.status) == (0, 0), first.output
    assert set(changed(again).values()) == {0}
    bad = words(pattern, tmp_path, qx_node_binary=str(builds.bad("crash")), qx_node_hosts=pattern)[2:]
    pids = agent_of(pair[1]).pids
    only = run([*playbook, *bad, "--tags", "build"])
    assert (only.status, set(changed(only).values())) == (0, {0}), only.output
    done = run([*playbook, *bad])
    assert done.status != 0
    assert "panicked" in done.output
    assert all(agent_of(host).serves(builds.good()) for host in pair)
    assert agent_of(pair[1]).pids == pids
    back = run([*playbook, *bad, "--tags", "rollback"])
    assert "There is no release before the current one on this host" in back.output
    gone = run([*playbook, *good, "--tags", "remove"])
    assert gone.status == 0, gone.output
    assert [agent_of(host).installed for host in pair] == [None, None]


@pytest.mark.fleet
def test_the_guide_says_it_in_one_command(builds: Builds, tmp_path: Path) -> None:
    """Run it as a reader would, but for where the source is and which hosts are meant."""
    pair = [up(SYSTEMD), up(OPENRC)]
    for one in pair:
        clean(one)
    guide = (Path(__file__).resolve().parents[2] / "docs/docsite/rst/guide_agent.rst").read_text("utf-8")
    (command,) = re.findall(r"^\.\. code-block:: sh\n\n   (ansible-playbook .*deploy_agent .*)$", guide, re.MULTILINE)
    assert "/src/limiquantix" in command
    environment = {"CARGO_TARGET_DIR": str(tmp_path / "target")}
    more = json.dumps({"qx_node_hosts": "agents", "qx_node_stay_up": 1, "qx_node_build_environment": environment})
    there = command.replace("/src/limiquantix", str(FIXTURES))
    done, again = (run(["sh", "-c", f"{there} -e '{more}'"]) for _time in (1, 2))
    assert (done.status, again.status) == (0, 0), done.output
    assert set(changed(again).values()) == {0}
    built = tmp_path / "target" / "release" / "limiquantix-node"
    assert all(agent_of(host).serves(built) for host in pair)
    for one in pair:
        clean(one)
