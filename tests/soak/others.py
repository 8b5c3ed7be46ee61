# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a hypervisor beside on_host.py: what everybody else does to a VM's disks, and a task with others around.

None of it asks the collection: definitions by virsh, images by qemu-img and qemu-io.
"""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import time
from pathlib import Path
from typing import Any, Callable
from uuid import uuid4

import libvirt
import on_host
from by_hand import by_hand, copied, moved, overlay, restored, write_image
from here import ROOT, command, remove, virsh
from lxml import etree
from survey import _HEADERS, _disks, _domain, chain, survey
from tasks import RECORDS, task

POOL, USER = "soakpool", "soaker"
POOL_FOLDER = f"{ROOT}/pool"
_UUIDS: set[str] = set()
_FILE = """
    <disk type='file' device='disk'>
      <driver name='qemu' type='{format}'/>
      <source file='{path}'/>
      <target dev='{target}' bus='virtio'/>{readonly}
    </disk>"""
_VOLUME = """
    <disk type='volume' device='disk'>
      <driver name='qemu' type='{format}'/>
      <source pool='{pool}' volume='{volume}'/>
      <target dev='{target}' bus='virtio'/>
    </disk>"""


def world(vm: str, formats: dict[str, str]) -> dict[str, Any]:
    """Make the VM anew, shut off, and nobody else; an empty pool and a user with a session daemon's directory."""
    names = virsh("list", "--all", "--name").split()
    for name in names:
        if name.split("-")[0] == vm:
            _UUIDS.add(virsh("domuuid", name).strip())
            _undefine(name)
    for folder in [*glob.glob(f"{ROOT}/{vm}*"), POOL_FOLDER]:
        _delete(folder)
    for uuid in _UUIDS:
        for record in glob.glob(f"{RECORDS}/{uuid}.*"):
            os.unlink(record)
    _UUIDS.clear()
    _HEADERS.clear()
    on_host.reset(vm, formats)
    os.makedirs(POOL_FOLDER, exist_ok=True)
    if POOL not in virsh("pool-list", "--all", "--name").split():
        virsh("pool-define-as", POOL, "dir", "--target", POOL_FOLDER)
    virsh("pool-start", POOL, check=False)
    virsh("pool-refresh", POOL)
    command("useradd", "--create-home", USER, check=False)
    shutil.rmtree(f"/home/{USER}/.config", ignore_errors=True)
    return {}


def unmake(vm: str) -> dict[str, Any]:
    """Leave nothing of the world."""
    world(vm, {})
    remove(vm)
    virsh("pool-destroy", POOL, check=False)
    virsh("pool-undefine", POOL, check=False)
    command("userdel", "--remove", USER, check=False)
    shutil.rmtree(POOL_FOLDER, ignore_errors=True)
    for text in glob.glob(f"{ROOT}/{vm}*.xml"):
        os.unlink(text)
    return {}


def _delete(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _undefine(name: str) -> None:
    virsh("destroy", name, check=False)
    virsh("undefine", name, "--snapshots-metadata", "--managed-save", check=False)


def define(name: str, disks: list[dict[str, Any]]) -> dict[str, Any]:
    """Define a VM on these disks, each a file or a volume of the pool; one of that name gets them instead of its own."""
    texts = [
        (_VOLUME if "volume" in disk else _FILE).format(
            **{"pool": POOL, "target": "vda", **disk, "readonly": "<readonly/>" if disk.get("readonly") else ""}
        )
        for disk in disks
    ]
    path = f"{ROOT}/{name}.xml"
    Path(path).write_text(on_host._DOMAIN.format(name=name, disks="".join(texts)), "utf-8")
    virsh("undefine", name, check=False)
    virsh("pool-refresh", POOL)
    virsh("define", path)
    return {}


def undefine(name: str) -> dict[str, Any]:
    """Shut a VM off and forget it, as an operator does who is done with it; its files stay."""
    _undefine(name)
    return {}


def drop(vm: str, path: str) -> dict[str, Any]:
    """Be done with a VM and its image."""
    if vm == "soak-user":
        os.unlink(f"/home/{USER}/.config/libvirt/qemu/{vm}.xml")
    elif vm:
        _undefine(vm)
    os.unlink(path)
    return {}


def session_definition(name: str, path: str) -> dict[str, Any]:
    """Save a definition where the session daemon of a user keeps its own; no daemon runs."""
    folder = f"/home/{USER}/.config/libvirt/qemu"
    os.makedirs(folder, exist_ok=True)
    disk = _FILE.format(format="qcow2", path=path, target="vda", readonly="")
    Path(f"{folder}/{name}.xml").write_text(on_host._DOMAIN.format(name=name, disks=disk), "utf-8")
    return {}


def definition(vm: str) -> dict[str, Any]:
    """Return what a VM is defined as."""
    return {"xml": _domain(vm).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)}


