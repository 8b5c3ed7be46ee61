# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a domain's XML says of its disks and agent, as values; an element of any ElementTree will do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

AGENT_CHANNEL = "org.qemu.guest_agent.0"
# Elements of a disk or of one of its layers that an overlay would not inherit.
_UNUSUAL = ("encryption", "slices", "dataStore", "reservations")
# What marks a volume as looked up (connect/pool_volumes.py): libvirt knows neither, and both go before it is told anything.
RESOLVED, UNRESOLVED = "resolved", "unresolved"


@dataclass(frozen=True)
class Disk:
    """One ``<disk>``. ``source`` is a path, None where there is none (an empty drive, a network disk).

    ``backing`` are the files under the active layer as libvirt tells them, None where it does not; one that is no file of
    this host ends them and is "". ``snapshot`` is what the definition says of snapshots. ``unusual`` has what stands in
    the disk or one of its layers and is lost where a plain overlay is put on it. ``unresolved`` says why a volume of a
    pool is not known to be a file.
    """

    target: str
    device: str
    type: str
    source: str | None
    format: str
    readonly: bool
    shareable: bool
    transient: bool
    has_source: bool
    backing: tuple[str, ...] | None
    snapshot: str = ""
    unusual: tuple[str, ...] = ()
    unresolved: str = ""
    bus: str = ""


def disks(domain: Any) -> list[Disk]:
    """Return the domain's disks in its order."""
    return [_disk(element) for element in domain.iterfind("devices/disk")]


def image_disks(domain: Any) -> list[Disk]:
    """Return the disks of a domain that are on an image."""
    return [disk for disk in disks(domain) if disk.source and disk.device in ("disk", "lun")]


def stays_on(disk: Disk) -> str | None:
    """Return the image that a disk of a running VM is on when that stops: of a transient one, what is under libvirt's overlay."""
    return disk.backing[0] if disk.transient and disk.backing else disk.source


def source_path(element: Any) -> str | None:
    """Return the path in the ``<source>`` of a disk or of a layer; None where there is none."""
    source = element.find("source")
    path = None if source is None else source.get("file") or source.get("dev")
    return str(path) if path else None


def _disk(element: Any) -> Disk:
    has = {child.tag: child for child in element}
    source, own = has.get("source"), set(_own(element))
    return Disk(
        target=has["target"].get("dev"),
        device=element.get("device", "disk"),
        type=element.get("type", "file") if source is None else source.get(RESOLVED) or element.get("type", "file"),
        source=source_path(element),
        format=_attribute(element, "driver", "type", "raw"),
        readonly="readonly" in has,
        shareable="shareable" in has,
        transient="transient" in has,
        has_source=source is not None,
        backing=_backing(element),
        snapshot=element.get("snapshot", ""),
        unusual=tuple(name for name in _UNUSUAL if name in own),
        unresolved="" if source is None else source.get(UNRESOLVED, ""),
        bus=has["target"].get("bus", ""),
    )


def _own(element: Any) -> Iterator[str]:
    """Yield the names of what a disk and its layers have; what it is being copied to is no layer yet."""
    for child in element:
        yield child.tag
        if child.tag in ("source", "backingStore"):
            yield from _own(child)


def _backing(element: Any) -> tuple[str, ...] | None:
    # A running domain's chain ends in an empty <backingStore/>, or in a layer that is no file here and says no more; a
    # shut-off one's mostly has none at all.
    files: list[str] = []
    layer = element.find("backingStore")
    while layer is not None and layer.get("type"):
        path = source_path(layer)
        if path is None and layer.get("type") == "volume":
            return None
        files.append(path or "")
        if path is None:
            return tuple(files)
        layer = layer.find("backingStore")
    return tuple(files) if layer is not None else None


def _attribute(element: Any, child: str, name: str, default: str) -> str:
    found = element.find(child)
    return default if found is None else str(found.get(name, default))


def agent_connected(domain: Any) -> bool:
    """Whether a process in the guest has the agent's channel open (only a running domain's XML tells)."""
    target = domain.find(f"devices/channel/target[@name='{AGENT_CHANNEL}']")
    return target is not None and target.get("state") == "connected"


def has_agent_channel(domain: Any) -> bool:
    """Whether the VM has a channel for a guest agent, whoever listens there."""
    return domain.find(f"devices/channel/target[@name='{AGENT_CHANNEL}']") is not None


def has_nvram(domain: Any) -> bool:
    """Whether the VM keeps UEFI variables."""
    loader = domain.find("os/loader")
    pflash = loader is not None and loader.get("type") == "pflash"
    return pflash or domain.find("os/nvram") is not None or domain.find("os[@firmware='efi']") is not None
