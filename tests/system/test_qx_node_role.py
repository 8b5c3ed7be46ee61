# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role qx_node on hosts with systemd and with OpenRC: whatever goes wrong, the old agent goes on serving."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from lab import host_table, ssh
from lab.api import Host, all_hosts, reset_vm
from lab.host_table import HOSTS
from lab.paths import INVENTORY, SSH_CONFIG

from .agent_role import FIXTURES, Agent, Builds, agent_of, changed, clean, keep, put_back, run_role, sha, words
from .ansible_run import run_module
from .playbook_run import Run, run

pytestmark = pytest.mark.agent

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


# --- what it does when all is well --------------------------------------------------------------------------------------


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
def test_the_hosts_own_service_file_is_left_alone(host: Host, deploy: Deploy, builds: Builds, served: Agent) -> None:
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


@on_one
def test_it_says_which_program_a_foreign_service_runs(
    host: Host, deploy: Deploy, builds: Builds, served: Agent
) -> None:
    host.run("sed -i 's/limiquantix.kvm.qx_node/the host/; s,/usr/local,/usr,' /etc/init.d/qx-node")
    host.run("cp /usr/local/bin/qx-node /usr/bin/qx-node")
    host.run("rc-service qx-node restart")
    refused(deploy(builds.good(2)), "runs /usr/bin/qx-node", "is back, runs and is healthy")


# --- a new agent that is no good ----------------------------------------------------------------------------------------


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


@on_the_other  # systemd lets a stopped process go on to its end, supervise-daemon gives it the 30 s that an agent has
def test_an_agent_that_hangs_is_restarted(host: Host, deploy: Deploy, builds: Builds, served: Agent) -> None:
    host.run(f"kill -STOP {served.pids[0]}")
    done = deploy(builds.good())
    assert (done.status, changed(done)[host.name]) == (0, 1), done.output
    agent = agent_of(host)
    assert agent.serves(builds.good())
    assert agent.pids != served.pids


# --- what cannot be deployed --------------------------------------------------------------------------------------------


@on_one
def test_a_checksum_that_does_not_match(host: Host, deploy: Deploy, builds: Builds, served: Agent) -> None:
    refused(deploy(builds.good(2), qx_node_binary_sha256="0" * 64), f"has the SHA-256 {sha(builds.good(2))}, not 000")
    refused(deploy(builds.folder / "nothing"), "is not there")
    assert agent_of(host) == served


@on_one
def test_what_was_damaged_on_the_host_is_brought_again(
    host: Host, deploy: Deploy, builds: Builds, served: Agent
) -> None:
    host.run(f"echo >> {served.link}", check=False)
    host.run(
        f"cp {served.link} {served.link}.new; echo damage >> {served.link}.new; mv {served.link}.new {served.link}"
    )
    assert deploy(builds.good()).status == 0
    assert agent_of(host).serves(builds.good())


@on_the_other
def test_a_binary_for_another_machine_is_refused(host: Host, deploy: Deploy, builds: Builds, served: Agent) -> None:
    head = builds.good().read_bytes()[:20]
    arm = builds.patched("aarch64", head, head[:18] + b"\xb7\x00")
    for more in (["--check"], []):
        refused(deploy(arm, *more), "built for aarch64, and this host is x86_64", "Nothing was changed")
    musl = builds.patched("musl", b"/lib64/ld-linux-x86-64.so.2", b"/lib/ld-musl-x86_64.so.1\0\0\0")
    refused(deploy(musl, "--check"), "its loader /lib/ld-musl-x86_64.so.1 is not on this host")
    newer = builds.patched("glibc", b"\0GLIBC_2.34\0", b"\0GLIBC_2.99\0")
    refused(deploy(newer, "--check"), "it needs glibc 2.99, and this host has 2.36")
    script = builds.folder / "no-program"
    script.write_text("hello\n")
    refused(deploy(script, "--check"), "not an ELF program")
    assert agent_of(host) == served


@on_the_other
def test_what_only_trying_tells(host: Host, deploy: Deploy, builds: Builds, served: Agent) -> None:
    """Of a deploy without what the binary's file says, and of a binary whose file says nothing wrong."""
    dumb = builds.patched("dumb", b"--version-V--help", b"--versiom-V--help")
    assert deploy(dumb, "--check").status == 0
    refused(deploy(dumb), "does not run on this host: error: unexpected argument '--version'", "Nothing was changed")
    head = builds.good().read_bytes()[:20]
    arm = builds.patched("aarch64", head, head[:18] + b"\xb7\x00")
    upload(host, arm)
    release = {"sha256": sha(arm), "service_file": "never"}
    tried = run_module(host, "qx_node_release", release)
    assert tried["error_code"] == "does_not_run"
    assert "built for aarch64, and this host is x86_64" in tried["msg"]
    assert agent_of(host).pids == served.pids
    assert agent_of(host).serves(builds.good())


@on_one
def test_a_full_disk_is_refused(host: Host, deploy: Deploy, builds: Builds, served: Agent) -> None:
    host.run("mkdir -p /mnt/full && mount -t tmpfs -o size=600k tmpfs /mnt/full")
    try:
        for more in (["--check"], []):
            done = deploy(builds.good(2), *more, qx_node_base_dir="/mnt/full/qx-node")
            refused(done, "There is no room for qx-node", "KiB are free")
    finally:
        host.run("umount /mnt/full")
    assert agent_of(host) == served


