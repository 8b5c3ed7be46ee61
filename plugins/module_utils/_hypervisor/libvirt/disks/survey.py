# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's image layers, read off the disks: what is based on what, and what each is to the VM.

The headers of all images count, in every directory that holds a file of the VM or of another domain of the host: whatever
is based on a layer protects it, whoever made it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.chain import chain_mismatch
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.host_files import (
    UNREADABLE,
    overlays_in,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image import Image, walk_chain
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.rewrite import OnDisk
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved import Saved
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.record import Record
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml import Disk, image_disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layers import MOST_LAYERS, Layers


@dataclass
class Forest:
    """All layers of one VM, by real paths. ``tops`` has the active layer of each disk, ``running`` whether QEMU has them."""

    layers: Layers
    tops: dict[str, str]
    running: bool
    images: dict[str, Image] = field(default_factory=dict)
    spelled: dict[str, str] = field(default_factory=dict)

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
        )


def _chain(backing: Mapping[str, str | None], file: str) -> list[str]:
    chain: list[str] = []
    following: str | None = file
    while following is not None and len(chain) <= MOST_LAYERS:
        chain.append(following)
        following = backing.get(following)
    return chain


def survey(
    vm: str,
    domains: Sequence[Any],
    snapshots: Iterable[Saved],
    record: Record,
    *,
    directories: Iterable[str],
    running: bool,
) -> Forest:
    """Read a VM's layers.

    ``domains`` are its live XML, if it is running, and its definition; ``record`` says what snapshots and reverts made
    before; other ``directories`` may hold something that is based on a layer. Raises ``chain_mismatch`` where a layer of
    the VM's present cannot be read.
    """
    reader = _Reader(vm)
    present = {target: reader.walk(disk) for target, disk in _disks_of(domains[:1])}
    defined = [reader.walk(disk) for _target, disk in _disks_of(domains[1:])]
    states: set[str] = set()
    ours = set(record.overlays)
    for snapshot in snapshots:
        for part in snapshot.disks:
            states.add(reader.walk_path(part.state, part.format))
        for overlay in snapshot.overlays:
            ours.add(reader.walk_path(overlay, "qcow2"))
    for overlay in record.overlays:
        reader.walk_path(overlay, "qcow2")
    reader.add_based_on(directories)
    backing = reader.backing
    # What libvirt believes to be in a chain is left alone, be it so or not.
    believed = {os.path.realpath(file) for _target, disk in _disks_of(domains[:1]) for file in disk.backing or ()}
    believed -= {layer for top in present.values() for layer in reader.chain(top)}
    return Forest(
        layers=Layers(
            backing=backing,
            states=states & backing.keys(),
            present={*present.values(), *defined} & backing.keys(),
            ours={file for file in ours & backing.keys() if backing[file] is not None},
            former=set(record.former) & backing.keys(),
            # Whether libvirt knows of the snapshots inside or not.
            fixed={file for file, image in reader.images.items() if image.snapshots} | believed,
        ),
        tops=present,
        running=running,
        images=reader.images,
        spelled=reader.spelled,
    )


def _disks_of(domains: Sequence[Any]) -> list[tuple[str, Disk]]:
    return [(disk.target, disk) for domain in domains for disk in image_disks(domain)]


class _Reader:
    def __init__(self, vm: str) -> None:
        self._vm = vm
        self.backing: dict[str, str | None] = {}
        self.images: dict[str, Image] = {}
        self.spelled: dict[str, str] = {}

    def walk(self, disk: Disk) -> str:
        """Read a disk's chain and return the real path of its active layer. Raises ``chain_mismatch``."""
        try:
            return self._walk(str(disk.source), disk.format)
        except UNREADABLE as error:
            raise chain_mismatch(self._vm, disk.target, f"its backing chain cannot be read: {error}") from error

    def walk_path(self, path: str, image_format: str) -> str:
        """Read an image and what it is backed by, as far as that is there; return its real path."""
        try:
            return self._walk(path, image_format)
        except UNREADABLE:
            return os.path.realpath(path)

    def _walk(self, path: str, image_format: str) -> str:
        top = os.path.realpath(path)
        for image in walk_chain(path, image_format) if top not in self.backing else ():
            real = os.path.realpath(image.file)
            if real in self.backing:
                break
            self.spelled[real] = image.file
            self.images[real] = image
            self.backing[real] = None if image.backing_file is None else os.path.realpath(image.backing_file)
        return top

    def chain(self, file: str) -> list[str]:
        """Return an image and all it is backed by, as far as that was read."""
        return _chain(self.backing, file)

    def add_based_on(self, directories: Iterable[str]) -> None:
        """Add what is based, directly or not, on a layer that is known, wherever that lies."""
        everywhere = {os.path.dirname(file) for file in self.backing} | set(directories)
        found = {overlay: below for directory in everywhere for overlay, below in overlays_in(directory)}
        added = True
        while added:
            added = False
            for overlay, below in found.items():
                if overlay not in self.backing and below in self.backing:
                    self.walk_path(overlay, "qcow2")
                    added = True
