# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a hypervisor beside on_host.py: what everybody else does to a VM's disks, and a task with others around.

None of it asks the collection: definitions by virsh, images by qemu-img and qemu-io.
"""

from __future__ import annotations

import fcntl
import glob
import json
import os
import shutil
import time
from dataclasses import fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Optional
from uuid import uuid4

import libvirt
import libvirt_qemu
import on_host
from lxml import etree
from on_host import APART, REGION, ROOT, command, virsh

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.open import open_hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.retention import Retention
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.action import Action
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.gather import gather
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.result import result as info_result
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import Wording, outcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.prune import Prune
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.prune import result as prune_result
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.remove import Absent, named
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.revert import Reverted
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.run import Limits, run
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.take import Present
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import RevertRequest, SnapshotRequest

RECORDS = "/var/lib/limiquantix-kvm"
POOL, USER = "soakpool", "soaker"
POOL_FOLDER = f"{ROOT}/pool"
_WHERE = {"backend": "libvirt", "uri": "qemu:///system", "parallel": 1, "timeout": 120}
_UUIDS: set[str] = set()
_HEADERS: dict[tuple[str, str], tuple[tuple[int, int, int], dict[str, Any]]] = {}
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


# The world anew


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
    on_host.remove(vm)
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


# Other VMs


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


# Images by hand


def overlay(path: str, base: str, base_format: str) -> dict[str, Any]:
    """Make an overlay, as for a clone."""
    command("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", base_format, path)
    return {}


def write_image(path: str, image_format: str, region: int, pattern: int) -> dict[str, Any]:
    """Write to an image by hand; ``said`` is "" where that was possible."""
    where = f"write -P {pattern} {region * APART} {REGION}"
    said = command("qemu-io", "-f", image_format, "-c", where, path, check=False)
    return {"said": "" if "wrote " in said else said or "failed"}


def by_hand(words: list[str]) -> dict[str, Any]:
    """Run qemu-img."""
    command("qemu-img", *words)
    return {}


def restored(path: str) -> dict[str, Any]:
    """Put an equal copy into the place of an image, as a restore from a backup does: another inode, all else the same."""
    command("cp", "-p", path, f"{path}.restored")
    os.rename(f"{path}.restored", path)
    return {}


def moved(vm: str, folder: str) -> dict[str, Any]:
    """Move a VM's folder elsewhere and leave a link in its place."""
    os.rename(f"{ROOT}/{vm}", folder)
    os.symlink(folder, f"{ROOT}/{vm}")
    return {}


def copied(folder: str, layers: dict[str, list[list[str]]]) -> dict[str, Any]:
    """Copy disks' chains (active layer first) to another folder, each on its copied base; return the new files."""
    os.makedirs(folder, exist_ok=True)
    done: dict[str, list[str]] = {}
    for target, chain in layers.items():
        below: list[str] = []
        for path, image_format in reversed(chain):
            copy = f"{folder}/{os.path.basename(path)}"
            command("cp", "-a", path, copy)
            if below:
                command("qemu-img", "rebase", "-u", "-f", image_format, "-b", below[0], "-F", below[1], copy)
            below = [copy, image_format]
        done[target] = below
    return {"disks": done}


# A task, and what it left


def task(vm: str, kind: str, name: str = "", **options: Any) -> dict[str, Any]:
    """Ask check mode, then do it; return what both said, and what a refused one changed all the same."""
    told = _entry(vm, _action(kind, name, dict(options)), kind, name, check=True)
    before = _all_there_is(vm)
    done = _entry(vm, _action(kind, name, dict(options)), kind, name, check=False)
    changed = sorted(_differences(before, _all_there_is(vm))) if done["error_code"] else []
    return {"told": told, "done": done, "changed": changed}


def _action(kind: str, name: str, options: dict[str, Any]) -> Action[Any, Any]:
    if kind == "take":
        return Present(SnapshotRequest(name, quiesce="never", **_known(SnapshotRequest, options)))
    if kind == "revert":
        return Reverted(RevertRequest(name, **_known(RevertRequest, options)))
    if kind == "remove":
        return Absent(named(name, bool(options.get("children"))))
    options["names"] = tuple(options["names"]) if "names" in options else None
    return Prune(Retention(**_known(Retention, options)), datetime.now(timezone.utc))


def _known(request: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Leave out what this version of the collection has no option for: then it is as if nobody had asked for that."""
    return {key: value for key, value in options.items() if key in {field.name for field in fields(request)}}


def _entry(vm: str, action: Action[Any, Any], kind: str, name: str, check: bool) -> dict[str, Any]:
    try:
        with open_hypervisor(_WHERE) as hypervisor:
            done = run(hypervisor, [vm], action, Limits(1, 120), check_mode=check)
    except KvmError as error:
        return {"error_code": error.error_code, "msg": error.full_message, "notes": [], "removed": []}
    word = {"take": "taken", "revert": "reverted", "remove": "removed", "prune": "pruned"}[kind]
    whole = prune_result(done, check) if kind == "prune" else outcome(Wording(name, word), done, check)
    entry: dict[str, Any] = whole["vms"][0]
    kept = ("error_code", "msg", "details", "notes", "removed", "files_removed", "orphans_removed", "kept", "recovered")
    return {key: entry[key] for key in kept if key in entry}


def _all_there_is(vm: str) -> dict[str, Any]:
    """Return a mark of each file, record, definition and snapshot: a refused task must not change any."""
    domain = _domain(vm)
    marks: dict[str, Any] = {"definition": domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), "on": domain.isActive()}
    marks.update({f"snapshot {one.getName()}": one.getXMLDesc(0) for one in domain.listAllSnapshots(0)})
    for folder, _folders, names in os.walk(ROOT):
        for path in (f"{folder}/{name}" for name in names):
            status = os.lstat(path)
            marks[path] = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_uid, status.st_mode)
    record = Path(f"{RECORDS}/{domain.UUIDString()}.json")
    marks["record"] = json.loads(record.read_text("utf-8")) if record.exists() else None
    return marks


def _differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [
        f"{key}: {before.get(key)} {after.get(key)}" for key in {*before, *after} if before.get(key) != after.get(key)
    ]


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
    contents = on_host._contents(readable) if readable else {}
    layers = {(path, kind) for found in chains.values() for path, kind in found}
    return {
        "state": "running" if domain.isActive() else "shut off",
        "live": live,
        "defined": _disks(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)),
        "snapshots": snapshots,
        "contents": {path: [*contents[path, kind], _header(path, kind)["virtual-size"]] for path, kind in readable},
        "chains": {image[0]: found for image, found in chains.items()},
        "stamps": {path: [os.stat(path).st_size, os.stat(path).st_mtime_ns] for path, _kind in layers},
        "damage": [text for text in map(on_host._damage, sorted(layers)) if text],
        "info": _info(vm),
    }


def _info(vm: str) -> dict[str, Any]:
    with open_hypervisor(_WHERE) as hypervisor:
        entry: dict[str, Any] = info_result(gather(hypervisor, [vm], None, 1, 60))["vms"][0]
    return {key: value for key, value in entry.items() if key not in ("snapshots", "tree", "chains", "memory")}


def _domain(vm: str) -> Any:
    if not on_host._CONNECTION[0].isAlive():
        on_host._CONNECTION[0] = libvirt.open("qemu:///system")
    return on_host._CONNECTION[0].lookupByName(vm)


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
