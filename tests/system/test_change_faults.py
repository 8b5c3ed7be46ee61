# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing and reverting where room, permission, time or the connection ends, and where somebody else is at work too.

Every time the VM's present and what is left of its snapshots hold what they held, and one more run gets there.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Callable, Optional

import pytest
from lab.api import Host, reset_vm
from lab.paths import INVENTORY, SSH_CONFIG

from .guest import IMAGES, files_of, holds, is_writing, wait_for, write
from .planted import Planted, only, planted, snapshot_names

__all__ = ("planted",)

VM, DISKS = "files01", {"vda": 0, "vdb": 1, "vdc": 2}
PRISTINE = {"files01.qcow2", "files01-vdb.qcow2", "files01-vdc.raw", "files01-sda.iso"}
SMALL = "cramped"
ROOM = "/srv/cramped"  # a file system of its own
BASE = f"{ROOM}/cramped.qcow2"
CRAMPED = f"""
<domain type='qemu'>
  <name>{SMALL}</name>
  <memory unit='MiB'>16</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='{BASE}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <memballoon model='none'/>
  </devices>
</domain>"""


def fresh(planted: Planted, *names: str, vm: str = VM) -> Host:
    """Return the host with a pristine VM and snapshots of it; before the n-th its vda was filled with n, now with more."""
    host = planted.host
    reset_vm(host, vm)
    for number, name in enumerate(names, 1):
        write(host, vm, 0, number)
        assert only(planted.snapshot("", vm, name, quiesce="never"))["error_code"] is None
    write(host, vm, 0, len(names) + 1)
    return host


def disk(host: Host, vm: str, target: str = "vda") -> str:
    """Return the image that a disk is on, by virsh's own word."""
    found = re.search(rf"^\s*{target}\s+(\S+)", host.virsh("domblklist", vm), re.MULTILINE)
    assert found
    return found[1]


def state(host: Host, vm: str = VM) -> str:
    return host.virsh("domstate", vm).strip()


def holds_now(host: Host, pattern: int, vm: str = VM, size: str = "64k") -> bool:
    return holds(host, disk(host, vm), "qcow2", pattern, size)


def job(host: Host, vm: str = VM, target: str = "vda") -> str:
    """Return what virsh says of a disk's block job; nothing where there is none, as of a VM that is off."""
    said = host.run(["virsh", "blockjob", vm, target], check=False)
    none = any(text in said.stdout + said.stderr for text in ("No current block job", "domain is not running"))
    return "" if none else (said.stdout + said.stderr).strip()


def sound(planted: Planted, vm: str = VM) -> None:
    info = planted.info(vm)
    found = {key: info[key] for key in ("missing_files", "unknown_overlays", "orphans", "problems", "operation")}
    assert not any(found.values()), found


def at_once(*works: Callable[[], dict[str, Any]]) -> list[dict[str, Any]]:
    """Do several things at the same time, and return what came of them."""
    with ThreadPoolExecutor(len(works)) as pool:
        return [one.result() for one in [pool.submit(work) for work in works]]


@pytest.fixture
def cramped(planted: Planted) -> Iterator[Host]:
    """A VM whose image lies where there are a few MiB, and what it wrote since its snapshot elsewhere."""
    host = planted.host
    _clear(host)
    host.run(f"mkdir -p {ROOM} /srv/overlays && mount -t tmpfs -o size=24m,mode=755 tmpfs {ROOM}")
    host.run(f"qemu-img create -q -f qcow2 {BASE} 64M")
    host.put("/run/cramped.xml", CRAMPED)
    host.virsh("define", "/run/cramped.xml")
    host.virsh("start", SMALL)
    write(host, SMALL, 0, 1, "8M")
    taken = only(planted.snapshot("", SMALL, "s1", quiesce="never", overlay_dir="/srv/overlays"))
    assert taken["error_code"] is None
    write(host, SMALL, 0, 2, "12M")
    yield host
    _clear(host)


def _clear(host: Host) -> None:
    host.run(f"virsh destroy {SMALL}; virsh undefine {SMALL} --snapshots-metadata; umount {ROOM}", check=False)
    host.run(f"rm -rf {ROOM} /srv/overlays")


_FILL = f"dd if=/dev/zero of={ROOM}/filler bs=64k"


