# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other runs and users who work on the same VM at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import pytest
from lab.api import reset_vm

from .changed_vm import PRISTINE, VM, disk, fresh, holds_now, job, sound, state
from .guest import IMAGES, files_of, holds, wait_for
from .planted import Planted, only, planted, snapshot_names

__all__ = ("planted",)


def at_once(*works: Callable[[], dict[str, Any]]) -> list[dict[str, Any]]:
    """Do several things at the same time, and return what came of them."""
    with ThreadPoolExecutor(len(works)) as pool:
        return [one.result() for one in [pool.submit(work) for work in works]]


@pytest.mark.parametrize("job_of_a_user", ["blockcommit", "blockcopy"])
def test_a_block_job_of_a_user_is_left_to_them(planted: Planted, job_of_a_user: str) -> None:
    host = fresh(planted, "s1", "s2")
    if job_of_a_user == "blockcommit":  # until they pivot
        host.virsh("blockcommit", VM, "vda", "--active", "--top", disk(host, VM), "--base", f"{IMAGES}/files01.qcow2")
    else:
        host.virsh("blockcopy", VM, "vda", f"{IMAGES}/files01-copy.qcow2", "--transient-job", "--format", "qcow2")
    for result in (
        planted.remove("", VM, name="s1"),
        planted.remove("", VM, all_snapshots=True),
        planted.snapshot("", VM, "s3", quiesce="never"),
    ):
        assert only(result)["error_code"] == "block_job_active"
    # That commit writes into what s1 has frozen.
    refused = "snapshot_changed" if job_of_a_user == "blockcommit" else "block_job_active"
    for keep in (False, True):
        assert only(planted.revert("", VM, "s1", keep_current=keep))["error_code"] == refused
    assert (state(host), snapshot_names(host, VM)) == ("running", ["s1", "s2"])
    assert job(host), "it was ended"
    host.virsh("blockjob", VM, "vda", "--abort")
    wait_for("the end of the job", lambda: not job(host))
    assert only(planted.remove("", VM, all_snapshots=True))["error_code"] is None
    assert holds_now(host, 3)


def test_a_backup_whose_client_is_gone_is_ended_by_what_the_refusal_names(planted: Planted) -> None:
    host = fresh(planted, "s1")
    scratch = f"{IMAGES}/files01-scratch.qcow2"
    server = "<server transport='unix' socket='/var/lib/libvirt/qemu/files01-backup'/>"
    disks = f"<disks><disk name='vda'><scratch file='{scratch}'/></disk><disk name='vdb' backup='no'/></disks>"
    host.put("/run/backup.xml", f"<domainbackup mode='pull'>{server}{disks}</domainbackup>")
    begun = host.run(["virsh", "backup-begin", VM, "/run/backup.xml"], check=False)
    if "not supported" in begun.stderr:
        pytest.skip("this libvirt has no backups")
    assert begun.returncode == 0, begun.stderr
    try:
        for result in (planted.remove("", VM, name="s1"), planted.snapshot("", VM, "s2", quiesce="never")):
            entry = only(result)
            assert entry["error_code"] in ("block_job_active", "busy")
            assert f"virsh domjobabort {VM}" in entry["msg"]
    finally:
        host.virsh("domjobabort", VM)
        host.run(f"rm -f {scratch} /run/backup.xml")
    assert only(planted.remove("", VM, name="s1"))["error_code"] is None
    assert holds_now(host, 2)
    sound(planted)


def test_a_block_job_that_a_user_starts_just_before_a_removal_does(planted: Planted) -> None:
    host = fresh(planted, "s1")
    copy = ["virsh", "blockcopy", VM, "vdb", f"{IMAGES}/files01-copy.qcow2", "--transient-job", "--format", "qcow2"]
    fault = f"before(remove.Remove, 'run', lambda: subprocess.run({copy!r}, stdout=2))"
    entry = only(planted.remove(fault, VM, name="s1"))
    assert entry["failed"], entry
    assert (state(host), holds_now(host, 2)) == ("running", True)
    assert job(host, VM, "vdb"), "it was ended"
    host.virsh("blockjob", VM, "vdb", "--abort")
    assert only(planted.remove("", VM, name="s1"))["error_code"] is None
    host.run(f"rm {IMAGES}/files01-copy.qcow2")
    assert (files_of(host, VM), snapshot_names(host, VM), holds_now(host, 2)) == (PRISTINE, [], True)
    sound(planted)


def test_two_controllers_remove_the_same_snapshot(planted: Planted) -> None:
    reset_vm(planted.host, "off01")
    assert only(planted.snapshot("", "off01", "s1"))["error_code"] is None
    host = fresh(planted, "s1", "s2")
    results = at_once(*(lambda: planted.remove("", VM, "off01", name="s1") for _controller in range(2)))
    for vm in (VM, "off01"):
        entries = [entry for result in results for entry in result["vms"] if entry["vm"] == vm]
        assert [entry["error_code"] for entry in entries] == [None, None], entries
        assert sorted(entry["changed"] for entry in entries) == [False, True]
        sound(planted, vm)
    assert (snapshot_names(host, VM), snapshot_names(host, "off01")) == (["s2"], [])
    assert (holds_now(host, 3), holds(host, f"{IMAGES}/files01.qcow2", "qcow2", 2)) == (True, True)


def test_two_controllers_revert_to_and_remove_the_same_snapshot(planted: Planted) -> None:
    host = fresh(planted, "s1")
    results = at_once(
        lambda: planted.revert("", VM, "s1"),
        lambda: planted.revert("", VM, "s1"),
        lambda: planted.remove("", VM, name="s1", timeout=1),
    )
    codes = {only(result)["error_code"] for result in results}
    assert codes <= {None, "locked", "snapshot_not_found", "busy"}, results
    assert None in codes
    reverted = any(only(result)["changed"] and only(result)["power"] for result in results[:2])
    assert only(planted.remove("", VM, name="s1"))["error_code"] is None
    assert (state(host), files_of(host, VM)) == ("running", PRISTINE)
    assert holds_now(host, 1) or (not reverted and holds_now(host, 2))
    sound(planted)


_BY_VIRSH = ["virsh", "snapshot-create-as", VM, "theirs", "--disk-only"]


@pytest.mark.parametrize("what", ["take", "revert", "remove"])
def test_a_user_takes_a_snapshot_just_before(planted: Planted, what: str) -> None:
    host = fresh(planted, "s1")
    step = {"take": "take.Take", "revert": "revert.Revert", "remove": "remove.Remove"}[what]
    fault = f"before({step}, 'run', lambda: subprocess.run({_BY_VIRSH!r}, stdout=2))"
    work: dict[str, Callable[[str], dict[str, Any]]] = {
        "take": lambda fault: planted.snapshot(fault, VM, "s2", quiesce="never"),
        "revert": lambda fault: planted.revert(fault, VM, "s1"),
        "remove": lambda fault: planted.remove(fault, VM, name="s1"),
    }
    first = only(work[what](fault))
    assert state(host) == "running"
    assert "theirs" in snapshot_names(host, VM)
    if first["error_code"]:
        assert only(work[what](""))["error_code"] is None
    assert holds_now(host, 1 if what == "revert" else 2)
    assert only(planted.revert("", VM, "theirs"))["error_code"] is None
    assert holds_now(host, 2), "theirs does not hold what it held"
    assert only(planted.remove("", VM, all_snapshots=True))["error_code"] is None
    assert (files_of(host, VM), holds_now(host, 2)) == (PRISTINE, True)
