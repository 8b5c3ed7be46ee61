# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mock: what only it can be made to do, and that many may use its file at once."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import VmOutcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.revert import Reverted
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.take import Present
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import RevertRequest, SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Storage
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import do, machine, state_file, take


def code(outcome: VmOutcome) -> str:
    return outcome.error.error_code if outcome.error else ""


def look(path: str) -> tuple[VirtualMachine, Storage]:
    hypervisor = MockHypervisor(path)
    vm = hypervisor.inspect(hypervisor.vms()[0])
    return vm, hypervisor.storage(vm)


@pytest.mark.parametrize(
    ("agent", "quiesce", "error_code", "taken", "note"),
    [
        ("silent", "auto", "", True, "not quiesced: the guest agent did not freeze"),
        ("silent", "required", "quiesce_failed", False, ""),
        ("thaws_early", "auto", "", True, "thawed before the snapshot was complete"),
        ("thaws_early", "required", "quiesce_lost", True, ""),
        ("stuck", "auto", "thaw_failed", True, ""),
        ("stuck", "required", "thaw_failed", True, ""),
        ("none", "required", "agent_unavailable", False, ""),
        ("stuck", "never", "", True, ""),
    ],
)
def test_a_guest_agent_that_fails_is_told(
    tmp_path: Path, agent: str, quiesce: str, error_code: str, note: str, *, taken: bool
) -> None:
    outcome = take(state_file(tmp_path, machine("a", agent=agent)), quiesce=quiesce)
    assert (code(outcome), outcome.changed) == (error_code, taken)
    assert [note in one for one in outcome.notes] == ([True] if note else [])
    assert not (outcome.snapshot and outcome.snapshot.quiesced)


def test_a_freeze_that_takes_too_long_is_lost(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a", agent="running", slow_seconds=1.1))
    outcome = take(path, quiesce_timeout=1)
    assert "reached its limit of 1 seconds" in str(outcome.notes)
    assert outcome.snapshot is not None
    assert outcome.snapshot.quiesced is False


def test_memory_that_takes_too_long_is_not_saved(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a", slow_seconds=30))
    before = Path(path).read_text()
    outcome = take(path, timeout=1, include_memory=True)
    assert (code(outcome), outcome.changed) == ("timeout", False)
    assert Path(path).read_text() == before


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"cpu": {"invtsc": True}}, "invtsc is required"),
        ({"cpu": {"mode": "host-passthrough", "migratable": False}}, "migratable='off'"),
        ({"host_devices": ["pci"]}, "host device of type pci"),
        ({"filesystems": [{"type": "virtiofs"}]}, "virtiofs file system share"),
        ({"filesystems": [{"type": "9p", "target": "home"}]}, "9p file system home"),
        ({"disks": [{"target": "vda", "source": "/vm/a.vmdk", "format": "vmdk"}]}, "image format vmdk"),
        ({"cpu": {"mode": "host-passthrough"}}, ""),
        ({"cpu": {"invtsc": True, "tsc_frequency": 2400000000}}, ""),
        ({"cpu": {"migratable": False, "invtsc": False}}, ""),
        ({"host_devices": ["usb"]}, ""),
    ],
)
def test_what_blocks_saving_memory_is_told_and_refused(tmp_path: Path, values: dict[str, Any], says: str) -> None:
    path = state_file(tmp_path, machine("a", **values))
    outcome = take(path, include_memory=True)
    assert (code(outcome), outcome.changed) == (("memory_blocked", False) if says else ("", True))
    assert says in outcome.msg
    hypervisor = MockHypervisor(path)
    vm = hypervisor.inspect(hypervisor.vms()[0])
    if says:  # also when somebody does not ask first
        plan = hypervisor.plan_take(vm, SnapshotRequest("t", include_memory=True))
        with pytest.raises(KvmError) as caught:
            hypervisor.take(plan, Deadline(1))
        assert caught.value.error_code == "memory_blocked"