@pytest.mark.parametrize("power", ["running", "shut off"])
def test_no_room_for_a_merge_is_seen_before_it_begins(planted: Planted, cramped: Host, power: str) -> None:
    if power == "shut off":
        cramped.virsh("destroy", SMALL)
    cramped.run(f"{_FILL} count=216")  # 4 of the 12 MiB are new to the image below, and fewer than that are left
    entry = only(planted.remove("", SMALL, name="s1"))
    assert entry["error_code"] == "no_space"
    assert (snapshot_names(cramped, SMALL), state(cramped, SMALL)) == (["s1"], power)
    assert holds_now(cramped, 2, SMALL, "12M")
    cramped.run(f"rm {ROOM}/filler")
    assert only(planted.remove("", SMALL, name="s1"))["error_code"] is None
    assert (disk(cramped, SMALL), state(cramped, SMALL)) == (BASE, power)
    assert holds_now(cramped, 2, SMALL, "12M")
    sound(planted, SMALL)


@pytest.mark.parametrize("power", ["running", "shut off"])
def test_a_file_system_that_gets_full_while_merging(planted: Planted, cramped: Host, power: str) -> None:
    if power == "shut off":
        cramped.virsh("destroy", SMALL)
    step = "merge_steps, 'commit_block'" if power == "running" else "merge_steps, 'commit_image'"
    # All but a MiB of it, so that the merge does begin.
    fill = f"lambda: subprocess.run('{_FILL}; truncate -s -1M {ROOM}/filler', shell=True, stderr=2)"
    entry = only(planted.remove(f"before({step}, {fill})", SMALL, name="s1"))
    assert entry["error_code"] == "merge_failed", entry
    assert "run the task again: it continues" in entry["msg"]
    assert (state(cramped, SMALL), job(cramped, SMALL)) == (power, "")
    assert holds_now(cramped, 2, SMALL, "12M")
    if power == "running":  # what it writes now is on top
        write(cramped, SMALL, 0, 3, "1M")
    operation = planted.info(SMALL)["operation"]
    assert (operation["kind"], operation["snapshot"], operation["interrupted"]) == ("remove", "s1", True)
    again = only(planted.remove("", SMALL, name="s1"))
    assert again["error_code"] == "merge_failed", "there was still no room"
    cramped.run(f"rm {ROOM}/filler")
    again = only(planted.remove("", SMALL, name="s1"))
    assert again["error_code"] is None, again
    assert (disk(cramped, SMALL), state(cramped, SMALL)) == (BASE, power)
    assert snapshot_names(cramped, SMALL) == []
    assert holds_now(cramped, 3 if power == "running" else 2, SMALL, "1M")
    assert cramped.run(["qemu-img", "check", "-U", "-q", BASE]).returncode == 0
    assert cramped.run("ls /srv/overlays").stdout == ""
    sound(planted, SMALL)


@contextmanager
def read_only(host: Host, directory: str) -> Iterator[None]:
    host.run(f"mount --bind {directory} {directory} && mount -o remount,bind,ro {directory}")
    try:
        yield
    finally:
        host.run(f"umount {directory}")


def test_an_overlay_directory_that_cannot_be_written_any_more(planted: Planted) -> None:
    host, where = planted.host, f"{IMAGES}/overlays"
    reset_vm(host, VM)
    host.run(f"rm -rf {where}; mkdir {where}")
    try:
        write(host, VM, 0, 1)
        assert only(planted.snapshot("", VM, "s1", quiesce="never", overlay_dir=where))["error_code"] is None
        write(host, VM, 0, 2)
        log = host.run(["stat", "-c", "%Y %i", f"/run/libvirt/qemu/{VM}.pid"]).stdout
        with read_only(host, where):
            assert only(planted.snapshot("", VM, "s2", quiesce="never"))["error_code"] == "overlay_dir_unusable"
            for keep in (False, True):
                entry = only(planted.revert("", VM, "s1", keep_current=keep))
                assert entry["error_code"] == "overlay_dir_unusable"
            assert host.run(["stat", "-c", "%Y %i", f"/run/libvirt/qemu/{VM}.pid"]).stdout == log, "it was stopped"
            assert (state(host), snapshot_names(host, VM)) == ("running", ["s1"])
            assert holds_now(host, 2)
            removed = only(planted.remove("", VM, name="s1"))
            assert removed["error_code"] == "file_not_removed"
            assert (state(host), holds_now(host, 2)) == ("running", True)
        assert only(planted.remove("", VM, name="s1"))["error_code"] is None
        assert (snapshot_names(host, VM), host.run(f"ls {where}").stdout) == ([], "")
        assert (files_of(host, VM), holds_now(host, 2)) == (PRISTINE, True)
        sound(planted)
    finally:
        reset_vm(host, VM)
        host.run(f"rm -rf {where}")


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


