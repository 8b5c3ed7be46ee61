# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a hypervisor: makes a VM as an interrupted run of an earlier version left it, and looks at it afterwards.

Nothing of the collection is used here: virsh's library, qemu-img and qemu-io only. What a fixture holds is told in
tests/fixtures/records/README.md.
"""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
import time
from typing import Any, Optional

import libvirt
from lxml import etree

_RECORDS = "/var/lib/limiquantix-kvm"
_SIZE = "4M"
_REDEFINE, _CURRENT = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE, libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT
_INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE

Image = list[str]  # file and format


def _command(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


# Making it


def build(connection: Any, definition: str, fixture: dict[str, Any]) -> dict[str, Any]:
    """Make images, snapshots, the VM and its record; ``definition`` says what it is like beside its disks' images."""
    world = fixture["world"]
    for image in world["images"]:
        _make_image(image)
    for memory in world.get("memory", ()):
        with open(memory, "w", encoding="utf-8") as file:
            file.write("no VM is ever started from this one")
    domain = connection.defineXML(definition)
    if "runs_on" in world:
        _define(domain, {target: [image] for target, image in world["runs_on"].items()})
        domain.create()
    _define(domain, world["defined"])
    for snapshot in world["snapshots"]:
        flags = _REDEFINE | (_CURRENT if snapshot.get("current") else 0)
        domain.snapshotCreateXML(_snapshot_xml(etree.fromstring(domain.XMLDesc(_INACTIVE)), snapshot), flags)
    for target, base in world.get("merging_into", {}).items():
        _begin_merge(domain, target, base)
    for image in world["images"]:
        os.utime(image["file"], ns=(image["mtime_ns"], image["mtime_ns"]))
    os.makedirs(_RECORDS, mode=0o700, exist_ok=True)
    with open(f"{_RECORDS}/{domain.UUIDString()}.json", "w", encoding="utf-8") as file:
        json.dump(_with_true_files(fixture["record"]), file)
    return {}


def _make_image(image: dict[str, Any]) -> None:
    file, image_format, backing = image["file"], image["format"], image.get("backing")
    below = ["-u", "-b", backing, "-F", image["backing_format"]] if backing else []
    _command("qemu-img", "create", "-q", "-f", image_format, *below, file, _SIZE)
    if "holds" in image:
        _command("qemu-io", "-f", image_format, "-c", f"write -P {image['holds']} 0 64k", file)


def _define(domain: Any, chains: dict[str, list[Image]]) -> None:
    """Define the VM with each disk on the first image of its chain, and the rest of that told if there is one."""
    root = etree.fromstring(domain.XMLDesc(_INACTIVE))
    for disk in root.iterfind("devices/disk"):
        _point_to(disk, chains[disk.find("target").get("dev")])
    domain.connect().defineXML(etree.tostring(root, encoding="unicode"))


def _point_to(disk: Any, chain: list[Image]) -> None:
    for told in disk.findall("backingStore"):
        disk.remove(told)
    disk.find("source").set("file", chain[0][0])
    disk.find("driver").set("type", chain[0][1])
    layer = disk
    for file, image_format in chain[1:]:
        layer = etree.SubElement(layer, "backingStore", type="file")
        etree.SubElement(layer, "format", type=image_format)
        etree.SubElement(layer, "source", file=file)
    if len(chain) > 1:
        etree.SubElement(layer, "backingStore")


def _snapshot_xml(then: Any, snapshot: dict[str, Any]) -> str:
    root = etree.Element("domainsnapshot")
    for tag, value in (("name", snapshot["name"]), ("state", snapshot["state"]), ("creationTime", snapshot["created"])):
        etree.SubElement(root, tag).text = str(value)
    if "parent" in snapshot:
        etree.SubElement(etree.SubElement(root, "parent"), "name").text = snapshot["parent"]
    memory = snapshot.get("memory")
    etree.SubElement(root, "memory", **({"snapshot": "external", "file": memory} if memory else {"snapshot": "no"}))
    overlays = etree.SubElement(root, "disks")
    for target, images in snapshot["disks"].items():
        overlay = etree.SubElement(overlays, "disk", name=target, snapshot="external", type="file")
        etree.SubElement(overlay, "driver", type="qcow2")
        etree.SubElement(overlay, "source", file=images["overlay"])
    root.append(copy.deepcopy(then))
    for disk in root.iterfind("domain/devices/disk"):
        _point_to(disk, [snapshot["disks"][disk.find("target").get("dev")]["state"]])
    return etree.tostring(root, encoding="unicode")


def _begin_merge(domain: Any, target: str, base: str) -> None:
    """Begin to merge a disk's active image, and leave it when all is copied, as one that was killed before the pivot."""
    domain.blockCommit(target, base, None, 0, libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE)
    end = time.monotonic() + 20
    while not re.search("<mirror[^>]*ready='yes'", domain.XMLDesc(0)):
        assert time.monotonic() < end, "the merge does not get ready"
        time.sleep(0.02)