def redefine(xml: str) -> dict[str, Any]:
    """Put a definition in place."""
    path = f"{ROOT}/again.xml"
    Path(path).write_text(xml, "utf-8")
    virsh("define", path)
    os.unlink(path)
    return {}


def put_back(vm: str, xml: str) -> dict[str, Any]:
    """Put an older definition in place, if all its disks are there and it is of the same ones, on other files."""
    old, new = _disks(xml), _disks(_domain(vm).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    done = set(old) == set(new) and old != new and all(chain(*image) for image in old.values())
    if done:
        redefine(xml)
    return {"done": done}


def point(vm: str, disks: dict[str, list[str]]) -> dict[str, Any]:
    """Define a VM on other files: a path and a format for each target."""
    root = etree.fromstring(_domain(vm).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    for disk in root.iterfind("devices/disk"):
        path, image_format = disks[disk.find("target").get("dev")]
        disk.find("source").set("file", path)
        disk.find("driver").set("type", image_format)
        for backing in disk.findall("backingStore"):
            disk.remove(backing)
    return redefine(etree.tostring(root, encoding="unicode"))


def create_again(vm: str, name: str, new_uuid: bool, metadata: bool) -> dict[str, Any]:
    """Undefine a VM and define it again: under a name, with a new UUID or its own, with its snapshots' metadata or without."""
    domain = _domain(vm)
    uuid = domain.UUIDString()
    _UUIDS.add(uuid)
    texts = [domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)]
    listed = domain.listAllSnapshots(libvirt.VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL) if metadata else []
    current = domain.snapshotCurrent(0).getName() if metadata and domain.hasCurrentSnapshot(0) else None
    texts += [one.getXMLDesc(libvirt.VIR_DOMAIN_SNAPSHOT_XML_SECURE) for one in listed]
    names = [one.getName() for one in listed]
    virsh("undefine", vm, "--snapshots-metadata")
    other = str(uuid4()) if new_uuid else uuid
    texts = [text.replace(uuid, other).replace(f"<name>{vm}</name>", f"<name>{name}</name>") for text in texts]
    redefine(texts[0])
    for text, one in zip(texts[1:], names):
        flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE
        flags |= libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT if one == current else 0
        _domain(name).snapshotCreateXML(text, flags)
    return {}


def later() -> dict[str, Any]:
    """Let the clock of the file system go on: two writes within one of its ticks have one time."""
    time.sleep(0.012)
    return {}


CALLS: dict[str, Callable[..., dict[str, Any]]] = {
    call.__name__: call
    for call in (
        *(
            world,
            unmake,
            define,
            undefine,
            drop,
            session_definition,
            definition,
            redefine,
            put_back,
            point,
            create_again,
        ),
        *(overlay, write_image, by_hand, restored, moved, copied, task, survey, later),
    )
}
if __name__ == "__main__":
    os.makedirs(ROOT, exist_ok=True)
    with open(f"{ROOT}/.lock", "w", encoding="utf-8") as only_one:
        fcntl.flock(only_one, fcntl.LOCK_EX)  # one that was abandoned may still be at work here
        on_host.CALLS.update(CALLS)
        on_host.main()
