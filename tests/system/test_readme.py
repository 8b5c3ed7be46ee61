# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""README's examples, run on the lab as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from lab.api import Host, hosts

from .ansible_run import run_module_on
from .examples import EXAMPLES, run_example, taken
from .playbook_run import VMS, Run, reset_fleet, run, vms_of


@pytest.fixture(scope="module")
def fleet() -> list[Host]:
    """All hypervisors that are up, pristine: the examples name VMs that the lab has."""
    up = hosts() or pytest.skip("no hypervisor is up; start them with: dev/lab/lab up")
    reset_fleet(up)
    return up


def everywhere(fleet: list[Host], *vms: str) -> dict[str, set[str]]:
    return {host.name: set(vms) & set(vms_of(host)) for host in fleet}


def snapshot_module(arguments: str) -> Run:
    done = run(["ansible", "hypervisors", "-m", "limiquantix.kvm.vm_snapshot", "-a", arguments])
    assert done.status == 0, done.said()
    return done


@pytest.mark.fleet
def test_the_ad_hoc_example_snapshots_one_vm_once(fleet: list[Host], tmp_path: Path) -> None:
    assert taken(run_example("ad-hoc", tmp_path)) == everywhere(fleet, "web01")
    assert taken(run_example("ad-hoc", tmp_path)) == everywhere(fleet)


@pytest.mark.fleet
def test_the_look_examples_show_what_is_there_and_change_nothing(fleet: list[Host], tmp_path: Path) -> None:
    snapshot_module("vm=web01 name=pre-patch")
    before = {host.name: host.virsh("snapshot-list", "web01", "--name") for host in fleet}
    for done in (run_example("look", tmp_path), run_example("look-at-one", tmp_path)):
        assert done.output.count('"changed": false') >= len(fleet)
        assert len(re.findall(r'"look": "(ok|look|act)"', done.output)) == len(fleet)
        snapshots = re.findall(r'"snapshots": \[\s+\{.*?"name": "([^"]+)"', done.output, re.DOTALL)
        assert snapshots == ["pre-patch"] * len(fleet)
    assert {host.name: host.virsh("snapshot-list", "web01", "--name") for host in fleet} == before


@pytest.mark.fleet
def test_the_report_example_writes_the_page(fleet: list[Host], tmp_path: Path) -> None:
    run_example("report", tmp_path)
    told = json.loads((tmp_path / "fleet.json").read_text("utf-8"))
    assert {host.name for host in fleet} <= {host["host"] for host in told["hosts"] if host["known"]}
    assert "<title>" in (tmp_path / "fleet.html").read_text("utf-8")


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
    done = run(["sh", "-c", EXAMPLES["check"].text.replace(" --check", "")])
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
def test_the_examples_on_keeping_do_as_the_guide_says(fleet: list[Host], tmp_path: Path) -> None:
    snapshot_module("vm=web01 name=pre-patch state=absent")
    done = run_example("expires", tmp_path)
    assert taken(done) == everywhere(fleet, "web01")
    assert all(vm["snapshot"]["expires"] for vm in done.vms().values())
    told = run_example("keep-look", tmp_path)
    assert all("pre-patch" in host.virsh("snapshot-list", "web01", "--name") for host in fleet)
    assert all("pre-patch" in told.vms()[host.name, "web01"]["kept_because"] for host in fleet)


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
    done = run(["sh", "-c", EXAMPLES["orphans"].text.replace(" --check", "")])
    for host in fleet:
        assert told.vms()[host.name, "off01"]["orphans_removed"] == [f"{folder}/off01.vda.lost.qcow2"]
        assert told.results[host.name]["diff"] == done.results[host.name]["diff"] != []
        assert "off01.vda.lost" not in host.run(f"ls {folder}").stdout
