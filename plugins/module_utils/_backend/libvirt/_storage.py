# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies on disk for a VM: chains as the files tell them, held against libvirt's word, and overlays nobody knows.

Trouble is reported and never raised: this is what an operator looks at when something is broken.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt._domain_xml import Disk, disks, parse
from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt._host_files import (
    UNREADABLE,
    HostFiles,
    files_in,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt._images import Image, read_image
from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt._library import libvirt
from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt._record import Records
from ansible_collections.limiquantix.kvm.plugins.module_utils._snapshot import (
    ChainLayer,
    DiskChain,
    Storage,
    VirtualMachine,
)

_MOST_LAYERS = 200  # libvirt's own limit for a chain
# An overlay that ends so was named by a person or a cloning tool; those that libvirt names end in the snapshot's name.
_IMAGE_ENDINGS = (".qcow2", ".qcow", ".img", ".raw")


@dataclass(frozen=True)
class _Chain:
    """A disk's chain as far as it can be read, active layer first, and why it ends too soon ("" where it does not)."""

    disk: Disk
    images: tuple[Image, ...]
    cut: str


class StorageReader:
    """Reads VMs' storage over one connection. Raises libvirt's own errors, and ``record_unusable``."""

    def __init__(self, connection: Any, records: Records, host_files: HostFiles) -> None:
        self._connection = connection
        self._records = records
        self._host_files = host_files

    def read(self, vm: VirtualMachine, xml: Any, native: Any) -> Storage:
        """Return what lies on disk for the VM whose XML this is."""
        chains = [_read(disk) for disk in _image_disks(xml)]
        owners = {
            os.path.realpath(disk.file): snapshot.name
            for snapshot in vm.snapshots
            for disk in snapshot.disks
            if disk.file
        }
        overlays: set[str] = set(owners)
        unknown = _unknown_layers(vm.name, chains, overlays)
        if unknown:
            # The overlay of a revert is named in a place of its own; few VMs ever come to be asked for it.
            overlays.update(_reverted(native))
            unknown = _unknown_layers(vm.name, chains, overlays)
        strangers = self._strangers(vm, native, chains, overlays.union(unknown))
        problems = [text for chain in chains for text in _problems(chain)]
        if vm.active and vm.persistent:
            problems += _other_definition(xml, native)
        return Storage(
            chains=tuple(_to_chain(chain, owners) for chain in chains),
            unknown_overlays=(*unknown, *strangers),
            problems=tuple(problems),
        )

    def _strangers(self, vm: VirtualMachine, native: Any, chains: Iterable[_Chain], overlays: Set[str]) -> list[str]:
        tops = {os.path.realpath(str(chain.disk.source)) for chain in chains}
        strangers = self._host_files.strangers(tops, overlays, self._connection)
        if not strangers:
            return []
        # A snapshot that is taken meanwhile has files before it has a name. Whether a run is at work must be asked first:
        # one that has ended by then has left a snapshot that names them.
        expected = set(self._records.read(vm.id).taking) if self._records.held(vm.id) else set()
        for snapshot in native.listAllSnapshots(0):
            expected.update(files_in(parse(snapshot.getXMLDesc(0))))
        return [file for file in strangers if file not in expected]


def _image_disks(domain: Any) -> list[Disk]:
    return [disk for disk in disks(domain) if disk.source and disk.device in ("disk", "lun")]


def _read(disk: Disk) -> _Chain:
    images: list[Image] = []
    file, image_format = disk.source, disk.format
    while file is not None:
        if len(images) == _MOST_LAYERS:
            return _Chain(disk, tuple(images), f"the chain has more than {_MOST_LAYERS} layers, or goes in a circle")
        try:
            image = read_image(file, image_format)
        except OSError as error:
            return _Chain(disk, tuple(images), f"{file} cannot be read: {error.strerror}")
        except UNREADABLE as error:
            return _Chain(disk, tuple(images), f"{file} cannot be read: {error}")
        images.append(image)
        file, image_format = image.backing_file, image.backing_format or "raw"
    return _Chain(disk, tuple(images), "")


def _unknown_layers(vm: str, chains: Iterable[_Chain], overlays: Set[str]) -> list[str]:
    """Return overlays in use that are not among the snapshots', though a snapshot must have been the reason for them.

    The lowest layers were there before any snapshot, and may be overlays themselves: a clone on a template. So one is
    unknown if it lies above a snapshot's overlay, or is named as overlays of snapshots are.
    """
    unknown = []
    for chain in chains:
        files = [os.path.realpath(image.file) for image in chain.images]
        lowest = max((depth for depth, file in enumerate(files) if file in overlays), default=-1)
        for depth, (file, image) in enumerate(zip(files, chain.images)):
            if image.backing_file is None or file in overlays:
                continue
            if depth < lowest or _named_as_overlay(vm, chain.disk.target, image.file, image.backing_file):
                unknown.append(file)
    return unknown


def _named_as_overlay(vm: str, target: str, file: str, backing: str) -> bool:
    name = os.path.basename(file)
    if name.startswith(f"{vm}.{target}."):
        return True  # as this collection names them
    # As libvirt names them: beside the backing file, its name up to the last dot, the snapshot's name behind that.
    stem = os.path.splitext(backing)[0]
    return file.startswith(stem + ".") and not name.endswith(_IMAGE_ENDINGS)


def _reverted(native: Any) -> Iterator[str]:
    for snapshot in native.listAllSnapshots(0):
        for element in parse(snapshot.getXMLDesc(0)).iterfind("revertDisks"):
            yield from files_in(element)


def _to_chain(chain: _Chain, owners: dict[str, str]) -> DiskChain:
    layers = (
        ChainLayer(image.file, image.format, image.size, image.virtual_size, owners.get(os.path.realpath(image.file)))
        for image in chain.images
    )
    return DiskChain(chain.disk.target, tuple(layers))


def _problems(chain: _Chain) -> Iterator[str]:
    disk = f"disk {chain.disk.target}"
    for image in chain.images:
        if image.backing_file is not None and not image.backing_format:
            yield f"{disk}: {image.file} does not name the format of its backing file; libvirt takes that for raw"
    if chain.cut:
        yield f"{disk}: {chain.cut}"
        return
    told, found = chain.disk.backing, [image.file for image in chain.images[1:]]
    if told is not None and [*map(os.path.realpath, told)] != [*map(os.path.realpath, found)]:
        yield f"{disk}: libvirt says it is backed by {list(told)}, the files say {found}"


def _other_definition(running: Any, native: Any) -> list[str]:
    """Tell disks that a running VM would find on another file at its next start."""
    differences = _differences(running, native)
    # Looked at once more: a snapshot may have been taken since the running VM's XML was read.
    return differences and _differences(parse(native.XMLDesc(0)), native)


def _differences(running: Any, native: Any) -> list[str]:
    definition = parse(native.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    defined = {disk.target: disk.source for disk in _image_disks(definition)}
    return [
        f"disk {disk.target}: it runs on {disk.source}, but its definition has {other} for the next start"
        for disk in _image_disks(running)
        if (other := defined.get(disk.target)) and os.path.realpath(other) != os.path.realpath(str(disk.source))
    ]
