# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet through two execution nodes of receptor: what a lost node leaves unknown, the next run finishes."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.api import Host, hosts
from lab.commands import LabError
from lab.paths import INVENTORY
from lab.receptor import receptor

from .guest import wait_for
from .guide_blocks import ROOT, examples
from .playbook_run import reset_fleet
from .receptor_mesh import NODES, PROGRAM, Mesh, became, started, words

MOCKS = {"site_a": ("mock-1",), "site_b": ("mock-2", "mock-3")}
ALL = {"mock-1", "mock-2", "mock-3"}
BOTH = ("--node", "exec-1=site_a", "--node", "exec-2=site_b")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    try:
        program = receptor()
    except (LabError, OSError) as error:
        pytest.skip(f"receptor cannot be had here: {error}")
    mesh = Mesh(tmp_path_factory.mktemp("mesh"), program)
    run_example("receptor-certificates", mesh, mesh.tls, {"dnsname=$node": "dnsname=localhost"})
    try:
        mesh.start("controller", *NODES)
        yield mesh
    finally:
        mesh.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A private data directory with three mock hypervisors at two sites."""
    there = tmp_path / "private"
    for part in ("inventory", "env", "project"):
        (there / part).mkdir(parents=True)
    for host in sorted(ALL):
        shutil.copy(ROOT / "tests/fixtures/mock/fleet.json", tmp_path / f"{host}.json")
    write_inventory(there, {})
    (there / "env/extravars").write_text(json.dumps({"snapshot_name": "pre-patch", "snapshot_vms": "web01"}))
    return there


def write_inventory(folder: Path, own: dict[str, dict[str, Any]]) -> None:
    """``own`` has variables of single hosts."""
    sites = {site: {"hosts": {host: own.get(host, {}) for host in names}} for site, names in MOCKS.items()}
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "snapshot_backend": "mock",
        "snapshot_mock_path": f"{folder.parent}/{{{{ inventory_hostname }}}}.json",
    }
    (folder / "inventory/hosts.json").write_text(json.dumps({"hypervisors": {"children": sites, "vars": variables}}))


def with_it(folder: Path) -> set[str]:
    """Return the hosts whose web01 has the snapshot."""
    states = {path.stem: json.loads(path.read_text()) for path in folder.parent.glob("mock-?.json")}
    return {
        host
        for host, state in states.items()
        for vm in state["vms"]
        if vm["name"] == "web01" and "pre-patch" in [one["name"] for one in vm.get("snapshots", [])]
    }


def test_a_node_is_lost_in_the_middle_and_the_rerun_finishes(mesh: Mesh, folder: Path) -> None:
    write_inventory(folder, {"mock-3": {"snapshot_description": waits_for(folder / "go")}})
    with started(words(mesh, folder, *BOTH, "--lost-after", "2")) as run:
        run.read_until(r"exec-2 \| changed: \[mock-2\]")  # and mock-3 has begun, and waits
        mesh.kill("exec-2")
        assert run.end() == 1, run.output
    lost = 'unknown: its node exec-2 was lost; the host had {} "Take the snapshot". Run again with the same name'
    expected = {"mock-1": "done: changed", "mock-2": lost.format("ended"), "mock-3": lost.format("begun")}
    assert became(run.output) == expected
    assert "3 hosts: 1 done, 2 unknown" in run.output
    assert with_it(folder) == {"mock-1", "mock-2"}

    mesh.start("exec-2")
    (folder / "go").touch()
    here = {"~/.ansible/collections/ansible_collections/limiquantix/kvm": str(ROOT)}
    here["run_on_nodes.py ."] = f"run_on_nodes.py . --socket {mesh.socket}"
    again = became(run_example("receptor", mesh, folder, here))
    assert again == {"mock-1": "done: nothing changed", "mock-2": "done: nothing changed", "mock-3": "done: changed"}
    assert with_it(folder) == ALL
    assert set(became(run_example("receptor", mesh, folder, here)).values()) == {"done: nothing changed"}
    # Of the run that was cut too: receptor removed it when the node was back.
    wait_for("nothing is left of it", lambda: mesh.ask("work list") == {} and mesh.units() == [])


def test_ended_from_outside_it_ends_on_the_nodes_too(mesh: Mesh, folder: Path) -> None:
    write_inventory(folder, {"mock-3": {"snapshot_description": waits_for(folder / "go")}})
    with started(words(mesh, folder, *BOTH)) as run:
        run.read_until(r"exec-2 \| changed: \[mock-2\]")
        assert "ansible-runner worker" in mesh.running("exec-2")
        run.process.terminate()
        assert run.end() == 1, run.output
    assert became(run.output)["mock-3"].startswith("unknown: the run was ended from outside; "), run.output
    wait_for("nothing is left of it", lambda: mesh.ask("work list") == {} and mesh.units() == [])
    wait_for("nobody works at it any more", lambda: "ansible-runner worker" not in mesh.running("exec-2"))
    (folder / "go").touch()
    wait_for("what was begun on a host ends by itself", lambda: "ansible" not in mesh.running("exec-2"))


def waits_for(file: Path) -> str:
    """Return a variable that has no value before the file is there."""
    return f"{{{{ lookup('ansible.builtin.pipe', 'until [ -e {file} ]; do sleep 0.1; done') }}}}"


def run_example(name: str, mesh: Mesh, folder: Path, here: dict[str, str]) -> str:
    """Run a block of the guide; ``here`` has what is elsewhere on this machine."""
    text = examples()[name].text
    for theirs, ours in here.items():
        assert theirs in text
        text = text.replace(theirs, ours)
    environment = {**os.environ, "PATH": f"{mesh.programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-e", "-c", text],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_host_has_a_line_that_says_why(mesh: Mesh, folder: Path) -> None:
    state = json.loads((folder.parent / "mock-2.json").read_text())
    next(vm for vm in state["vms"] if vm["name"] == "web01")["persistent"] = False
    (folder.parent / "mock-2.json").write_text(json.dumps(state))
    nowhere = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    write_inventory(folder, {"mock-3": nowhere})
    with started(words(mesh, folder, *BOTH, "--cmdline=--diff")) as run:
        assert run.end() == 1, run.output
    assert "exec-1 | +pre-patch: disk-only, vda, current" in run.output
    lines = became(run.output)
    assert lines.pop("mock-1") == "done: changed"
    assert lines.pop("mock-2").startswith("failed: Failed, see above: web01"), run.output
    assert lines.pop("mock-3").startswith("unreachable: "), run.output
    assert "3 hosts: 1 done, 1 failed, 1 unreachable" in run.output
    assert (mesh.ask("work list"), mesh.units()) == ({}, [])


@pytest.mark.parametrize(
    ("nodes", "playbook", "said"),
    [
        (
            ("exec-1=site_a", "exec-9=site_b"),
            "snapshot",
            "does not reach exec-9. It reaches controller, exec-1, exec-2",
        ),
        (("exec-1=site_a", "exec-1=site_b"), "snapshot", "each node is named once"),
        (("exec-1=site_a:mock-2", "exec-2=site_b"), "snapshot", "these have more: mock-2 (exec-1, exec-2)"),
        (("exec-1=site_a", "exec-2=mock-2"), "snapshot", "no --node has mock-3"),
        (("exec-1=site_a", "exec-2=site_b"), "revert_group", "the members of a group are never split"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_sent(
    mesh: Mesh, folder: Path, nodes: tuple[str, ...], playbook: str, said: str
) -> None:
    (folder / "project/mine.yml").write_text(f"- ansible.builtin.import_playbook: limiquantix.kvm.{playbook}")
    more = [word for node in nodes for word in ("--node", node)]
    with started(words(mesh, folder, *more, playbook="mine.yml")) as run:
        assert run.end() == 2, run.output
    assert run.output.startswith("Nothing was sent to any node. ")
    assert said in run.output
    assert (mesh.ask("work list"), with_it(folder)) == ({}, set())


def test_one_node_can_do_a_group(mesh: Mesh, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    program = importlib.import_module("run_on_nodes")
    job = program.Job(folder, "limiquantix.kvm.snapshot_group", "", tmp_path / "copies")
    (part,) = program.divide(job, ["exec-1=all"], str(mesh.socket))
    assert part.hosts == ALL


@pytest.mark.fleet
def test_a_node_is_lost_in_the_middle_of_the_lab_s_fleet(mesh: Mesh, folder: Path) -> None:
    """The second node is lost when some VMs of its host have the snapshot and others do not."""
    fleet = hosts() or pytest.skip("no hypervisor is up; start them with: dev/lab/lab up")
    if len(fleet) < 2:
        pytest.skip("of the fleet only one hypervisor is up")
    reset_fleet(fleet)
    last, names = fleet[-1], ("web01", "off01", "files01", "db01")
    shutil.copy(INVENTORY, folder / "inventory/hosts.json")  # YAML too
    answers = {
        "snapshot_name": "nodes",
        "snapshot_vms": ",".join(names),
        "snapshot_parallel": 1,
        "snapshot_confirm": "yes",
    }
    (folder / "env/extravars").write_text(json.dumps(answers))
    nodes = ("--node", f"exec-1={':'.join(one.name for one in fleet[:-1])}", "--node", f"exec-2={last.name}")

    def having(host: Host) -> list[str]:
        return [vm for vm in names if host.virsh("snapshot-list", vm, "--name").split() == ["nodes"]]

    with started(words(mesh, folder, *nodes, "--lost-after", "2")) as run:
        wait_for("the first VM has its snapshot", lambda: having(last) != [], 120)
        mesh.kill("exec-2")
        assert run.end() == 1, run.output
    ends = {host: line.split(":")[0] for host, line in became(run.output).items()}
    assert ends == {host.name: "unknown" if host == last else "done" for host in fleet}, run.output

    mesh.start("exec-2")
    for playbook, left in (("snapshot", [*names]), ("remove", [])):
        for changes in (True, False):
            with started(words(mesh, folder, *nodes, playbook=f"limiquantix.kvm.{playbook}")) as run:
                assert run.end() == 0, run.output
            lines = became(run.output)
            assert set(lines) == {host.name for host in fleet}
            if not changes:
                assert set(lines.values()) == {"done: nothing changed"}, run.output
            assert {host.name: having(host) for host in fleet} == {host.name: left for host in fleet}