def test_an_agent_that_dies_while_frozen_for_what_is_kept(planted: Planted) -> None:
    host = planted.host
    reset_vm(host, "web01")
    wait_for("the writer", lambda: is_writing(host, "web01"), 180)
    assert only(planted.snapshot("", "web01", "s1"))["error_code"] is None
    _in_guest(host, "sleep 6; kill -KILL $(pidof qemu-ga)")
    # Frozen before it dies, and for longer than that takes.
    entry = only(
        planted.revert("before(taking.Taking, '_switch', lambda: time.sleep(9))", "web01", "s1", keep_current=True)
    )
    assert entry["error_code"] == "thaw_failed"
    assert "before-s1" in snapshot_names(host, "web01")
    again = only(planted.revert("", "web01", "s1", keep_current=True, quiesce_timeout=5))
    assert again["error_code"] is None
    assert is_writing(host, "web01", 240), "the guest is frozen"
    sound(planted, "web01")
    assert only(planted.remove("", "web01", all_snapshots=True))["error_code"] is None
    assert files_of(host, "web01") == {"web01.qcow2"}
    assert is_writing(host, "web01")


def _in_guest(host: Host, script: str) -> None:
    arguments = {"path": "/bin/busybox", "arg": ["sh", "-c", script]}
    host.virsh("qemu-agent-command", "web01", json.dumps({"execute": "guest-exec", "arguments": arguments}))


def test_the_connection_ends_while_merging(planted: Planted) -> None:
    host = fresh(planted, "s1")
    write(host, VM, 0, 5, "24M")
    arguments = json.dumps({"vm": VM, "name": "s1", "state": "absent", "bandwidth": 1})
    command = ["ansible", host.name, "-i", str(INVENTORY), "-m", "limiquantix.kvm.vm_snapshot", "-a", arguments]
    # No shared connection, which would outlive the one who began it.
    command += ["-e", json.dumps({"ansible_ssh_args": f"-F {SSH_CONFIG} -o ControlMaster=no -o ControlPath=none"})]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_for("the merge", lambda: bool(job(host)), 60)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    entry = only(planted.remove("", VM, name="s1", timeout=90))
    assert entry["error_code"] is None, entry
    assert (state(host), job(host), snapshot_names(host, VM)) == ("running", "", [])
    assert (files_of(host, VM), holds_now(host, 5, size="24M")) == (PRISTINE, True)
    sound(planted)


def test_a_merge_that_takes_too_long(planted: Planted) -> None:
    host = fresh(planted, "s1")
    write(host, VM, 0, 5, "48M")

    def look() -> dict[str, Any]:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            operation: Optional[dict[str, Any]] = planted.info(VM)["operation"]
            if operation and operation["running"] and operation["percent"] is not None:
                return operation
        raise AssertionError("nobody was told how far it is")

    with ThreadPoolExecutor() as pool:
        removal = pool.submit(planted.remove, "", VM, name="s1", bandwidth=1, timeout=10)
        meanwhile, late = pool.submit(look).result(), only(removal.result())
    assert late["error_code"] == "timeout", late
    assert (meanwhile["kind"], meanwhile["snapshot"]) == ("remove", "s1")
    assert 0 <= meanwhile["percent"] < 60
    assert (state(host), job(host)) == ("running", "")
    assert holds_now(host, 5, size="48M")
    operation = planted.info(VM)["operation"]
    assert (operation["kind"], operation["snapshot"], operation["interrupted"]) == ("remove", "s1", True)
    assert operation["percent"] is None
    again = only(planted.remove("", VM, name="s1"))
    assert again["error_code"] is None, again
    assert "removal of snapshot 's1'" in again["recovered"]
    assert (snapshot_names(host, VM), files_of(host, VM)) == ([], PRISTINE)
    assert holds_now(host, 5, size="48M")
    sound(planted)


def test_a_layer_that_only_an_orphan_holds_up_is_merged_with_its_snapshot(planted: Planted) -> None:
    """Somebody had libvirt forget a snapshot of ours and put the VM back below its overlays, which nothing uses since."""
    host = fresh(planted)
    before = host.virsh("dumpxml", VM, "--inactive")
    assert only(planted.snapshot("", VM, "lost", quiesce="never"))["error_code"] is None
    lost = sorted(f"{IMAGES}/{file}" for file in files_of(host, VM) - PRISTINE)
    host.virsh("destroy", VM)
    host.virsh("snapshot-delete", VM, "lost", "--metadata")
    host.put("/run/before.xml", before)
    host.virsh("define", "/run/before.xml")
    host.virsh("start", VM)
    assert only(planted.snapshot("", VM, "s1", quiesce="never"))["error_code"] is None
    write(host, VM, 0, 2)
    overlays = files_of(host, VM) - PRISTINE - {os.path.basename(file) for file in lost}
    told, done = (only(planted.prune(VM, "s1", check=check, orphans=True)) for check in (True, False))
    assert (told["error_code"], done["error_code"]) == (None, None), (told, done)
    for entry in (told, done):
        assert (sorted(entry["orphans_removed"]), entry["notes"]) == (lost, []), entry
        assert {os.path.basename(file) for file in entry["files_removed"]} == overlays
    assert (snapshot_names(host, VM), files_of(host, VM)) == ([], PRISTINE)
    assert holds_now(host, 2)
    sound(planted)