@pytest.mark.parametrize(
    ("disk", "error_code"),
    [
        ({"device": "cdrom"}, ""),
        ({"source": None, "device": "cdrom"}, ""),
        ({"readonly": True}, ""),
        ({"snapshot": "no"}, ""),
        ({"snapshot": "manual"}, ""),
        ({"type": "network"}, "disk_not_covered"),
        ({"device": "lun", "type": "block"}, "disk_not_covered"),
        ({"transient": True}, "disk_not_covered"),
        ({"shareable": True}, "disk_not_covered"),
        ({"type": "block"}, "overlay_dir_unusable"),
        ({"block_job": True}, "block_job_active"),
    ],
)
def test_a_second_disk_is_covered_or_refused(tmp_path: Path, disk: dict[str, Any], error_code: str) -> None:
    second = {"target": "vdb", "source": "/vm/second", **disk}
    path = state_file(tmp_path, {"name": "a", "disks": [{"target": "vda", "source": "/vm/a"}, second]})
    outcome = take(path)
    assert (code(outcome), outcome.changed) == (error_code, not error_code)
    if error_code == "disk_not_covered":
        without = take(path, on_uncovered="leave_out", check_mode=True).snapshot
        assert without is not None
        assert [part.target for part in without.left_out] == ["vdb"]
        assert take(path, disks=("vda",)).changed
    elif not error_code:
        assert outcome.snapshot is not None
        assert [part.target for part in outcome.snapshot.left_out] == ["vdb"]


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize(
    ("disks", "wish", "note"),
    [
        ([], {}, "it has no disks"),
        ([{"target": "sda", "device": "cdrom", "source": None}], {}, "sda: an empty drive"),
        ([{"target": "sda", "device": "cdrom", "source": "/x.iso"}], {"include_memory": True}, "sda: a cdrom"),
        (
            [{"target": "vda", "type": "network", "source": "x"}],
            {"on_uncovered": "leave_out"},
            "vda: of type 'network'",
        ),
        ([{"target": "vda", "source": "/vm/a", "snapshot": "no"}], {"on_uncovered": "leave_out"}, "snapshot='no'"),
    ],
)
def test_a_vm_without_a_disk_to_snapshot_is_nothing_to_do(
    tmp_path: Path, disks: list[dict[str, Any]], wish: dict[str, Any], note: str, *, check_mode: bool
) -> None:
    path = state_file(tmp_path, {"name": "a", "disks": disks})
    outcome = take(path, check_mode=check_mode, **wish)
    assert (code(outcome), outcome.changed, outcome.snapshot) == ("", False, None)
    assert note in outcome.notes[0]
    assert outcome.msg == outcome.notes[0]


def test_what_is_kept_is_all_that_goes(tmp_path: Path) -> None:
    """A snapshot of the present, before a revert, covers the disks that go back, and asks nothing of the others."""
    disks = [{"target": "vda", "source": "/vm/a"}, {"target": "vdb", "source": "/vm/b", "snapshot": "no"}]
    path = state_file(tmp_path, {"name": "a", "disks": disks})
    take(path, "s", disks=("vdb",))
    (outcome,) = do(path, Reverted(RevertRequest("s", keep_current=True)))
    kept = next(one for one in outcome.after if one.name == "before-s")
    assert sorted(disk.target for disk in kept.disks) == ["vda", "vdb"]
    network = {"target": "vdn", "type": "network", "source": "x"}
    path = state_file(tmp_path, {"name": "a", "disks": [disks[0], network]})
    take(path, "s", on_uncovered="leave_out")
    (outcome,) = do(path, Reverted(RevertRequest("s", keep_current=True)))
    kept = next(one for one in outcome.after if one.name == "before-s")
    assert [disk.target for disk in kept.disks] == ["vda"]


def test_firmware_state_is_told(tmp_path: Path) -> None:
    outcome = take(state_file(tmp_path, machine("a", firmware="efi", tpm=True)))
    assert outcome.snapshot is not None
    assert [part.target for part in outcome.snapshot.left_out] == ["nvram", "tpm"]
    assert [note.split(":")[0] for note in outcome.notes[:2]] == ["not quiesced", "nvram"]