@on_one
def test_a_folder_from_which_nothing_runs(host: Host, deploy: Deploy, builds: Builds, served: Agent) -> None:
    host.run("mkdir -p /mnt/noexec && mount -t tmpfs -o noexec tmpfs /mnt/noexec")
    try:
        for more in (["--check"], []):
            done = deploy(builds.good(2), *more, qx_node_base_dir="/mnt/noexec/qx-node")
            refused(done, "/mnt/noexec/qx-node is on a file system that is mounted noexec")
    finally:
        host.run("umount /mnt/noexec")
    assert agent_of(host) == served


@on_the_other
def test_a_service_that_is_masked_stays_so(host: Host, deploy: Deploy, builds: Builds) -> None:
    host.run(["systemctl", "mask", "qx-node"])
    try:
        for more in (["--check"], []):
            refused(deploy(builds.good(), *more), "is masked on this host", "systemctl unmask qx-node")
        assert host.run(["readlink", "/etc/systemd/system/qx-node.service"]).stdout.strip() == "/dev/null"
    finally:
        host.run(["systemctl", "unmask", "qx-node"])
    assert agent_of(host).pids == []


@on_the_other
def test_a_drop_in_that_starts_another_program_is_named(
    host: Host, deploy: Deploy, builds: Builds, served: Agent
) -> None:
    folder = "/etc/systemd/system/qx-node.service.d"
    host.run(f"mkdir -p {folder}; printf '[Service]\\nExecStart=\\nExecStart=/bin/sleep 9\\n' >{folder}/own.conf")
    host.run("systemctl daemon-reload")
    try:
        for more in (["--check"], []):
            refused(deploy(builds.good(2), *more), f"{folder}/own.conf replaces ExecStart", "Nothing was changed")
        assert agent_of(host) == served
        host.run(f"sed -i 's|/bin/sleep 9|/usr/local/bin/qx-node|' {folder}/own.conf; systemctl daemon-reload")
        assert deploy(builds.good()).status == 0
    finally:
        host.run(f"rm -r {folder}; systemctl daemon-reload")


@on_one
def test_a_read_only_folder(host: Host, deploy: Deploy, builds: Builds, served: Agent) -> None:
    host.run("mount --bind /usr/local/bin /usr/local/bin && mount -o remount,bind,ro /usr/local/bin")
    try:
        for more in (["--check"], []):
            done = deploy(builds.good(2), *more, qx_node_base_dir="/opt/elsewhere")
            refused(done, "/usr/local/bin cannot be written: it is read-only")
    finally:
        host.run("umount /usr/local/bin")
    assert agent_of(host) == served


# --- what is cut off ----------------------------------------------------------------------------------------------------


def wait_for(host: Host, test: str, then: str = "true", seconds: float = 240) -> None:
    tries = int(seconds * 20)
    wait = f"i=0; until {test}; do i=$((i+1)); [ $i -lt {tries} ] || exit 1; sleep 0.05; done"
    host.run(f"{wait}; {then}", timeout=seconds + 30)


# Without pipelining there is a terminal, which hangs up, and the module's process bears its name.
ON_A_TERMINAL = {"ansible_pipelining": False}


def upload(host: Host, build: Path) -> None:
    """Bring a release there as the role would: without a shared connection that takes it long."""
    release = f"/opt/qx-node/releases/{sha(build)}"
    content = build.read_bytes()
    words_of_cat = f"mkdir -p {release} && cat > {release}/qx-node && chmod 755 {release}/qx-node"
    subprocess.run([*ssh.command(host.name), words_of_cat], check=True, input=content)


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
    process.communicate(timeout=60)
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
        said, _nothing = process.communicate(timeout=90)
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
    said, _nothing = process.communicate(timeout=90)
    reset_vm(host, "db01")
    assert process.returncode != 0
    assert "VMs that ran before do not run any more: db01" in said
    assert agent_of(host).serves(builds.good(2))


# --- many hosts ---------------------------------------------------------------------------------------------------------


@pytest.mark.fleet
def test_a_roll_out_stops_at_the_first_host_that_fails(builds: Builds, tmp_path: Path) -> None:
    pair = [up(SYSTEMD), up(OPENRC)]
    for host in pair:
        clean(host)
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
def test_the_readme_says_it_in_one_command(builds: Builds, tmp_path: Path) -> None:
    """Run it as a reader would, but for where the source is and which hosts are meant."""
    pair = [up(SYSTEMD), up(OPENRC)]
    for host in pair:
        clean(host)
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
    (command,) = re.findall(r"<!-- agent-test: deploy -->\n```sh\n(.*?)\n```", readme, re.DOTALL)
    assert "/src/limiquantix" in command
    environment = {"CARGO_TARGET_DIR": str(tmp_path / "target")}
    more = json.dumps({"qx_node_hosts": "agents", "qx_node_stay_up": 1, "qx_node_build_environment": environment})
    there = command.replace("/src/limiquantix", str(FIXTURES))
    done, again = (run(["sh", "-c", f"{there} -e '{more}'"]) for _time in (1, 2))
    assert (done.status, again.status) == (0, 0), done.output
    assert set(changed(again).values()) == {0}
    built = tmp_path / "target" / "release" / "limiquantix-node"
    assert all(agent_of(host).serves(built) for host in pair)
    for host in pair:
        clean(host)
