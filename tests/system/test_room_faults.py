# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No room and no right to write, before a merge and while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from lab.api import Host, reset_vm

from .changed_vm import PRISTINE, VM, disk, holds_now, job, sound, state
from .guest import IMAGES, files_of, write
from .planted import Planted, only, planted, snapshot_names

__all__ = ("planted",)

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
    step = "merge_layers, 'commit_block'" if power == "running" else "merge_layers, 'commit_image'"
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
            assert removed["error_code"] == "file_read_only"
            assert (state(host), holds_now(host, 2)) == ("running", True)
        assert only(planted.remove("", VM, name="s1"))["error_code"] is None
        assert (snapshot_names(host, VM), host.run(f"ls {where}").stdout) == ([], "")
        assert (files_of(host, VM), holds_now(host, 2)) == (PRISTINE, True)
        sound(planted)
    finally:
        reset_vm(host, VM)
        host.run(f"rm -rf {where}")
