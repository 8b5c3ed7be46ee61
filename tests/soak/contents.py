# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a hypervisor: what a VM's disks and snapshots hold, read from the images themselves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from typing import Any, Optional

import libvirt_qemu
from here import APART, REGION, REGIONS, ROOT, _domain, command, virsh
from lxml import etree

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.open import open_hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.read_vms import gather
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.result import result as info_result

_SOUND: dict[str, tuple[int, int, int]] = {}  # layers found sound, until they are written to
_WHERE = {"backend": "libvirt", "uri": "qemu:///system", "parallel": 1, "timeout": 120}


def write(vm: str, target: str, region: int, pattern: int) -> dict[str, Any]:
    """Write a pattern to a place of a disk as the guest would; at once on the image where the VM is off."""
    where = f"write -P {pattern} {region * APART} {REGION}"
    root = etree.fromstring(_domain(vm).XMLDesc(0))
    index = [one for one, _path, _format in _disks(root)].index(target)
    if not _domain(vm).isActive():
        _target, path, image_format = _disks(root)[index]
        command("qemu-io", "-f", image_format, "-c", where, path)
        return {}
    alias = root.findall("devices/disk")[index].find("alias").get("name")  # of vda and vdc the second is virtio-disk2
    device = f"/machine/peripheral/{alias}/virtio-backend"
    log = f"/var/log/libvirt/qemu/{vm}.log"
    before = _answers(log)
    for said in (where, "flush"):
        libvirt_qemu.qemuMonitorCommand(_domain(vm), f'qemu-io -d {device} "{said}"', 1)
    end = time.monotonic() + 20
    while _answers(log) == before:
        assert time.monotonic() < end, "QEMU did not answer"
        time.sleep(0.01)
    return {}


def _answers(log: str) -> int:
    with open(log, encoding="utf-8", errors="replace") as file:
        return len(re.findall("ops/sec", file.read()))


def _disks(domain: Any) -> list[tuple[str, str, str]]:
    found = []
    for disk in domain.iterfind("devices/disk"):
        target, source, driver = disk.find("target"), disk.find("source"), disk.find("driver")
        found.append((target.get("dev", ""), source.get("file", ""), driver.get("type", "")))
    return found


def look(vm: str) -> dict[str, Any]:
    """Return all there is to see: content of present and snapshots, files in use and in the folder, virsh's own word."""
    domain = _domain(vm)
    live, defined = etree.fromstring(domain.XMLDesc(0)), etree.fromstring(domain.XMLDesc(2))
    problems: list[str] = []
    if _disks(live) != _disks(defined):
        problems.append(f"it runs on {_disks(live)} and is defined on {_disks(defined)}")
    states = {"": _disks(live)}
    memory = set()
    for snapshot in domain.listAllSnapshots(0):
        root = etree.fromstring(snapshot.getXMLDesc(0))
        then = root.find("domain")
        assert then is not None
        states[snapshot.getName()] = _disks(then)
        memory |= {one.get("file", "") for one in root.findall("memory")}
    images = sorted({(path, kind) for disks in states.values() for _target, path, kind in disks})
    contents = _contents(images)
    layers = _layers(images)
    problems += filter(None, map(_damage, sorted(layers)))
    used = {path for path, _kind in layers}
    folder = f"{ROOT}/{vm}"
    files = {f"{folder}/{name}" for name in os.listdir(folder)}
    listed = virsh("snapshot-list", vm, "--tree")
    problems += [
        f"virsh does not list {name}" for name in states if name and not re.search(rf"\b{name}$", listed, re.M)
    ]
    current = domain.snapshotCurrent(0).getName() if domain.hasCurrentSnapshot(0) else ""
    seen = {name: {target: contents[path, kind] for target, path, kind in disks} for name, disks in states.items()}
    return {
        "state": "running" if domain.isActive() else "shut off",
        "present": seen.pop(""),
        "snapshots": seen,
        "orphans": sorted(files - used - memory),
        "missing": sorted(used - files),
        "problems": problems,
        "current": current,
        "current_disks": _current_disks(vm, current) if current else {},
        "tops": {target: path for target, path, _kind in _disks(live)},
        "info": _info(vm),
    }


def _current_disks(vm: str, current: str) -> dict[str, Optional[str]]:
    root = etree.fromstring(_domain(vm).snapshotLookupByName(current).getXMLDesc(0))
    elements = root.findall("revertDisks/disk") or root.findall("disks/disk")
    return {disk.get("name", ""): None if (s := disk.find("source")) is None else s.get("file") for disk in elements}


def _info(vm: str) -> dict[str, Any]:
    with open_hypervisor(_WHERE) as hypervisor:
        entry: dict[str, Any] = info_result(gather(hypervisor, [vm], None, 1, 60))["vms"][0]
    kept = ("problems", "unknown_overlays", "missing_files", "operation", "failed", "msg")
    pasts = {one["name"]: one["past"] for one in entry["snapshots"]}
    return {**{key: entry[key] for key in kept if key in entry}, "pasts": pasts}


def _contents(images: list[tuple[str, str]]) -> dict[tuple[str, str], list[int]]:
    """Return the byte that each place of each image is filled with; -1 where it is not one and the same."""
    words: list[str] = []
    for path, kind in images:
        places = [f"read -v {region * APART} 16" for region in range(REGIONS)]
        for one in (f"open -U -r -o driver={kind} {path}", *places, "close"):
            words += ["-c", one]
    said = command("qemu-io", *words)
    rows = [set(row.split()) for row in re.findall(r"^[0-9a-f]{8}:  ((?:[0-9a-f]{2} ?)+)", said, re.MULTILINE)]
    assert len(rows) == REGIONS * len(images), said
    bytes_seen = [int(row.pop(), 16) if len(row) == 1 else -1 for row in rows]
    return {image: bytes_seen[REGIONS * at : REGIONS * (at + 1)] for at, image in enumerate(images)}


def _layers(images: list[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return all layers of the images; what was seen as another's layer needs no look of its own."""
    found: set[tuple[str, str]] = set()
    for path, kind in sorted(images, key=lambda image: os.stat(image[0]).st_ino, reverse=True):
        if (path, kind) not in found:
            said = command("qemu-img", "info", "-U", "-f", kind, "--backing-chain", "--output=json", path)
            found |= {(str(layer["filename"]), str(layer["format"])) for layer in json.loads(said)}
    return found


def _damage(layer: tuple[str, str]) -> str:
    path, image_format = layer
    if image_format != "qcow2":
        return ""
    status = os.stat(path)
    stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
    if _SOUND.get(path) == stamp:
        return ""
    check = ["qemu-img", "check", "-U", "-q", "-f", "qcow2", path]
    done = subprocess.run(check, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    # What a running QEMU has not written down yet shows as leaked clusters (3): room, no data.
    if done.returncode not in (0, 3):
        return f"{path}: {done.stdout}"
    _SOUND[path] = stamp
    return ""
