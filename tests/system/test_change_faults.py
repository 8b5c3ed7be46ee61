# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of a VM that its agent, its connection or libvirt itself interrupts."""

from __future__ import annotations

import json
import os
import signal
import subprocess

from lab.api import reset_vm
from lab.paths import INVENTORY, SSH_CONFIG

from .changed_vm import PRISTINE, VM, disk, fresh, holds_now, job, sound, state
from .guest import IMAGES, at_nudges, files_of, holds, is_writing, nudge, wait_for, write
from .planted import Planted, only, planted, snapshot_names

__all__ = ("planted",)


def test_an_agent_that_dies_while_frozen_for_what_is_kept(planted: Planted) -> None:
    host = planted.host
    reset_vm(host, "web01")
    wait_for("the writer", lambda: is_writing(host, "web01"), 180)
    assert only(planted.snapshot("", "web01", "s1"))["error_code"] is None
    at_nudges(host, "web01", "kill -KILL $agent")
    # It has frozen the guest by then, and the switch waits until it is dead.
    die = f"lambda: subprocess.run({nudge('web01', 1)!r}, shell=True, check=True)"
    entry = only(planted.revert(f"before(take_steps.Taking, '_switch', {die})", "web01", "s1", keep_current=True))
    assert entry["error_code"] == "thaw_failed"
    assert "before-s1" in snapshot_names(host, "web01")
    again = only(planted.revert("", "web01", "s1", keep_current=True, quiesce_timeout=5))
    assert again["error_code"] is None
    assert is_writing(host, "web01", 240), "the guest is frozen"
    sound(planted, "web01")
    assert only(planted.remove("", "web01", all_snapshots=True))["error_code"] is None
    assert files_of(host, "web01") == {"web01.qcow2"}
    assert is_writing(host, "web01")


def test_the_connection_ends_while_merging(planted: Planted) -> None:
    host = fresh(planted, "s1")
    write(host, VM, 0, 5, "24M")
    arguments = json.dumps({"vm": VM, "name": "s1", "state": "absent", "bandwidth": 2})
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
