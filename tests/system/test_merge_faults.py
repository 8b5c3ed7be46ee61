# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merges that outlive their task, and layers that others hold up."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Optional

import pytest

from .changed_vm import PRISTINE, VM, fresh, holds_now, job, sound, state
from .guest import IMAGES, files_of, wait_for, write
from .planted import Planted, only, planted, snapshot_names

__all__ = ("planted",)


def test_a_merge_that_takes_too_long(planted: Planted) -> None:
    """It is no failure, and nothing was copied in vain: QEMU goes on, and the next task waits for it."""
    host = fresh(planted, "s1")
    write(host, VM, 0, 5, "24M")

    def look() -> dict[str, Any]:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            operation: Optional[dict[str, Any]] = planted.info(VM)["operation"]
            if operation and operation["running"] and operation["percent"] is not None:
                return operation
        raise AssertionError("nobody was told how far it is")

    with ThreadPoolExecutor() as pool:
        removal = pool.submit(planted.remove, "", VM, name="s1", bandwidth=2, timeout=5)
        meanwhile, late = pool.submit(look).result(), only(removal.result())
    assert (late["error_code"], late["changed"], late["removed"]) == (None, True, []), late
    assert late["merge"]["state"] == "running"
    assert 0 < late["merge"]["percent"] < 100
    assert 0 < late["merge"]["seconds_left"] < 60
    assert (meanwhile["kind"], meanwhile["snapshot"]) == ("remove", "s1")
    assert 0 <= meanwhile["percent"] < 80
    assert state(host) == "running"
    assert job(host)
    assert holds_now(host, 5, size="24M")
    info = planted.info(VM)
    assert (info["operation"]["running"], info["operation"]["interrupted"], info["look"]) == (False, False, "look"), (
        info
    )
    assert late["merge"]["percent"] <= info["operation"]["percent"] < 100
    assert only(planted.snapshot("", VM, "s2", timeout=1))["error_code"] == "timeout", "a snapshot is no merge"
    again = only(planted.remove("", VM, name="s1"))
    assert again["error_code"] is None, again
    assert "removal of snapshot 's1'" in again["recovered"]
    assert (snapshot_names(host, VM), files_of(host, VM), job(host)) == ([], PRISTINE, "")
    assert holds_now(host, 5, size="24M")
    sound(planted)


def test_a_merge_that_the_next_task_waits_for_is_not_read_once_more(planted: Planted) -> None:
    """Comparing the layers of a large disk takes longer than a task has, and who saw the end knows it."""
    host = fresh(planted, "s1")
    write(host, VM, 0, 5, "24M")
    assert only(planted.snapshot("", VM, "s2"))["error_code"] is None
    write(host, VM, 0, 6)
    assert only(planted.remove("", VM, name="s1", bandwidth=2, timeout=1))["merge"]
    taken = only(planted.snapshot("before(merge_layers, 'reads_the_same', die)", VM, "s3", timeout=90))
    assert taken["error_code"] is None, taken
    assert "removal of snapshot 's1'" in taken["recovered"]
    assert sorted(snapshot_names(host, VM)) == ["s2", "s3"]
    sound(planted)
    for name in ("s3", "s2"):
        assert only(planted.remove("", VM, name=name))["error_code"] is None
    assert (files_of(host, VM), holds_now(host, 6)) == (PRISTINE, True)


@pytest.mark.parametrize("meanwhile", ["ready", "shut off", "libvirtd restarted", "aborted", "pivoted"])
def test_a_merge_that_goes_on_without_a_task(planted: Planted, meanwhile: str) -> None:
    """Whatever becomes of it until somebody runs the next task, whichever that is: nothing is lost, and it is finished."""
    host = fresh(planted, "s1")
    write(host, VM, 0, 5, "10M")
    speed = 8 if meanwhile in ("ready", "pivoted") else 1
    assert only(planted.remove("", VM, name="s1", bandwidth=speed, timeout=1))["merge"]
    if meanwhile in ("ready", "pivoted"):
        wait_for("its end", lambda: planted.info(VM)["operation"]["percent"] == 100, 60)
        assert planted.info(VM)["operation"]["interrupted"], "it waits for a task"
        write(host, VM, 0, 6)
    if meanwhile == "pivoted":
        host.virsh("blockjob", VM, "vda", "--pivot")
        is_refused_until_the_overlay_is_moved(planted)
    elif meanwhile == "shut off":
        host.virsh("destroy", VM)
    elif meanwhile == "aborted":
        host.virsh("blockjob", VM, "vda", "--abort")
    elif meanwhile == "libvirtd restarted":
        host.run("systemctl restart libvirtd")
    taken = only(planted.snapshot("", VM, "s2", timeout=90))
    assert taken["error_code"] is None, taken
    assert "removal of snapshot 's1'" in taken["recovered"]
    assert only(planted.remove("", VM, name="s2"))["error_code"] is None
    assert (snapshot_names(host, VM), files_of(host, VM)) == ([], PRISTINE)
    if meanwhile == "shut off":
        host.virsh("start", VM)
    assert holds_now(host, 5, size="10M") if meanwhile not in ("ready", "pivoted") else holds_now(host, 6)
    sound(planted)


def is_refused_until_the_overlay_is_moved(planted: Planted) -> None:
    """An older definition put back looks the same in the record as a pivot by hand, so no task goes on by itself."""
    host, before = planted.host, files_of(planted.host, VM)
    for check in (True, False):
        taken = only(planted.snapshot("", VM, "s2", timeout=90, check=check))
        removed = only(planted.remove("", VM, name="s1", check=check))
        for entry in (taken, removed):
            assert (entry["error_code"], entry["changed"]) == ("definition_changed", False), (check, entry)
    assert (files_of(host, VM), holds_now(host, 6)) == (before, True)
    host.run(["mv", removed["details"]["overlay"], "/run"])


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
