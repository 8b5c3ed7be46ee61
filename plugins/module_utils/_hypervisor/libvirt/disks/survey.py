# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's image layers, read off the disks: what is based on what, and what each is to the VM.

The headers of all images count, in every directory that holds a file of the VM or of another domain of the host: whatever
is based on a layer protects it, whoever made it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image import Image, walk_chain
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.host_files import (
    UNREADABLE,
    HostFiles,
    is_based_on,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.identity import is_same
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import Mounts
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.users import User, Users
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.rewrite import OnDisk
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved import Saved
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.record import Record
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml import Disk, image_disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layers import MOST_LAYERS, Layers
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import chain_mismatch


@dataclass
class Forest:
    """All layers of one VM, by real paths. ``tops`` has the active layer of each disk, ``running`` whether QEMU has them.

    ``why`` says of a layer why it stays as it is or is not deleted; ``detached`` are overlays of disks that the VM no longer
    has, with the disk's target; ``shared`` lie where other hosts may use them, ``others`` have users beside the VM.
    """

    layers: Layers
    tops: dict[str, str]
    running: bool
    images: dict[str, Image] = field(default_factory=dict)
    spelled: dict[str, str] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    detached: dict[str, str] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)

    def chain(self, file: str) -> list[str]:
        """Return an image and all it is backed by."""
        return _chain(self.layers.backing, file)

    def format(self, file: str) -> str:
        """Return an image's format."""
        return self.images[file].format

    def on_disk(self, moved: Mapping[str, tuple[str, str]]) -> OnDisk:
        """Return what snapshots' metadata have to agree with."""
        return OnDisk(
            chains={target: self.chain(top) for target, top in self.tops.items()},
            based_on={file: self.layers.above(file) for file in self.layers.backing},
            spelled=self.spelled,
            moved=moved,
            ours=self.layers.ours,
        )

    def leave_to_others(self, own: Collection[str], snapshots: Iterable[Saved], around: Surroundings) -> None:
        """Fix every layer that somebody else uses or builds upon, and all that is under it."""
        reasons = {file: f"{_listed(users)} uses it" for file in own if (users := around.users.of(file, around.owner))}
        for file in own:
            unknown = around.why_unknown(file)
            if unknown:
                reasons.setdefault(file, f"nobody can tell who uses it: {unknown}")
        for snapshot in snapshots:
            for file in snapshot.also_defined:
                reasons.setdefault(os.path.realpath(file), f"the definition in snapshot {snapshot.name!r} names it")
        self.others = set(reasons)
        strangers = self.layers.backing.keys() - set(own) - self.layers.ours
        for file in sorted(strangers | reasons.keys() & self.layers.backing.keys()):
            if file in reasons:
                self._fix(file, reasons[file])
            why = f"{file} is based on it" if file in strangers else f"{file} is based on it, and {reasons[file]}"
            for below in self.chain(file)[1:]:
                self._fix(below, why)

    def _fix(self, file: str, why: str) -> None:
        self.layers.fixed.add(file)
        self.why.setdefault(file, why)

    def keep(self, record: Record, around: Surroundings) -> None:
        """Keep overlays that are not to be deleted: of a disk the VM no longer has, another file by now, on shared storage."""
        known = self.layers.states | self.layers.former | self.layers.ours
        current = {layer for top in self.layers.present for layer in self.chain(top)} & known
        for file in set(record.kept) & self.layers.ours:
            self._fix(
                file,
                "the VM was on an older image, so what was written last may be in this file only; delete it by hand when "
                "you know that nothing of it is missed",
            )
        for file in sorted(self.layers.ours - self.layers.present):
            made = record.made.get(file)
            if not current.intersection(self.chain(file)):
                self.detached[file] = made.target if made else ""
                self._fix(file, "it has the data of a disk that the VM no longer has")
            mount = around.files.mounts.of(file)
            if made and not is_same(made.identity, file):
                self._keep(file, "it is another file by now than the one that was made under this name")
            elif mount.shared:
                self.shared.add(file)
                self._keep(
                    file, f"it lies on shared storage ({mount.kind} at {mount.point}), which another host may use"
                )

    def unneeded(self) -> list[str]:
        """Return the overlays of ours on which nothing of the VM is, or is based; somebody else's may be based on them."""
        layers = self.layers
        own = layers.ours | layers.states | layers.present
        return sorted(one for one in layers.ours - layers.states - layers.present if own.isdisjoint(layers.above(one)))

    def used_by_others(self, file: str) -> bool:
        """Whether somebody beside the VM uses a layer, or nobody can tell."""
        return file in self.others

    def _keep(self, file: str, why: str) -> None:
        self.layers.kept.add(file)
        self.why.setdefault(file, why)


def _listed(users: Iterable[User]) -> str:
    return " and ".join(sorted({str(user) for user in users}))


def _chain(backing: Mapping[str, str | None], file: str) -> list[str]:
    chain: list[str] = []
    following: str | None = file
    while following is not None and len(chain) <= MOST_LAYERS:
        chain.append(following)
        following = backing.get(following)
    return chain


@dataclass(frozen=True)
class Surroundings:
    """What is there beside a VM: ``files`` of its host, who ``users`` are of them; ``owner`` is the VM's UUID."""

    files: HostFiles
    users: Users
    owner: str

    def why_unknown(self, file: str) -> Optional[str]:
        """Return why nobody can tell who needs a file; None where it can be told."""
        return self.users.why_unknown(file) or self.files.why_unknown(file)


