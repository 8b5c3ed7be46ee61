# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several snapshots whose layers go down in one merge: their data moves once, and nobody else's is touched."""

from __future__ import annotations

from typing import Any

import pytest
from lab.api import Host

from .changed_vm import PRISTINE, VM, disk, fresh, holds_now, job, sound, state
from .guest import IMAGES, files_of, holds, write
from .planted import Planted, only, planted, snapshot_names

__all__ = ("planted",)

_NOTED = "/run/merges"
_NOTE = f"lambda: open('{_NOTED}', 'a').write('merge\\n')"
_COUNT = f"before(merge_layers, 'commit_block', {_NOTE}); before(merge_layers, 'commit_image', {_NOTE})"


def made(planted: Planted, running: bool, *names: str) -> Host:
    """Return the host with a VM that holds n in snapshot n, and more than that now."""
    host = fresh(planted, *names)
    if not running:
        host.virsh("destroy", VM)
    host.run(["rm", "-f", _NOTED])
    return host


def merges(host: Host) -> int:
    """Return how many merges were begun."""
    return len(host.run(["cat", _NOTED], check=False).stdout.splitlines())


def removed(planted: Planted, **options: Any) -> dict[str, Any]:
    told = only(planted.remove("", VM, check=True, **options))
    done = only(planted.remove(_COUNT, VM, **options))
    assert (told["error_code"], done["error_code"]) == (None, None), (told, done)
    for key in ("removed", "files_removed"):
        assert sorted(told[key]) == sorted(done[key]), (told, done)
    return done


@pytest.mark.parametrize("running", [True, False], ids=["running", "off"])
def test_all_snapshots_go_down_in_one_merge_of_each_disk(planted: Planted, running: bool) -> None:
    host = made(planted, running, "s1", "s2", "s3")
    done = removed(planted, all_snapshots=True)
    assert sorted(done["removed"]) == ["s1", "s2", "s3"]
    assert (merges(host), snapshot_names(host, VM), files_of(host, VM)) == (len(PRISTINE) - 1, [], PRISTINE)
    assert state(host) == ("running" if running else "shut off")
    assert holds_now(host, 4)
    sound(planted)


@pytest.mark.parametrize("running", [True, False], ids=["running", "off"])
def test_what_stays_is_above_what_goes(planted: Planted, running: bool) -> None:
    """As a retention does every night: the oldest go, and the newest keeps what it holds."""
    host = made(planted, running, "s1", "s2", "s3")
    done = only(planted.prune(VM, "s1", "s2"))
    assert (done["error_code"], sorted(done["removed"]), snapshot_names(host, VM)) == (None, ["s1", "s2"], ["s3"]), done
    assert holds_now(host, 4)
    sound(planted)
    back = only(planted.revert("", VM, "s3"))
    assert back["error_code"] is None, back
    assert holds_now(host, 3)
    sound(planted)


def test_somebody_elses_clone_of_a_layer_between_keeps_what_it_holds(planted: Planted) -> None:
    host = made(planted, True, "s1", "s2", "s3")
    frozen = disk_of(planted, "s3")
    clone = f"{IMAGES}/somebodys.qcow2"
    host.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", frozen, "-F", "qcow2", clone])
    try:
        done = removed(planted, all_snapshots=True)
        assert frozen not in done["files_removed"]
        assert any(clone in note for note in done["notes"]), done
        assert (holds(host, clone, "qcow2", 3), holds_now(host, 4)) == (True, True)
        assert snapshot_names(host, VM) == []
        # What nobody else is based on went down all the same: vdb and vdc are on their first images again.
        assert disk(host, VM, "vdb") == f"{IMAGES}/files01-vdb.qcow2"
    finally:
        host.run(["rm", "-f", clone])


def test_a_merge_of_several_that_takes_too_long_is_finished_by_the_next_task(planted: Planted) -> None:
    host = made(planted, True, "s1", "s2")
    write(host, VM, 0, 5, "24M")
    late = only(planted.remove("", VM, all_snapshots=True, bandwidth=2, timeout=5))
    assert (late["error_code"], late["changed"], late["removed"]) == (None, True, []), late
    assert late["merge"]["state"] == "running"
    info = planted.info(VM)
    # What the disk holds is read at the end: of layers in between QEMU lets nobody read while it merges through them.
    assert sorted(info["operation"]["snapshots"]) == ["s1", "s2"]
    again = only(planted.snapshot("", VM, "s3", quiesce="never", timeout=90))
    assert again["error_code"] is None, again
    assert "removal of snapshots 's2', 's1'" in again["recovered"]
    assert (snapshot_names(host, VM), job(host)) == (["s3"], "")
    assert holds_now(host, 5, size="24M")
    sound(planted)


def disk_of(planted: Planted, name: str) -> str:
    """Return the image that holds vda as a snapshot has it."""
    snapshots = {one["name"]: one for one in planted.info(VM)["snapshots"]}
    return str({part["target"]: part["base"] for part in snapshots[name]["disks"]}["vda"])
