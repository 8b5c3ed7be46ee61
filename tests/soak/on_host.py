# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a hypervisor and does what the model's rules say: the module's work, the user's, and looking at all of it.

A JSON line each way. What is seen is read by other means than the collection's: virsh's XML, qemu-img and qemu-io.
"""

from __future__ import annotations

import glob
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, Optional

import libvirt
import libvirt_qemu
from lxml import etree

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.open import open_hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.action import Action
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.gather import gather
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.result import result as info_result
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import Wording, outcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.remove import Absent, named
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.revert import Reverted
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.run import Limits, run
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.take import Present
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import RevertRequest, SnapshotRequest

ROOT = "/var/lib/libvirt/images/soak"
REGIONS, REGION, APART = 3, 64 << 10, 1 << 20  # how many places of a disk are written, how long and how far apart
SIZE = 4 << 20
_BACKEND = "ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt"
_CONNECTION: list[Any] = []
_KEPT: dict[str, dict[str, Any]] = {}  # what `again` needs beside the files, by VM
_SOUND: dict[str, tuple[int, int, int]] = {}  # layers found sound, until they are written to
_WHERE = {"backend": "libvirt", "uri": "qemu:///system", "parallel": 1, "timeout": 120}
_DISK = """
    <disk type='file' device='disk'>
      <driver name='qemu' type='{format}'/>
      <source file='{path}'/>
      <target dev='{target}' bus='virtio'/>
      <serial>{target}</serial>
    </disk>"""
_DOMAIN = """
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>16</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <loader readonly='yes' type='rom'>/opt/guest/halt.rom</loader>
  </os>
  <features><acpi/></features>
  <devices>{disks}
    <memballoon model='none'/>
  </devices>
</domain>"""


def command(*words: str, check: bool = True) -> str:
    """Run a program and return what it said."""
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(words)}: {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def virsh(*words: str, check: bool = True) -> str:
    """Run virsh; a daemon that has just been restarted gets a moment."""
    return command("virsh", "-c", "qemu:///system", *words, check=check)


def _domain(vm: str) -> Any:
    return _CONNECTION[0].lookupByName(vm)


def reset(vm: str, formats: dict[str, str]) -> dict[str, Any]:
    """Make a VM anew, shut off, with a disk for each target, all zeros."""
    remove(vm)
    directory = f"{ROOT}/{vm}"
    os.makedirs(directory)
    disks = ""
    for target, image_format in formats.items():
        path = f"{directory}/{target}.{image_format}"
        command("qemu-img", "create", "-q", "-f", image_format, path, str(SIZE))
        disks += _DISK.format(format=image_format, path=path, target=target)
    with open(f"{directory}.xml", "w", encoding="utf-8") as file:
        file.write(_DOMAIN.format(name=vm, disks=disks))
    virsh("define", f"{directory}.xml")
    return {}


def remove(vm: str) -> dict[str, Any]:
    """Remove a VM with all that is there of it."""
    uuid = virsh("domuuid", vm, check=False).strip()
    virsh("destroy", vm, check=False)
    virsh("undefine", vm, "--snapshots-metadata", check=False)
    if os.path.islink(f"{ROOT}/{vm}"):  # of storage that was moved
        os.unlink(f"{ROOT}/{vm}")
    shutil.rmtree(f"{ROOT}/{vm}", ignore_errors=True)
    for memory in glob.glob(f"{ROOT}/{vm}.*.memory"):
        os.unlink(memory)
    for suffix in ("json", "lock", "percent"):
        if uuid and os.path.exists(f"/var/lib/limiquantix-kvm/{uuid}.{suffix}"):
            os.unlink(f"/var/lib/limiquantix-kvm/{uuid}.{suffix}")
    return {}


def module(
    *,
    name: str,
    state: str = "present",
    power: str = "restore",
    children: bool = False,
    include_memory: bool = False,
    vm: str = "soak",
) -> dict[str, Any]:
    """Do what vm_snapshot does with these options."""
    actions: dict[str, Callable[[], Action[Any, Any]]] = {
        "present": lambda: Present(SnapshotRequest(name, include_memory=include_memory, quiesce="never")),
        "reverted": lambda: Reverted(RevertRequest(name, power)),
        "absent": lambda: Absent(named(name, children)),
    }
    try:
        with open_hypervisor(_WHERE) as hypervisor:
            done = run(hypervisor, [vm], actions[state](), Limits(1, 120), check_mode=False)
    except KvmError as error:
        return {"failed": True, "vms": [], **error.to_failure()}
    return outcome(Wording(name, state), done, check_mode=False)


def spoilt(step: str, fault: str, options: dict[str, Any]) -> dict[str, Any]:
    """Do what vm_snapshot does in a process of its own, and have something killed just before one of its steps.

    ``step`` is a name inside the libvirt backend, as its user sees it (`operations.remove:forget`).
    """
    line = json.dumps({"call": "module", "where": None, "plant": [step, fault], **options})
    done = subprocess.run(
        [sys.executable, __file__], check=False, input=line + "\n", capture_output=True, text=True, timeout=120
    )
    assert "Traceback" not in done.stderr, done.stderr
    result = json.loads(done.stdout) if done.stdout.strip() else {}
    return {"killed": done.returncode == -signal.SIGKILL, "result": result}


def plant(step: str, fault: str) -> None:
    """Have a fault happen once, just before the backend calls something."""
    module_name, _colon, path = step.partition(":")
    names = path.split(".")
    owner = importlib.import_module(f"{_BACKEND}.{module_name}")
    for name in names[:-1]:
        owner = getattr(owner, name)
    original = getattr(owner, names[-1])
    happened: list[bool] = []

    def planted(*args: Any, **kwargs: Any) -> Any:
        if not happened:
            happened.append(True)
            FAULTS[fault]()
        return original(*args, **kwargs)

    setattr(owner, names[-1], planted)


def _kill_qemu() -> None:
    for pid_file in glob.glob("/run/libvirt/qemu/soak.pid"):
        with open(pid_file, encoding="utf-8") as file:
            os.kill(int(file.read()), signal.SIGKILL)
    time.sleep(1)


def _kill_libvirtd() -> None:
    command("pkill", "-KILL", "-x", "libvirtd", check=False)


def _kill_libvirtd_after(milliseconds: int) -> None:
    line = f"sleep {milliseconds / 1000:.3f}; pkill -KILL -x libvirtd"
    subprocess.Popen(["sh", "-c", line], start_new_session=True)


FAULTS: dict[str, Callable[[], None]] = {
    "module": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "libvirtd": _kill_libvirtd,
    **{f"libvirtd after {ms} ms": partial(_kill_libvirtd_after, ms) for ms in range(500)},
    "qemu": _kill_qemu,
    "none": lambda: None,
}


def power(vm: str, on: bool) -> dict[str, Any]:
    """Start a VM, or pull its plug."""
    virsh("start" if on else "destroy", vm)
    return {}


def is_on(vm: str) -> dict[str, Any]:
    """Tell whether a VM runs, by libvirt's word."""
    return {"on": bool(_domain(vm).isActive())}