def _with_true_files(record: dict[str, Any]) -> dict[str, Any]:
    """Put into a record what of a file cannot be made as it was: inode, device, birth, and how large the image grew."""
    for file, note in record.get("images", {}).items():
        if os.path.exists(file):
            status = os.stat(file)
            note["identity"].update(size=status.st_size, inode=status.st_ino, device=status.st_dev)
    for file, made in record.get("made", {}).items():
        if os.path.exists(file):
            seconds, _point, fraction = _command("stat", "--format=%.9W", file).strip().partition(".")
            made["identity"] = [os.stat(file).st_ino, int(seconds + fraction) or None]
    return record


# Looking at it


def look(connection: Any, vm: str, directory: str) -> dict[str, Any]:
    """Return what its disks and snapshots hold, its files, and what is wrong with them."""
    domain = connection.lookupByName(vm)
    live, defined = (_disks(etree.fromstring(domain.XMLDesc(flags))) for flags in (0, _INACTIVE))
    states, memory, apart = {}, set(), []
    for snapshot in domain.listAllSnapshots(0):
        root = etree.fromstring(snapshot.getXMLDesc(0))
        states[snapshot.getName()] = _disks(root.find("domain"))
        memory |= {one.get("file") for one in root.findall("memory")} - {None}
        apart += _overlays_elsewhere(root, states[snapshot.getName()])
    images = [image for disks in (live, defined, *states.values()) for image in disks.values()]
    layers = {(one["filename"], one["format"]) for image in images for one in _chain(*image)}
    there = {f"{directory}/{name}" for name in os.listdir(directory) if re.match(rf"{re.escape(vm)}[.-]", name)}
    with open(f"{_RECORDS}/{domain.UUIDString()}.json", encoding="utf-8") as file:
        record = json.load(file)
    return {
        "running": bool(domain.isActive()),
        "present": {target: _byte(*image) for target, image in live.items()},
        "snapshots": {name: {t: _byte(*image) for t, image in disks.items()} for name, disks in states.items()},
        "layers": len(layers),
        "problems": [
            *([f"it runs on {live} and is defined on {defined}"] if live != defined else []),
            *(f"{file} is left over" for file in sorted(there - {file for file, _format in layers} - memory)),
            *(f"{file} is missing" for file in sorted(memory - there)),
            *apart,
            *filter(None, map(_damage, sorted(layers))),
            *(f"the record still has {key}" for key in ("journal", "taking") if record.get(key)),
        ],
    }


def _disks(root: Any) -> dict[str, tuple[str, str]]:
    return {
        disk.find("target").get("dev"): (disk.find("source").get("file"), disk.find("driver").get("type"))
        for disk in root.iterfind("devices/disk")
    }


def _overlays_elsewhere(snapshot: Any, states: dict[str, tuple[str, str]]) -> list[str]:
    """Return what is wrong with overlays that a snapshot names: each that is there lies on the snapshot's state."""
    found = []
    for disk in snapshot.iterfind("disks/disk"):
        overlay, state = disk.find("source"), states[disk.get("name")][0]
        if overlay is not None and os.path.exists(overlay.get("file")):
            below = _chain(overlay.get("file"), "qcow2")[0].get("backing-filename")
            found += [] if below == state else [f"{overlay.get('file')} is on {below} and not on {state}"]
    return found


def _chain(file: str, image_format: str) -> list[dict[str, Any]]:
    told = _command("qemu-img", "info", "-U", "-f", image_format, "--backing-chain", "--output=json", file)
    found: list[dict[str, Any]] = json.loads(told)
    return found


def _byte(file: str, image_format: str) -> Optional[int]:
    """Return what the place that was written to is filled with, None where that is not one byte."""
    said = _command("qemu-io", "-U", "-r", "-f", image_format, "-c", "read -v 0 64k", file)
    rows = re.findall(r"^[0-9a-f]{8}:  ((?:[0-9a-f]{2} )+)", said, re.MULTILINE)
    found = {byte for row in rows for byte in row.split()}
    return int(found.pop(), 16) if len(found) == 1 else None


def _damage(layer: tuple[str, str]) -> str:
    if layer[1] != "qcow2":
        return ""
    check = ["qemu-img", "check", "-U", "-q", "-f", "qcow2", layer[0]]
    done = subprocess.run(check, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    # What a running QEMU has not written down yet shows as leaked clusters (3): room, no data.
    return "" if done.returncode in (0, 3) else f"{layer[0]}: {done.stdout}"


def main() -> None:
    """Do one of the two with the arguments that the input has."""
    libvirt.registerErrorHandler(lambda *_ignored: None, None)
    call = {"build": build, "look": look}[sys.argv[1]]
    print(json.dumps(call(libvirt.open("qemu:///system"), **json.load(sys.stdin))))


if __name__ == "__main__":
    main()
