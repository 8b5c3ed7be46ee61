# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The README keeps its word: its examples do what it says of them, and it knows every error code and no other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.world import AgentWorld
from lab.api import Host, hosts
from lab.paths import INVENTORY

from .ansible_run import run_module_on
from .playbook_run import VMS, Run, reset_fleet, run, vms_of
from .tls_front import TlsFront

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
# <!-- test: NAME -->, and right below it the block that a reader copies.
EXAMPLES = {
    name: (language, text)
    for name, language, text in re.findall(r"<!-- test: ([\w-]+) -->\n```(\w+)\n(.*?)```", README, re.DOTALL)
}


@pytest.fixture(scope="module")
def fleet() -> list[Host]:
    """All hypervisors that are up, pristine: the examples name VMs that the lab has."""
    up = hosts() or pytest.skip("no hypervisor is up; start them with: dev/lab/lab up")
    reset_fleet(up)
    return up


def run_example(name: str, folder: Path, inventory: Path = INVENTORY) -> Run:
    """Run it as a reader would, who has an inventory: a line of shell as it stands, a play from a file."""
    language, text = EXAMPLES[name]
    if language == "sh":
        done = run(["sh", "-c", text], inventory, folder)
    else:
        (folder / "play.yml").write_text(text, "utf-8")
        done = run(["ansible-playbook", "play.yml"], inventory, folder)
    assert done.status == 0, done.said()
    return done


def taken(done: Run) -> dict[str, set[str]]:
    """Return the VMs of the lab that got a snapshot, by host."""
    return {
        host: {vm["vm"] for vm in result["vms"] if vm["changed"] and vm["vm"] in VMS}
        for host, result in done.results.items()
    }


def everywhere(fleet: list[Host], *vms: str) -> dict[str, set[str]]:
    return {host.name: set(vms) & set(vms_of(host)) for host in fleet}


def snapshot_module(arguments: str) -> Run:
    done = run(["ansible", "hypervisors", "-m", "limiquantix.kvm.vm_snapshot", "-a", arguments])
    assert done.status == 0, done.said()
    return done


def test_every_example_is_tried_here_in_its_order() -> None:
    tried = re.findall(r'run_example\("([\w-]+)"', Path(__file__).read_text("utf-8"))
    assert list(EXAMPLES) == list(dict.fromkeys(tried))


@pytest.mark.fleet
def test_the_ad_hoc_example_snapshots_one_vm_once(fleet: list[Host], tmp_path: Path) -> None:
    assert taken(run_example("ad-hoc", tmp_path)) == everywhere(fleet, "web01")
    assert taken(run_example("ad-hoc", tmp_path)) == everywhere(fleet)


@pytest.mark.fleet
def test_the_fleet_example_snapshots_every_vm(fleet: list[Host], tmp_path: Path) -> None:
    done = run_example("fleet", tmp_path)
    assert taken(done) == everywhere(fleet, *VMS)
    assert all(vm["disk_only"] for vm in done.vms().values())


@pytest.mark.fleet
def test_the_glob_example_snapshots_what_matches(fleet: list[Host], tmp_path: Path) -> None:
    done = run_example("glob", tmp_path)
    assert taken(done) == everywhere(fleet, "files01", "web01")
    assert {vm["snapshot"]["description"] for vm in done.vms().values()} == {"before the November kernel"}
    # As it says: frozen where a guest agent answers.
    assert {vm["quiesced"] for (_host, name), vm in done.vms().items() if name == "web01"} == {True}


@pytest.mark.fleet
def test_the_check_example_foretells_the_diff(fleet: list[Host], tmp_path: Path) -> None:
    told = run_example("check", tmp_path)
    assert taken(told) == everywhere(fleet, *VMS)
    done = run(["sh", "-c", EXAMPLES["check"][1].replace(" --check", "")])
    for host in fleet:
        assert told.results[host.name]["diff"] == done.results[host.name]["diff"] != []


@pytest.mark.fleet
def test_the_memory_example_leaves_out_what_cannot_be_saved(fleet: list[Host], tmp_path: Path) -> None:
    if not all(host.invtsc for host in fleet):
        pytest.skip("tsc01 does not run on every host")
    done = run_example("memory", tmp_path)
    assert taken(done) == everywhere(fleet, "db01", "tsc01")
    assert {name: vm["disk_only"] for (_host, name), vm in done.vms().items()} == {"db01": False, "tsc01": True}
    assert "tsc01: disk-only" in done.output


