# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks' backing chains as their files tell them: how far they can be read, what is wrong, what nobody knows."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import (
    Image,
    is_empty,
    read_image,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.any_format_backing import (
    UNREADABLE,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import MOST_LAYERS
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import ChainLayer, DiskChain

# An overlay that ends so was named by a person or a cloning tool; those that libvirt names end in the snapshot's name.
_IMAGE_ENDINGS = (".qcow2", ".qcow", ".img", ".raw")
_HEAD = 65536  # bytes: in these a qcow2 image says what it is, and QEMU writes them last
_SECTOR = 512  # QEMU takes a raw file of another length for as large as its last sector is whole


def walk_chain(file: str, image_format: str) -> Iterator[Image]:
    """Yield the image and all it is backed by, active layer first. Raises as `read_image` does, as it goes."""
    following: str | None = file
    for _depth in range(MOST_LAYERS):
        image = read_image(str(following), image_format)
        yield image
        following, image_format = image.backing_file, image.backing_format or "raw"
        if following is None:
            return
    raise ValueError(f"the backing chain of {file} has more than {MOST_LAYERS} layers, or goes in a circle")


def read_chain(file: str, image_format: str) -> list[Image]:
    """Return the image and all it is backed by, active layer first. Raises as `read_image` does."""
    return list(walk_chain(file, image_format))


def real_chain(file: str, image_format: str) -> list[str]:
    """Return the real paths of the image and all it is backed by, active layer first. Raises as `read_image` does."""
    return [real_path(image.file) for image in walk_chain(file, image_format)]


def readable_chain(file: str, image_format: str) -> list[str]:
    """Return a chain by real paths, as far as it can be read; what is wrong with it is told where chains are checked."""
    files = [real_path(file)]
    with suppress(*UNREADABLE):
        files.extend(real_path(image.file) for image in walk_chain(file, image_format))
    return list(dict.fromkeys(files))


def readable_chains(formats: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the chains of images, given by real path and format, as far as they can be read; each layer is read once.

    Those of a VM's snapshots lie one above another: most are a part of the longest.
    """
    below: dict[str, list[str]] = {}
    for file, image_format in formats.items():
        chain = [file]
        with suppress(*UNREADABLE):
            for image in walk_chain(file, image_format):
                layer = real_path(image.file)
                if layer in below:
                    chain.extend(below[layer])
                    break
                chain.append(layer)
        chain = list(dict.fromkeys(chain))
        below.update({layer: chain[depth:] for depth, layer in enumerate(chain)})
    return {file: below[file] for file in formats}


def adds_nothing(overlay: str) -> bool:
    """Whether a qcow2 overlay holds what is under it and no more: never written to, and as large. Raises as `read_image` does.

    Growing it need not write anything (qemu-img of QEMU 10.0, whose L1 table has the room).
    """
    top, *under = islice(walk_chain(overlay, "qcow2"), 2)
    if not under:  # somebody pulled all of its data into it
        return False
    (base,) = under
    return top.virtual_size == -(-base.virtual_size // _SECTOR) * _SECTOR and is_empty(overlay)


def holds_more(file: str) -> bool:
    """Whether there is more in a file than in an overlay that was being made, whole or not, when a run was killed."""
    try:
        with open(file, "rb") as stream:
            return any(stream.read(_HEAD)) and not adds_nothing(file)
    except FileNotFoundError:
        return False
    except UNREADABLE:
        return True


@dataclass(frozen=True)
class Chain:
    """A disk's chain as far as it can be read, active layer first, and why it ends too soon ("" where it does not)."""

    disk: Disk
    images: tuple[Image, ...]
    cut: str


def read(disk: Disk) -> Chain:
    """Read a disk's chain, or as much of it as there is. Never raises for what the files are like."""
    images: list[Image] = []
    try:
        for image in walk_chain(str(disk.source), disk.format):
            images.append(image)
    except UNREADABLE as error:
        unread = images[-1].backing_file if images else disk.source
        reason = error.strerror if isinstance(error, OSError) else error
        return Chain(disk, tuple(images), f"{unread} cannot be read: {reason}")
    return Chain(disk, tuple(images), "")


def peculiarity(disk: Disk) -> str:
    """Return what the headers of a disk's images have against an overlay; "" for nothing, or where they cannot be read."""
    return next((f"is on {one.file}, and {one.peculiar}" for one in read(disk).images if one.peculiar), "")


def unknown_layers(vm: str, chains: Iterable[Chain], overlays: Set[str]) -> list[str]:
    """Return overlays in use that are not among the snapshots', though a snapshot must have been the reason for them.

    The lowest layers were there before any snapshot, and may be overlays themselves: a clone on a template. So one is
    unknown if it lies above a snapshot's overlay, or is named as overlays of snapshots are.
    """
    unknown = []
    for chain in chains:
        files = [real_path(image.file) for image in chain.images]
        lowest = max((depth for depth, file in enumerate(files) if file in overlays), default=-1)
        for depth, (file, image) in enumerate(zip(files, chain.images)):
            if image.backing_file is None or file in overlays or (depth == 0 and chain.disk.transient):
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


def to_chain(chain: Chain, owners: Mapping[str, str]) -> DiskChain:
    """Return the value that leaves this backend; ``owners`` are snapshots' names by the real paths of their overlays."""
    layers = [
        ChainLayer(image.file, image.format, image.size, image.virtual_size, owners.get(real_path(image.file)))
        for image in chain.images
    ]
    lowest = chain.images[-1] if chain.images else None
    if lowest and lowest.end:
        layers.append(ChainLayer(lowest.end, lowest.backing_format or "raw", None, None))
    return DiskChain(chain.disk.target, tuple(layers), complete=not chain.cut, writable=not chain.disk.readonly)


def agrees(told: Sequence[str], images: Sequence[Image], merged: Collection[str] = ()) -> bool:
    """Whether the files under a disk's active layer, as libvirt tells them, are those that the images name.

    ``merged`` are layers that libvirt may still believe to be there. Beyond the last image that can be followed libvirt
    may tell one layer or several, a file among them (a part of one).
    """
    real = [real_path(image.file) for image in images[1:]]
    files = [real_path(file) if file else "" for file in told]
    files = [file for file in files if file in real or file not in merged]
    ends_elsewhere = bool(images[-1].end)
    return files[: len(real)] == real and (len(files) > len(real)) == ends_elsewhere


def problems(chain: Chain) -> Iterator[str]:
    """Tell what is wrong with a chain, held against what libvirt says of it."""
    disk = f"disk {chain.disk.target}"
    for image in chain.images:
        if image.backing_file is not None and not image.backing_format:
            yield f"{disk}: {image.file} does not name the format of its backing file; libvirt would read it as raw"
    if chain.cut:
        yield f"{disk}: {chain.cut}"
        return
    if chain.disk.backing is not None and not agrees(chain.disk.backing, chain.images):
        yield f"{disk}: {disagreement(chain.disk, chain.images)}"


def disagreement(disk: Disk, images: Sequence[Image]) -> str:
    """Say what libvirt and the files tell of a chain."""
    told = [file or "something that is not a file of this host" for file in disk.backing or ()]
    found = [image.file for image in images[1:]] + ([images[-1].end] if images[-1].end else [])
    return f"libvirt says it is backed by {told}, the files say {found}"