def survey(
    vm: str,
    domains: Sequence[Any],
    snapshots: Sequence[Saved],
    record: Record,
    *,
    around: Surroundings,
    running: bool,
    going: Collection[str] = (),
) -> Forest:
    """Read a VM's layers.

    ``domains`` are its live XML, if it is running, and its definition; ``record`` says what snapshots and reverts made
    before, ``going`` are overlays that will be deleted first. Raises ``chain_mismatch`` where a layer of the VM's present
    cannot be read, of a disk that snapshots are of.
    """
    reader = _Reader(vm, around.files.mounts)
    snapshots, of_snapshots = list(snapshots), targets_of(snapshots, record)
    present = {target: reader.top(disk, target in of_snapshots) for target, disk in _disks_of(domains[:1])}
    defined = [reader.top(disk, target in of_snapshots) for target, disk in _disks_of(domains[1:])]
    states: set[str] = set()
    ours = set(record.overlays)
    for snapshot in snapshots:
        for part in snapshot.disks:
            states.add(reader.walk_path(part.state, part.format))
        for overlay in snapshot.overlays:
            ours.add(reader.walk_path(overlay, "qcow2"))
    for overlay in record.overlays:
        reader.walk_path(overlay, "qcow2")
    own = set(reader.backing)
    reader.add_based_on(around, going)
    backing = reader.backing
    # What libvirt believes to be in a chain is left alone, be it so or not.
    believed = {
        os.path.realpath(file) for _target, disk in _disks_of(domains[:1]) for file in disk.backing or () if file
    }
    believed -= {layer for top in present.values() for layer in reader.chain(top)}
    layers = Layers(
        backing=backing,
        states=states & backing.keys(),
        present={*present.values(), *defined} & backing.keys(),
        ours={file for file in ours & backing.keys() if backing[file] is not None},
        former={os.path.realpath(file) for file in record.former} & backing.keys(),
        # Whether libvirt knows of the snapshots inside or not.
        fixed={file for file, image in reader.images.items() if image.snapshots} | believed | reader.beyond(),
    )
    forest = Forest(layers, present, running, reader.images, reader.spelled)
    forest.leave_to_others(own, snapshots, around)
    forest.keep(record, around)
    return forest


def targets_of(snapshots: Iterable[Saved], record: Record) -> set[str]:
    """Return the disks that snapshots are or were of: what goes wrong with another one is no reason to refuse anything."""
    return {part.target for one in snapshots for part in one.disks} | {made.target for made in record.made.values()}


def _disks_of(domains: Sequence[Any]) -> list[tuple[str, Disk]]:
    return [(disk.target, disk) for domain in domains for disk in image_disks(domain)]


class _Reader:
    def __init__(self, vm: str, mounts: Mounts) -> None:
        self._vm = vm
        self._mounts = mounts
        self.backing: dict[str, str | None] = {}
        self.images: dict[str, Image] = {}
        self.spelled: dict[str, str] = {}

    def top(self, disk: Disk, of_snapshots: bool) -> str:
        """Read a disk's chain and return the real path of its active layer.

        Raises ``chain_mismatch`` for a disk that snapshots are of; what can be read of another one will do.
        """
        if not of_snapshots:
            return self.walk_path(str(disk.source), disk.format)
        try:
            return self._walk(str(disk.source), disk.format)
        except UNREADABLE as error:
            raise chain_mismatch(self._vm, disk.target, f"its backing chain cannot be read: {error}") from error

    def walk_path(self, path: str, image_format: str) -> str:
        """Read an image and what it is backed by, as far as that is there; return its real path."""
        try:
            return self._walk(path, image_format)
        except UNREADABLE:
            return os.path.realpath(path) if self._mounts.answers(path) else path

    def _walk(self, path: str, image_format: str) -> str:
        if not self._mounts.answers(path):
            raise OSError(errno.ETIMEDOUT, "its file system does not answer", path)
        top = os.path.realpath(path)
        for image in walk_chain(path, image_format) if top not in self.backing else ():
            real = os.path.realpath(image.file)
            if real in self.backing:
                break
            self.spelled[real] = image.file
            self.images[real] = image
            self.backing[real] = None if image.below is None else os.path.realpath(image.below)
        return top

    def beyond(self) -> set[str]:
        """Return the files in which chains end in a way of their own: read in part, or decrypted."""
        return {os.path.realpath(file) for image in self.images.values() if image.end for file in image.named}

    def chain(self, file: str) -> list[str]:
        """Return an image and all it is backed by, as far as that was read."""
        return _chain(self.backing, file)

    def add_based_on(self, around: Surroundings, going: Collection[str]) -> None:
        """Add what is based, directly or not, on a layer that is known, wherever that lies, less what is ``going``."""
        around.files.look_into({os.path.dirname(file) for file in self.backing} | around.users.directories)
        waiting = list(self.backing)
        while waiting:
            file = waiting.pop()
            for overlay in around.files.above(file):
                if overlay not in self.backing and overlay not in going and is_based_on(overlay, file):
                    self.backing[overlay] = file
                    waiting.append(overlay)