@pytest.mark.fleet
def test_the_revert_example_leaves_the_vm_running(fleet: list[Host], tmp_path: Path) -> None:
    snapshot_module("vm=web01 name=pre-patch")
    done = run_example("revert", tmp_path)
    assert taken(done) == everywhere(fleet, "web01")
    assert {vm["power"] for vm in done.vms().values()} == {"running"}
    assert all(vm["files_removed"] for vm in done.vms().values())


@pytest.mark.fleet
def test_the_keep_current_example_keeps_what_was_there(fleet: list[Host], tmp_path: Path) -> None:
    snapshot_module("vm=web01 name=pre-patch")
    before = {host.name: host.virsh("snapshot-list", "web01", "--name").split() for host in fleet}
    assert taken(run_example("keep-current", tmp_path)) == everywhere(fleet, "web01")
    for host in fleet:
        names = host.virsh("snapshot-list", "web01", "--name").split()
        assert sorted(names) == sorted([*before[host.name], "before-pre-patch"])


@pytest.mark.fleet
def test_the_revert_fleet_example_reverts_every_vm_that_it_names(fleet: list[Host], tmp_path: Path) -> None:
    snapshot_module("vms=web*,off* name=pre-upgrade")
    done = run_example("revert-fleet", tmp_path)
    assert set(done.vms()) == {(host.name, vm) for host in fleet for vm in ("web01", "off01")}
    assert [where for where, vm in done.vms().items() if vm["failed"]] == []
    assert all(done.vms()[host.name, "web01"]["changed"] for host in fleet)


@pytest.mark.fleet
def test_the_remove_example_removes_once(fleet: list[Host], tmp_path: Path) -> None:
    snapshot_module("vm=web01 name=pre-patch")
    done = run_example("remove", tmp_path)
    assert {host: vms & {"web01"} for host, vms in taken(done).items()} == everywhere(fleet, "web01")
    assert {tuple(vm["removed"]) for vm in done.vms().values() if vm["changed"]} == {("pre-patch",)}
    assert taken(run_example("remove", tmp_path)) == everywhere(fleet)


@pytest.mark.fleet
def test_the_prune_example_keeps_what_is_young(fleet: list[Host], tmp_path: Path) -> None:
    snapshot_module("vm=web01 name=young")
    done = run_example("prune", tmp_path)
    assert taken(done) == everywhere(fleet)
    assert all("young" in done.vms()[host.name, "web01"]["kept"] for host in fleet)


@pytest.mark.fleet
def test_the_orphans_example_foretells_what_goes(fleet: list[Host], tmp_path: Path) -> None:
    """Somebody had libvirt forget a snapshot of ours, and put the VM back on the image under it."""
    folder = "/var/lib/libvirt/images"
    for host in fleet:
        host.put("/run/before.xml", host.virsh("dumpxml", "off01", "--inactive"))
    run_module_on("hypervisors", "vm_snapshot", {"vms": ["off01"], "name": "lost"})
    for host in fleet:
        host.virsh("snapshot-delete", "off01", "lost", "--metadata")
        host.virsh("define", "/run/before.xml")
    told = run_example("orphans", tmp_path)
    done = run(["sh", "-c", EXAMPLES["orphans"][1].replace(" --check", "")])
    for host in fleet:
        assert told.vms()[host.name, "off01"]["orphans_removed"] == [f"{folder}/off01.vda.lost.qcow2"]
        assert told.results[host.name]["diff"] == done.results[host.name]["diff"] != []
        assert "off01.vda.lost" not in host.run(f"ls {folder}").stdout


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
    done = run_example("through-the-agent", tmp_path, inventory)
    assert taken(done) == {address: {"web01", "off01", "tsc01"} for address in AGENTS}
    assert {vm["disk_only"] for vm in done.vms().values()} == {True}
    for agent in agents:
        for vm in ("web01", "off01", "tsc01"):
            assert [one["name"] for one in agent.info(vm)["snapshots"]] == ["pre-patch"]
    assert taken(run_example("through-the-agent", tmp_path, inventory)) == {address: set() for address in AGENTS}


def test_every_error_code_has_a_row_and_every_row_a_code() -> None:
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "plugins").rglob("*.py"))
    table = README.partition("| `error_code` |")[2].partition("\n\n")[0]
    listed = re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)
    assert listed == sorted(listed)
    assert set(re.findall(r'KvmError\(\s*"([a-z_]+)"', sources)) <= set(listed)
    assert [code for code in listed if f'"{code}"' not in sources] == []


@pytest.mark.parametrize("what", ["bench", "bench-life", "bench-crowd", "bench-agent", "table"])
def test_what_was_measured_finds_its_place(what: str) -> None:
    assert re.search(rf"^<!-- {what}:start -->\n.*<!-- {what}:end -->$", README, re.MULTILINE | re.DOTALL)
