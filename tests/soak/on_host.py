# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a hypervisor and does what the model's rules say: the module's work, the user's, and looking at all of it.

A JSON line each way. What is seen is read by other means than the collection's: virsh's XML, qemu-img and qemu-io.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from typing import Any, Callable, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._absent import Absent, named
from ansible_collections.limiquantix.kvm.plugins.module_utils._arguments import open_hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._info import gather
from ansible_collections.limiquantix.kvm.plugins.module_utils._info import result as info_result
from ansible_collections.limiquantix.kvm.plugins.module_utils._outcome import Wording, outcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._present import Present
from ansible_collections.limiquantix.kvm.plugins.module_utils._reverted import Reverted
from ansible_collections.limiquantix.kvm.plugins.module_utils._snapshot import RevertRequest, SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._task import Action, Limits, run

ROOT = "/var/lib/libvirt/images/soak"
REGIONS, REGION, APART = 3, 64 << 10, 1 << 20  # how many places of a disk are written, how long and how far apart
SIZE = 4 << 20
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
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/></features>
  <devices>{disks}
    <memballoon model='none'/>
  </devices>
</domain>"""


def command(*words: str, check: bool = True) -> str:
    """Run a program and return what it said."""
    done = subprocess.run(words, check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(words)}: {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def virsh(*words: str, check: bool = True) -> str:
    """Run virsh; a daemon that has just been restarted gets a moment."""
    return command("virsh", "-c", "qemu:///system", *words, check=check)


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
    shutil.rmtree(f"{ROOT}/{vm}", ignore_errors=True)
    for suffix in ("json", "lock", "percent"):
        if uuid and os.path.exists(f"/var/lib/limiquantix-kvm/{uuid}.{suffix}"):
            os.unlink(f"/var/lib/limiquantix-kvm/{uuid}.{suffix}")
    return {}


def module(name: str, state: str = "present", power: str = "restore", children: bool = False) -> dict[str, Any]:
    """Do what vm_snapshot does with these options."""
    actions: dict[str, Callable[[], Action[Any]]] = {
        "present": lambda: Present(SnapshotRequest(name, quiesce="never")),
        "reverted": lambda: Reverted(RevertRequest(name, power)),
        "absent": lambda: Absent(named(name, children)),
    }
    try:
        with open_hypervisor(_WHERE) as hypervisor:
            done = run(hypervisor, ["soak"], actions[state](), Limits(1, 120), check_mode=False)
    except KvmError as error:
        return {"failed": True, "vms": [], **error.to_failure()}
    return outcome(Wording(name, state), done, check_mode=False)


def power(vm: str, on: bool) -> dict[str, Any]:
    """Start a VM, or pull its plug."""
    virsh("start" if on else "destroy", vm)
    return {}


def restart_libvirtd() -> dict[str, Any]:
    """Restart the daemon, and wait until it answers."""
    command("systemctl", "reset-failed", "libvirtd", check=False)
    command("systemctl", "restart", "libvirtd")
    end = time.monotonic() + 20
    while "running" not in virsh("list", "--all", "--state-running", check=False) and time.monotonic() < end:
        if virsh("uri", check=False).strip():
            break
        time.sleep(0.1)
    return {}


def virsh_take(vm: str, name: str) -> dict[str, Any]:
    """Take a snapshot as a user of virsh would, of all disks."""
    virsh("snapshot-create-as", vm, name, "--disk-only", "--atomic", *_diskspecs(vm, name))
    return {}


def _diskspecs(vm: str, name: str) -> list[str]:
    # A raw disk's default name would be that of the image itself with another ending: two snapshots would meet.
    words = []
    for target, _path, _format in _disks(ET.fromstring(virsh("dumpxml", vm))):
        words += ["--diskspec", f"{target},file={ROOT}/{vm}/{target}-{name}"]
    return words


def write(vm: str, target: str, region: int, pattern: int) -> dict[str, Any]:
    """Write a pattern to a place of a disk as the guest would; at once on the image where the VM is off."""
    where = f"write -P {pattern} {region * APART} {REGION}"
    root = ET.fromstring(virsh("dumpxml", vm))
    index = [one for one, _path, _format in _disks(root)].index(target)
    if virsh("domstate", vm).strip() != "running":
        _target, path, image_format = _disks(root)[index]
        command("qemu-io", "-f", image_format, "-c", where, path)
        return {}
    device = f"/machine/peripheral/virtio-disk{index}/virtio-backend"
    log = f"/var/log/libvirt/qemu/{vm}.log"
    before = _answers(log)
    for said in (where, "flush"):
        virsh("qemu-monitor-command", vm, "--hmp", f'qemu-io -d {device} "{said}"')
    end = time.monotonic() + 20
    while _answers(log) == before:
        assert time.monotonic() < end, "QEMU did not answer"
        time.sleep(0.01)
    return {}


def _answers(log: str) -> int:
    with open(log, encoding="utf-8", errors="replace") as file:
        return len(re.findall("ops/sec", file.read()))


def _disks(domain: ET.Element) -> list[tuple[str, str, str]]:
    found = []
    for disk in domain.iterfind("devices/disk"):
        target, source, driver = disk.find("target"), disk.find("source"), disk.find("driver")
        assert target is not None
        assert source is not None
        assert driver is not None
        found.append((target.get("dev", ""), source.get("file", ""), driver.get("type", "")))
    return found


def look(vm: str) -> dict[str, Any]:
    """Return all there is to see: content of present and snapshots, files in use and in the folder, virsh's own word."""
    live, defined = ET.fromstring(virsh("dumpxml", vm)), ET.fromstring(virsh("dumpxml", vm, "--inactive"))
    used: set[str] = set()
    problems: list[str] = []
    if _disks(live) != _disks(defined):
        problems.append(f"it runs on {_disks(live)} and is defined on {_disks(defined)}")
    present = {target: _content(path, kind) for target, path, kind in _disks(live)}
    for _target, path, kind in _disks(live):
        used |= _chain(path, kind, problems)
    snapshots = {}
    for name in virsh("snapshot-list", vm, "--name").split():
        root = ET.fromstring(virsh("snapshot-dumpxml", vm, name))
        domain = root.find("domain")
        assert domain is not None
        snapshots[name] = {target: _content(path, kind) for target, path, kind in _disks(domain)}
        for _target, path, kind in _disks(domain):
            used |= _chain(path, kind, problems)
    folder = f"{ROOT}/{vm}"
    files = {f"{folder}/{name}" for name in os.listdir(folder)}
    virsh("snapshot-list", vm, "--tree")
    current = virsh("snapshot-current", vm, "--name", check=False).strip()
    return {
        "state": virsh("domstate", vm).strip(),
        "present": present,
        "snapshots": snapshots,
        "orphans": sorted(files - used),
        "missing": sorted(used - files),
        "problems": problems,
        "current": current,
        "current_disks": _current_disks(vm, current) if current else {},
        "tops": {target: path for target, path, _kind in _disks(live)},
        "info": _info(vm),
    }