def test_chains_and_a_tree_with_siblings(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a"))
    for name in ("s1", "s2"):
        assert take(path, name).changed
    state = json.loads(Path(path).read_text())
    # What a revert to s1 does.
    state["files"]["/vm/new"] = {"format": "qcow2", "backing_file": "/vm/a.qcow2"}
    state["vms"][0].update(current="s1", disks=[{"target": "vda", "source": "/vm/new"}])
    Path(path).write_text(json.dumps(state))
    assert take(path, "s3").changed
    vm, storage = look(path)
    assert [(one.name, one.parent, one.current) for one in vm.snapshots] == [
        ("s1", None, False),
        ("s2", "s1", False),
        ("s3", "s1", True),
    ]
    (chain,) = storage.chains
    assert [(layer.file, layer.snapshot) for layer in chain.layers] == [
        ("/vm/a.vda.s3.qcow2", "s3"),
        ("/vm/new", None),
        ("/vm/a.qcow2", None),
    ]
    assert storage.problems == ()
    # In the chain, and made by no snapshot.
    assert storage.unknown_overlays == ("/vm/new",)


def test_strangers_and_files_that_are_gone(tmp_path: Path) -> None:
    overlay = {"format": "qcow2", "backing_file": "/vm/a.qcow2"}
    files = {"/vm/stranger": overlay, "/vm/on-it": {**overlay, "backing_file": "/vm/stranger"}, "/vm/other": overlay}
    files["/vm/other"] = {**overlay, "backing_file": "/vm/elsewhere"}
    path = state_file(tmp_path, machine("a"), files=files)
    assert look(path)[1].unknown_overlays == ("/vm/on-it", "/vm/stranger")
    assert take(path).changed
    state = json.loads(Path(path).read_text())
    state["files"]["/vm/a.qcow2"] = None
    del state["files"]["/vm/a.vda.s.qcow2"]
    state["vms"][0]["disks"][0]["source"] = "/vm/a.qcow2"
    Path(path).write_text(json.dumps(state))
    vm, storage = look(path)
    assert vm.snapshots[0].missing_files == ("/vm/a.qcow2",)
    assert "/vm/a.qcow2 is missing" in storage.problems[0]
    assert code(take(path, "t")) == "chain_mismatch"


def test_a_file_that_is_there_is_never_used_again(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a"), files={"/vm/a.vda.s.qcow2": {"format": "qcow2"}})
    outcome = take(path)
    assert outcome.snapshot is not None
    assert outcome.snapshot.disks[0].file == "/vm/a.vda.s-2.qcow2"


def test_saved_memory_takes_room(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a"), directories={"/vm": {"total": 1 << 40, "free": 1 << 39}})
    assert take(path, include_memory=True).changed
    assert MockHypervisor(path).room("/vm").free <= (1 << 39) - (1 << 30)


@pytest.mark.parametrize(
    ("text", "error_code", "says"),
    [
        ("", "bad_request", "not valid JSON"),
        ("[]", "bad_request", "the file is not an object"),
        ("{}", "bad_request", "the file has no 'vms'"),
        ('{"vms": [{}]}', "bad_request", "vms[0] has no 'name'"),
        ('{"vms": [{"name": "a"}]}', "bad_request", "has no 'disks'"),
        ('{"vms": [{"name": "a", "disks": [{}]}]}', "bad_request", "disks has no 'target'"),
        ('{"vms": [{"name": "a", "disks": [], "agnet": "x"}]}', "bad_request", "unknown key 'agnet'"),
        ('{"vms": [{"name": "a", "disks": [], "agent": "x"}]}', "bad_request", "agent is 'x'"),
        ('{"vms": [{"name": "a", "disks": [], "tpm": 1}]}', "bad_request", "tpm has a value of the wrong type"),
        ('{"vms": [{"name": "a", "disks": [], "memory_mib": true}]}', "bad_request", "wrong type"),
        (
            '{"vms": [{"name": "a", "disks": []}, {"name": "a", "disks": []}]}',
            "bad_request",
            "two VMs have the name 'a'",
        ),
        ('{"vms": [{"name": "a", "disks": [], "current": "s"}]}', "bad_request", "no snapshot 's'"),
        ('{"vms": [], "files": {"/a": {}}}', "bad_request", "has no 'format'"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str, error_code: str, says: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(KvmError) as caught:
        MockHypervisor(str(path))
    assert caught.value.error_code == error_code
    assert says in caught.value.message
    assert str(path) in caught.value.message


def test_a_missing_file_is_told_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(KvmError, match="No such file") as caught:
        MockHypervisor(str(tmp_path / "none.json"))
    assert caught.value.error_code == "connection_failed"
    assert list(tmp_path.iterdir()) == []


def test_reading_writes_nothing(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a"))
    before = Path(path).read_text()
    assert take(path, check_mode=True).changed
    look(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]
    assert Path(path).read_text() == before


def _take_many(path: str, names: list[str], results: Any) -> None:
    for name in names:
        outcomes = do(path, Present(SnapshotRequest(name)))
        results.put([(outcome.changed, code(outcome)) for outcome in outcomes])


def test_many_processes_and_threads_on_one_file(tmp_path: Path) -> None:
    path = state_file(tmp_path, *(machine(f"vm{number}") for number in range(3)))
    names = [f"s{number}" for number in range(5)]
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=_take_many, args=(path, names, results)) for _number in range(3)]
    for process in processes:
        process.start()
    found = [answer for _number in range(15) for answer in results.get(timeout=60)]
    for process in processes:
        process.join(timeout=60)
    assert {error for _changed, error in found} == {""}
    assert sum(changed for changed, _error in found) == 3 * len(names)
    hypervisor = MockHypervisor(path)
    for domain in hypervisor.vms():
        vm = hypervisor.inspect(domain)
        assert sorted(snapshot.name for snapshot in vm.snapshots) == names
        # Each on the one before: a tree without siblings, a chain without gaps.
        assert len({snapshot.parent for snapshot in vm.snapshots}) == len(names)
        assert len(hypervisor.storage(vm).chains[0].layers) == len(names) + 1


def test_a_lock_dies_with_its_holder(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a"))
    hypervisor = MockHypervisor(path)
    (domain,) = hypervisor.vms()
    reader, writer = os.pipe()
    holder = os.fork()
    if holder == 0:
        with hypervisor.lock(domain, Deadline(5)):
            os.write(writer, b"x")
            os.read(os.pipe()[0], 1)
    os.read(reader, 1)
    outcome = take(path, timeout=1)
    assert code(outcome) == "locked"
    assert outcome.error is not None
    assert outcome.error.details["pid"] == str(holder)
    os.kill(holder, 9)
    os.waitpid(holder, 0)
    assert take(path, timeout=1).changed


def test_the_example_can_be_used() -> None:
    example = Path(__file__).parents[5] / "fixtures/mock/fleet.json"
    hypervisor = MockHypervisor(str(example))
    vms = {domain.name: hypervisor.inspect(domain) for domain in hypervisor.vms()}
    assert list(vms) == ["db01", "files01", "off01", "tsc01", "web01"]
    assert [name for name, vm in vms.items() if vm.memory_blockers] == ["tsc01"]
    assert [name for name, vm in vms.items() if vm.guest_agent] == ["web01"]