def end_process(pid: int) -> dict[str, Any]:
    """End a VM's own QEMU, of which libvirt does not know."""
    with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
        assert "guest=soak" in file.read()
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < end, "it does not end"
        time.sleep(0.05)
    return {}


def restart_libvirtd() -> dict[str, Any]:
    """Restart the daemon, and wait until it answers."""
    command("systemctl", "reset-failed", "libvirtd", check=False)
    command("systemctl", "restart", "libvirtd")
    end = time.monotonic() + 20
    while not virsh("uri", check=False).strip():
        assert time.monotonic() < end, "libvirtd did not come back"
        time.sleep(0.05)
    _CONNECTION[0] = libvirt.open("qemu:///system")
    return {}


def native(words: list[str]) -> dict[str, Any]:
    """Run virsh, and tell what it said and whether libvirtd has outlived that."""
    before = _libvirtd()
    done = subprocess.run(
        ["virsh", "-c", "qemu:///system", *words], check=False, capture_output=True, text=True, timeout=120
    )
    crashed = "End of file" in done.stderr or _libvirtd() != before
    if crashed:
        restart_libvirtd()
    return {"ok": done.returncode == 0, "said": done.stdout + done.stderr, "crashed": crashed}


def _libvirtd() -> str:
    # Not by its name, which children have too for a moment.
    return command("systemctl", "show", "--property=MainPID", "libvirtd").strip()


def keep(vm: str) -> dict[str, Any]:
    """Shut a VM off, and keep a copy of all there is of it, for `again`."""
    virsh("destroy", vm, check=False)
    domain = _domain(vm)
    copy = f"{ROOT}/{vm}.kept"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(f"{ROOT}/{vm}", copy)
    snapshots = domain.listAllSnapshots(libvirt.VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL)
    record = f"/var/lib/limiquantix-kvm/{domain.UUIDString()}.json"
    _KEPT[vm] = {
        "definition": domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE),
        "snapshots": [(one.getName(), one.getXMLDesc(0)) for one in snapshots],
        "current": domain.snapshotCurrent(0).getName() if domain.hasCurrentSnapshot(0) else None,
        "record": (record, Path(record).read_text("utf-8") if os.path.exists(record) else None),
    }
    return {"names": [one.getName() for one in snapshots]}


def again(vm: str, on: bool) -> dict[str, Any]:
    """Make a VM as it was when it was kept."""
    remove(vm)
    kept = _KEPT[vm]
    shutil.copytree(f"{ROOT}/{vm}.kept", f"{ROOT}/{vm}")
    domain = _CONNECTION[0].defineXML(kept["definition"])
    for name, text in kept["snapshots"]:
        current = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT if name == kept["current"] else 0
        domain.snapshotCreateXML(text, libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE | current)
    path, text = kept["record"]
    if text is not None:
        Path(path).write_text(text, "utf-8")
    if on:
        virsh("start", vm)
    return {}


def virsh_take(vm: str, name: str) -> dict[str, Any]:
    """Take a snapshot as a user of virsh would, of all disks."""
    virsh("snapshot-create-as", vm, name, "--disk-only", "--atomic", *_diskspecs(vm, name))
    return {}


def _diskspecs(vm: str, name: str) -> list[str]:
    # A raw disk's default name would be that of the image itself with another ending: two snapshots would meet.
    words = []
    for target, _path, _format in _disks(etree.fromstring(_domain(vm).XMLDesc(0))):
        words += ["--diskspec", f"{target},file={ROOT}/{vm}/{target}-{name}"]
    return words


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


CALLS: dict[str, Callable[..., dict[str, Any]]] = {
    call.__name__: call
    for call in (
        *(reset, remove, module, spoilt, power, is_on, end_process, restart_libvirtd),
        *(native, keep, again, virsh_take, write, look),
    )
}


def main() -> None:
    """Answer until the end of the input."""
    libvirt.registerErrorHandler(lambda *_ignored: None, None)
    _CONNECTION.append(libvirt.open("qemu:///system"))
    for line in sys.stdin:
        asked = json.loads(line)
        asked.pop("where")
        if "plant" in asked:
            plant(*asked.pop("plant"))
        try:
            answer = CALLS[asked.pop("call")](**asked)
        except AssertionError as error:
            answer = {"broken": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
