# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which layers stay because somebody else may need them, and what is said of that."""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path
from typing import Optional

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Made, Record
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Drop, Layers, Merge, steps

pytest.importorskip("lxml")
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.read_layers import (
    Forest,
    Surroundings,
    needed_by_memory,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.unused_overlays import leftovers
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host import (
    host_overlays,
    mounts,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import identity
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_users import User, Users
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.host_overlays import HostFiles
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.overlays import read_headers


class Host:
    """A VM whose disk is base <- one <- top after its snapshot `one` is gone, with a neighbour to be added."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.users = Users()
        self.backing: dict[str, Optional[str]] = {}
        for name, below in (("base", None), ("one", "base"), ("top", "one")):
            self.add(name, below)
        self.record = Record()

    def add(self, name: str, below: Optional[str]) -> None:
        (self.folder / name).touch()
        self.backing[self.file(name)] = self.file(below) if below else None

    def file(self, name: str) -> str:
        return str(self.folder / name)

    def forest(
        self, present: tuple[str, ...] = ("top",), ours: tuple[str, ...] = ("one", "top"), running: bool = False
    ) -> Forest:
        own = {self.file(name) for name in ("base", *ours)}
        tops = {f"vd{chr(97 + number)}": self.file(name) for number, name in enumerate(present)}
        released = {self.file("base")}
        layers = Layers(dict(self.backing), set(), set(tops.values()), own - {self.file("base")}, released)
        forest = Forest(layers, tops, running)
        around = Surroundings(HostFiles(), self.users, "own")
        around.files.look_into([str(self.folder)])
        forest.leave_to_others(own, (), around, needed_by_memory(forest, own, around, ()))
        forest.keep(self.record, around)
        return forest


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_alone_the_layers_are_merged(host: Host) -> None:
    assert steps(host.forest().layers)[0] == Merge(host.file("one"), host.file("base"), (host.file("top"),))


@pytest.mark.parametrize("name", ["base", "one"])
def test_what_another_vm_uses_stays_with_all_that_is_under_it(host: Host, name: str) -> None:
    host.users.add(host.file(name), User("VM rescue", "other", True, False))
    forest = host.forest()
    assert steps(forest.layers) == []
    assert "VM rescue uses it" in forest.why[host.file("base")]


@pytest.mark.parametrize("images", [True, False])
def test_the_vm_itself_is_nobody_else_unless_it_uses_an_image_for_something_else(host: Host, images: bool) -> None:
    host.users.add(host.file("base"), User("VM own", "own", images, False))
    assert bool(steps(host.forest().layers)) is images


def test_a_link_does_not_hide_who_uses_a_file(host: Host) -> None:
    os.link(host.file("base"), host.file("hard"))
    host.users.add(host.file("hard"), User("VM rescue", "other", True, False))
    assert steps(host.forest().layers) == []


def test_what_cannot_be_known_is_left_alone(host: Host) -> None:
    host.users.unknown[str(host.folder)] = "/home/alice cannot be read"
    forest = host.forest()
    assert steps(forest.layers) == []
    assert "nobody can tell" in forest.why[host.file("base")]


@pytest.mark.parametrize("what", ["a file", "the directory"])
def test_a_directory_that_cannot_be_looked_at_is_left_alone(
    host: Host, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Anything in it may be based on a layer; as root nothing is denied, so that it is made to happen."""

    def denied(*_path: str) -> list[str]:
        raise PermissionError(13, "Permission denied")

    if what == "a file":
        monkeypatch.setattr(read_headers, "head_of", denied)
    else:
        monkeypatch.setattr(host_overlays.os, "scandir", denied)
    forest = host.forest()
    assert steps(forest.layers) == []
    assert "nobody can tell" in forest.why[host.file("base")]


def test_a_link_to_what_is_no_storage_is_no_image(tmp_path: Path) -> None:
    """/dev/core leads to /proc/kcore, which root itself may not be allowed to read (a container, Secure Boot)."""
    (tmp_path / "core").symlink_to("/proc/self/mem")  # nobody can read its first bytes
    (tmp_path / "base").touch()
    files = HostFiles()
    files.look_into([str(tmp_path)])
    assert files.why_unknown(str(tmp_path / "base")) is None


def test_a_device_that_does_not_answer_makes_its_directory_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lun").touch()
    asked = []

    def hang(device: str) -> list[str]:
        asked.append(device)
        threading.Event().wait()
        return []

    monkeypatch.setattr(read_headers.stat, "S_ISBLK", lambda _mode: True)
    monkeypatch.setattr(mounts, "_ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(read_headers, "backing_files", hang)
    files = HostFiles()
    for _look in range(3):
        files.look_into([str(tmp_path)])
    assert "lun cannot be read" in str(files.why_unknown(str(tmp_path / "base")))
    assert len(asked) == 1  # a dead one is asked once


def test_a_strangers_overlay_far_above_protects_every_layer_under_it(host: Host) -> None:
    host.add("clone", "top")
    assert steps(host.forest().layers) == []


def test_an_overlay_of_a_disk_that_is_gone_is_kept_and_told(host: Host) -> None:
    host.add("other-base", None)
    host.record = Record(made={host.file("one"): Made("vdb"), host.file("top"): Made("vdb")})
    forest = host.forest(present=("other-base",))
    assert steps(forest.layers) == []
    found = list(leftovers("web", forest, ()))
    assert [(one.file, one.why, one.target) for one in found] == [(host.file("top"), "detached", "vdb")]
    assert f"attach-disk web {host.file('top')} vdb" in str(found[0])
    assert "no longer has that disk" in str(found[0])


def test_a_disk_that_is_on_another_image_now_is_detached_before_the_old_one_comes_back(host: Host) -> None:
    host.add("other-base", None)
    host.record = Record(made={host.file("top"): Made("vda")})
    found = str(next(leftovers("web", host.forest(present=("other-base",)), ())))
    assert f"has {host.file('other-base')} as that disk now" in found
    assert "virsh detach-disk web vda --config && virsh attach-disk web" in found


def test_another_file_of_the_same_name_is_not_deleted_and_may_be_merged(host: Host) -> None:
    host.add("side", "base")
    noted = identity(host.file("side"))
    assert noted
    host.record = Record(made={host.file("side"): Made("vda", [noted[0] + 1, noted[1]])})
    forest = host.forest(ours=("one", "top", "side"))
    assert Drop(host.file("side")) not in steps(forest.layers)
    assert "another file" in forest.why[host.file("side")]
    host.record = Record(made={host.file("side"): Made("vda", noted)})
    assert Drop(host.file("side")) in steps(host.forest(ours=("one", "top", "side")).layers)


@pytest.mark.parametrize("noted", ["kept", "active"])
def test_an_overlay_that_others_made_the_vm_leave_is_kept_and_told(host: Host, noted: str) -> None:
    host.add("side", "base")
    side, ours = host.file("side"), ("one", "top", "side")
    assert Drop(side) in steps(host.forest(ours=ours).layers)
    host.record = Record(kept=(side,)) if noted == "kept" else Record(active={"vda": side})
    forest = host.forest(ours=ours)
    assert Drop(side) not in steps(forest.layers)
    assert [(one.file, one.why) for one in leftovers("web", forest, ())] == [(side, "detached")]


def test_an_overlay_that_the_vm_is_on_again_is_like_any_other(host: Host) -> None:
    host.record = Record(kept=(host.file("top"),))
    assert isinstance(steps(host.forest().layers)[0], Merge)


@pytest.mark.parametrize("whose", ["nobody's", "another VM's", "a clone's", "another file"])
def test_an_overlay_that_took_all_below_it_is_told_where_nobody_is_on_it(host: Host, whose: str) -> None:
    side = host.file("side")
    Path(side).write_bytes(
        struct.pack(">4sI", b"QFI\xfb", 3).ljust(100, b"\0") + struct.pack(">I", 104).ljust(412, b"\0")
    )
    noted = identity(side) or [0, None]
    host.record = Record(made={side: Made("vda", [noted[0] + (whose == "another file"), noted[1]])})
    if whose == "another VM's":
        host.users.add(side, User("VM other", "other", True, True))
    elif whose == "a clone's":
        host.backing[host.file("clone")] = side
    forest = host.forest()
    told = [(one.file, one.target) for one in leftovers("web", forest, ())]
    assert told == ([(side, "vda")] if whose == "nobody's" else [])
    assert Drop(side) not in steps(forest.layers)


def test_on_shared_storage_nothing_is_deleted_and_layers_are_merged(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.add("side", "base")
    monkeypatch.setattr(mounts, "_read", lambda: iter([mounts.Mount("/", "nfs4", "0:1")]))
    forest = host.forest(ours=("one", "top", "side"))
    assert Drop(host.file("side")) not in steps(forest.layers)
    assert [(one.file, one.why) for one in leftovers("web", forest, ())] == [(host.file("side"), "shared")]
    host.backing.pop(host.file("side"))
    assert isinstance(steps(host.forest().layers)[0], Merge)


@pytest.mark.parametrize("running", [False, True])
def test_layers_that_saved_memory_needs_stay_unless_its_vm_runs_on_them(host: Host, running: bool) -> None:
    layers = {name: f"<source file='{host.file(name)}'/>" for name in ("top", "base")}
    below = f"<backingStore type='file'>{layers['base']}</backingStore>"
    disk = f"<disk type='file' device='disk'>{layers['top']}{below}<target dev='vda'/></disk>"
    xml = f"<domain><name>web</name><uuid>own</uuid><devices>{disk}</devices></domain>"
    (host.folder / "friday.save").write_text(f"LibvirtQemudSave{xml}")
    forest = host.forest(running=running)
    assert ("friday.save needs it" in forest.why.get(host.file("base"), "")) is not running
    assert bool(steps(forest.layers)) is running
