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
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.backing_chain import walk_chain
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import Image
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.layer_forest import (
    Forest,
    chain_of,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.any_format_backing import (
    UNREADABLE,
    is_based_on,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import Mounts
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.users.surroundings import (
    Surroundings,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import Saved
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Record
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk, image_disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Layers
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import chain_mismatch
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.coverage import spoilt_by_overlays


def survey(
    vm: str,
    domains: Sequence[Any],
    snapshots: Sequence[Saved],
    record: Record,
    *,
    around: Surroundings,
    running: bool,
    without: Collection[str] = (),
    going: Collection[str] = (),
) -> Forest:
    """Read a VM's layers.

    ``domains`` are its live XML, if it is running, and its definition; ``record`` says what snapshots and reverts made
    before. It is read as if the snapshots ``without``, and overlays that are ``going``, were not there. Raises
    ``chain_mismatch`` where a layer of the VM's present cannot be read, of a disk that snapshots are of.
    """
    reader = _Reader(vm, around.files.mounts)
    in_part, named = _used_in_part(snapshots), memory_files(snapshots, record)
    snapshots = [one for one in snapshots if one.name not in without]
    of_snapshots = targets_of(snapshots, record)
    present = {target: reader.top(disk, target in of_snapshots) for target, disk in _disks_of(domains[:1])}
    defined = [reader.top(disk, target in of_snapshots) for target, disk in _disks_of(domains[1:])]
    states: set[str] = set()
    ours = set(record.overlays)
    for snapshot in snapshots:
        for part in snapshot.disks:
            states.add(reader.walk_path(part.frozen, part.format))
        for overlay in snapshot.overlays:
            ours.add(reader.walk_path(overlay, "qcow2"))
    for overlay in record.overlays:
        reader.walk_path(overlay, "qcow2")
    own = set(reader.backing)
    reader.add_based_on(around, going)
    backing = reader.backing
    # What libvirt believes to be in a chain is left alone, be it so or not.
    believed = {real_path(file) for _target, disk in _disks_of(domains[:1]) for file in disk.backing or () if file}
    believed -= {layer for top in present.values() for layer in reader.chain(top)}
    layers = Layers(
        backing=backing,
        frozen=states & backing.keys(),
        active={*present.values(), *defined} & backing.keys(),
        ours={file for file in ours & backing.keys() if backing[file] is not None},
        released={real_path(file) for file in record.former} & backing.keys(),
        # Whether libvirt knows of the snapshots inside or not.
        fixed={file for file, image in reader.images.items() if image.snapshots} | believed | reader.beyond(),
    )
    forest = Forest(layers, present, running, reader.images, reader.spelled)
    forest.leave_to_others(own, snapshots, around, needed_by_memory(forest, own, around, named))
    forest.keep_sizes(in_part)
    forest.keep(record, around)
    return forest


def memory_files(snapshots: Iterable[Saved], record: Record) -> list[str]:
    """Return the files with the memory of a VM's own snapshots, also of those that are being made or removed."""
    return [*record.making, *(one.memory_file for one in snapshots if one.memory_file)]


def needed_by_memory(
    forest: Forest, own: Iterable[str], around: Surroundings, named: Collection[str]
) -> dict[str, str]:
    """Return why layers stay that memory needs which somebody has saved to a file; ``named`` files are of the VM's snapshots."""
    reasons = {}
    for file in own:
        for memory in around.memories(file, named):
            # A VM that runs on what it was saved on has gone on from there, or was started anew.
            goes_on = memory.uuid == around.owner and any(map(memory.is_on, forest.tops.values()))
            if not (forest.running and goes_on):
                reasons[file] = f"{memory} needs it"
    return reasons


def targets_of(snapshots: Iterable[Saved], record: Record) -> set[str]:
    """Return the disks that snapshots are or were of: what goes wrong with another one is no reason to refuse anything."""
    return {part.target for one in snapshots for part in one.disks} | {made.target for made in record.made.values()}


def _used_in_part(snapshots: Iterable[Saved]) -> set[str]:
    disks = (disk for one in snapshots for disk in one.vm_disks)
    return {real_path(str(disk.source)) for disk in disks if disk.source and spoilt_by_overlays(disk)}


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
            return real_path(path) if self._mounts.answers(path) else path

    def _walk(self, path: str, image_format: str) -> str:
        if not self._mounts.answers(path):
            raise OSError(errno.ETIMEDOUT, "its file system does not answer", path)
        real = top = real_path(path)
        for image in walk_chain(path, image_format) if top not in self.backing else ():
            if real in self.backing:
                break
            self.spelled[real] = image.file
            self.images[real] = image
            below = None if image.below is None else real_path(image.below)
            self.backing[real], real = below, str(below)
        return top

    def beyond(self) -> set[str]:
        """Return the files in which chains end in a way of their own: read in part, or decrypted."""
        return {real_path(file) for image in self.images.values() if image.end for file in image.named}

    def chain(self, file: str) -> list[str]:
        """Return an image and all it is backed by, as far as that was read."""
        return chain_of(self.backing, file)

    def add_based_on(self, around: Surroundings, going: Collection[str]) -> None:
        """Add what is based, directly or not, on a layer that is known, wherever that lies, less what is ``going``."""
        around.files.look_around({os.path.dirname(file) for file in self.backing} | around.users.directories)
        waiting = list(self.backing)
        while waiting:
            file = waiting.pop()
            for overlay in around.files.above(file, self.backing):
                if overlay not in self.backing and overlay not in going and is_based_on(overlay, file):
                    self.backing[overlay] = file
                    waiting.append(overlay)