def _current_disks(vm: str, current: str) -> dict[str, Optional[str]]:
    root = ET.fromstring(virsh("snapshot-dumpxml", vm, current))
    elements = root.findall("revertDisks/disk") or root.findall("disks/disk")
    return {disk.get("name", ""): None if (s := disk.find("source")) is None else s.get("file") for disk in elements}


def _info(vm: str) -> dict[str, Any]:
    with open_hypervisor(_WHERE) as hypervisor:
        entry: dict[str, Any] = info_result(gather(hypervisor, [vm], None, 1, 60))["vms"][0]
    kept = ("problems", "unknown_overlays", "missing_files", "operation", "failed", "msg")
    return {key: entry[key] for key in kept if key in entry}


def _content(path: str, image_format: str) -> list[int]:
    """Return the byte that each place of an image is filled with; -1 where it is not one and the same."""
    words = [word for region in range(REGIONS) for word in ("-c", f"read -v {region * APART} 16")]
    said = command("qemu-io", "-U", "-r", "-f", image_format, *words, path)
    rows = re.findall(r"^[0-9a-f]{8}:  ((?:[0-9a-f]{2} ?)+)", said, re.MULTILINE)
    bytes_seen = [set(row.split()) for row in rows]
    assert len(rows) == REGIONS, said
    return [int(one.pop(), 16) if len(one) == 1 else -1 for one in bytes_seen]


def _chain(path: str, image_format: str, problems: list[str]) -> set[str]:
    said = command("qemu-img", "info", "-U", "-f", image_format, "--backing-chain", "--output=json", path)
    files = {str(layer["filename"]) for layer in json.loads(said)}
    for layer in json.loads(said):
        if layer["format"] != "qcow2":
            continue
        check = ["qemu-img", "check", "-U", "-q", "-f", "qcow2", layer["filename"]]
        done = subprocess.run(check, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        # What a running QEMU has not written down yet shows as leaked clusters (3): room, no data.
        if done.returncode not in (0, 3):
            problems.append(f"{layer['filename']}: {done.stdout}")
    return files


CALLS: dict[str, Callable[..., dict[str, Any]]] = {
    call.__name__: call for call in (reset, remove, module, power, restart_libvirtd, virsh_take, write, look)
}


def main() -> None:
    """Answer until the end of the input."""
    for line in sys.stdin:
        asked = json.loads(line)
        asked.pop("where")
        try:
            answer = CALLS[asked.pop("call")](**asked)
        except AssertionError as error:
            answer = {"broken": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
