# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a hypervisor: everything that lies on disk for a VM and for others beside it."""

from __future__ import annotations

import json
import os
from typing import Any, Optional

import libvirt
import libvirt_qemu
from contents import _contents, _damage
from here import _CONNECTION, command, virsh
from lxml import etree

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.open import open_hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.read_vms import gather
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.result import result as info_result

_WHERE = {"backend": "libvirt", "uri": "qemu:///system", "parallel": 1, "timeout": 120}
_HEADERS: dict[tuple[str, str], tuple[tuple[int, int, int], dict[str, Any]]] = {}


def survey(vm: str, files: list[list[str]]) -> dict[str, Any]:
    """Return where a VM's disks are, what its snapshots name and hold, what the files hold, and what info says."""
    domain = _domain(vm)
    live = _disks(domain.XMLDesc(0))
    aliases = etree.fromstring(domain.XMLDesc(0)).iterfind("devices/disk/alias")  # there are none while it is off
    for alias in aliases:  # what a job wrote may be in QEMU only
        words = f'qemu-io -d /machine/peripheral/{alias.get("name")}/virtio-backend "flush"'
        libvirt_qemu.qemuMonitorCommand(domain, words, libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP)
    snapshots = {}
    for snapshot in domain.listAllSnapshots(0):
        then = etree.fromstring(snapshot.getXMLDesc(0)).find("domain")
        snapshots[snapshot.getName()] = _disks(etree.tostring(then))
    images: set[tuple[str, str]] = set()  # lists, as JSON has them, are in no set
    for path, kind in (*files, *(image for disks in (live, *snapshots.values()) for image in disks.values())):
        images.add((path, kind))
    chains = {image: chain(*image) for image in images}
    readable = sorted(image for image, layers in chains.items() if layers)
    contents = _contents(readable) if readable else {}
    layers = {(path, kind) for found in chains.values() for path, kind in found}
    return {
        "state": "running" if domain.isActive() else "shut off",
        "live": live,
        "defined": _disks(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)),
        "snapshots": snapshots,
        "contents": {path: [*contents[path, kind], _header(path, kind)["virtual-size"]] for path, kind in readable},
        "chains": {image[0]: found for image, found in chains.items()},
        "stamps": {path: [os.stat(path).st_size, os.stat(path).st_mtime_ns] for path, _kind in layers},
        "damage": [text for text in map(_damage, sorted(layers)) if text],
        "info": _info(vm),
    }


def _info(vm: str) -> dict[str, Any]:
    with open_hypervisor(_WHERE) as hypervisor:
        entry: dict[str, Any] = info_result(gather(hypervisor, [vm], None, 1, 60))["vms"][0]
    return {key: value for key, value in entry.items() if key not in ("snapshots", "tree", "chains", "memory")}


def _domain(vm: str) -> Any:
    if not _CONNECTION[0].isAlive():
        _CONNECTION[0] = libvirt.open("qemu:///system")
    return _CONNECTION[0].lookupByName(vm)


def _disks(xml: Any) -> dict[str, list[str]]:
    found = {}
    for disk in etree.fromstring(xml).iterfind("devices/disk"):
        source = disk.find("source")
        path = source.get("file") or virsh("vol-path", "--pool", source.get("pool"), source.get("volume")).strip()
        found[disk.find("target").get("dev")] = [path, disk.find("driver").get("type")]
    return found


def chain(path: str, image_format: str) -> list[tuple[str, str]]:
    """Return the layers from an image down, nothing where one is missing."""
    layers: list[tuple[str, str]] = []
    following: Optional[tuple[str, str]] = (path, image_format)
    while following:
        if not os.path.exists(following[0]) or following in layers:
            return []
        layers.append(following)
        header = _header(*following)
        below = header.get("full-backing-filename") or header.get("backing-filename")
        following = (below, header["backing-filename-format"]) if below else None
    return layers


def _header(path: str, image_format: str) -> dict[str, Any]:
    status = os.stat(path)
    stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
    if _HEADERS.get((path, image_format), ((), {}))[0] != stamp:
        said = command("qemu-img", "info", "-U", "-f", image_format, "--output=json", path)
        _HEADERS[path, image_format] = (stamp, json.loads(said))
    return _HEADERS[path, image_format][1]