def test_a_vm_that_is_off_by_libvirts_word_only(planted: Planted) -> None:
    """Something has its image open as a QEMU has that libvirt has lost."""
    host = fresh(planted, "s1")
    host.virsh("destroy", VM)
    overlays = files_of(host, VM)
    image = disk(host, VM)
    host.run(f"setsid sh -c 'sleep 60 | qemu-io -f qcow2 {image}' >/dev/null 2>&1 </dev/null &")
    inode = host.run(["stat", "-c", "%i", image]).stdout.strip()
    wait_for("its lock", lambda: f":{inode} " in host.run("cat /proc/locks").stdout)
    pid = host.run("pgrep -nx qemu-io").stdout.strip()
    try:
        for done in (
            planted.snapshot("", VM, "s2"),
            planted.revert("", VM, "s1"),
            planted.remove("", VM, name="s1"),
        ):
            entry = only(done)
            assert (entry["error_code"], entry["details"]) == ("file_in_use", {"file": image, "pid": int(pid)}), entry
        assert (snapshot_names(host, VM), files_of(host, VM), disk(host, VM)) == (["s1"], overlays, image)
    finally:
        host.run(["kill", pid])
    assert only(planted.remove("", VM, name="s1"))["error_code"] is None
    assert (snapshot_names(host, VM), files_of(host, VM)) == ([], PRISTINE)
    assert holds_now(host, 2)
    sound(planted)


_BEHIND_LIBVIRTS_BACK = """
import json, libvirt, libvirt_qemu, os, subprocess
domain = libvirt.open("qemu:///system").lookupByName({vm!r})

def ask(command, **arguments):
    line = json.dumps({{"execute": command, "arguments": arguments}})
    return json.loads(libvirt_qemu.qemuMonitorCommand(domain, line, 0))["return"]

known = {{one["file"]: one["node-name"] for one in ask("query-named-block-nodes", flat=True) if one["drv"] == "qcow2"}}
subprocess.run(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", {image!r}, "-F", "qcow2", {overlay!r}, "64M"], check=True)
os.chown({overlay!r}, os.stat({image!r}).st_uid, os.stat({image!r}).st_gid)
ask("blockdev-add", driver="file", filename={overlay!r}, **{{"node-name": "libvirt-90-storage", "auto-read-only": True}})
ask("blockdev-add", driver="qcow2", file="libvirt-90-storage", backing=None, **{{"node-name": "libvirt-90-format"}})
ask("blockdev-snapshot", node=known[{image!r}], overlay="libvirt-90-format")
"""


def test_qemu_on_an_overlay_that_libvirt_does_not_know(planted: Planted) -> None:
    """As libvirt that is killed while a snapshot is taken leaves it: its data goes to where libvirt believes the VM to be."""
    host = fresh(planted, "s1", "s2")
    image, overlay = disk(host, VM), f"{IMAGES}/{VM}.vda.new.qcow2"
    states = {name: disk_of(planted, name) for name in ("s1", "s2")}
    planted.run_python(_BEHIND_LIBVIRTS_BACK.format(vm=VM, image=image, overlay=overlay))
    planted.plant(VM, kind="take", snapshot="new", files=[overlay])
    write(host, VM, 0, 4)
    assert not holds_now(host, 4), "libvirt knows"
    entry = only(planted.snapshot("", VM, "new", quiesce="never"))
    assert entry["error_code"] is None, entry
    assert "Removed what an interrupted run had left" in entry["recovered"]
    assert (snapshot_names(host, VM), disk(host, VM)) == (["new", "s1", "s2"], overlay)
    assert holds(host, image, "qcow2", 4)
    assert [holds(host, states[name], "qcow2", number) for number, name in enumerate(states, 1)] == [True, True]
    sound(planted)


def disk_of(planted: Planted, snapshot: str) -> str:
    """Return the image that holds a snapshot's state of vda."""
    found = next(one for one in planted.info(VM)["snapshots"] if one["name"] == snapshot)
    base: str = next(disk["base"] for disk in found["disks"] if disk["target"] == "vda")
    return base
