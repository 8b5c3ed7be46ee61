# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the hypervisor: a crowd of VMs that are off, in the folder that life.py's VM is in; prints one JSON object.

crowd.py off VMS              so many VMs, with an image each
crowd.py others VMS IMAGES    so many VMs, with so many images between them that are all based on one
crowd.py take HOW             seconds to take a snapshot of every VM: module or bare
crowd.py info HOW             to read the VMs, their disks and snapshots: module or bare
crowd.py remove HOW           to remove it again, of every VM: module or bare
crowd.py clear                nothing of this is left, nor of what a run left that was killed

Imports are done before the clock starts.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable

import libvirt
from bench.on_host import life, measure

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor import open as _arguments
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.read_vms import gather
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.result import result
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.remove import Absent, named
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.take import Present
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest

NAME = "crowd-{:03}"
NAMES, OURS = "crowd-*", re.compile(r"crowd-\d{3}")
FOLDER = life.FOLDER
TEMPLATE = FOLDER / "crowd-template.qcow2"
TAKEN = "before"
# A file of 12 KiB, for those that are only looked at: `qemu-img commit` takes twice as long to write into such.
SMALL = ("-o", "cluster_size=4096")
DISK = """
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='{file}'/>
      <target dev='vd{letter}' bus='virtio'/>
    </disk>"""
DOMAIN = """
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>16</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>{disks}
    <memballoon model='none'/>
  </devices>
</domain>"""


def image(name: str, letter: str = "a") -> Path:
    return FOLDER / f"{name}-vd{letter}.qcow2"


def overlay(name: str) -> Path:
    """What the bare script calls its overlay."""
    return FOLDER / f"{name}.{TAKEN}"


def off(count: str) -> dict[str, Any]:
    clear()
    FOLDER.mkdir(exist_ok=True)
    _make(int(count), 1, _content(size=["4M"]))
    return {}


def others(count: str, images: str) -> dict[str, Any]:
    clear()
    FOLDER.mkdir(exist_ok=True)
    TEMPLATE.write_bytes(_content(*SMALL, size=["4M"]))
    _make(int(count), int(images) // int(count), _content(*SMALL, "-F", "qcow2", "-b", str(TEMPLATE)))
    return {}


def _content(*options: str, size: Sequence[str] = ()) -> bytes:
    """Return what `qemu-img` makes: a process for each of thousands of files would take minutes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "image")
        life.run("qemu-img", "create", "-q", "-f", "qcow2", *options, str(file), *size)
        return file.read_bytes()


def _make(count: int, disks: int, content: bytes) -> None:
    """Make the VMs and their files, which are written out to the disk before anything is measured."""
    connection = libvirt.open(life.URI)
    for name in map(NAME.format, range(count)):
        files = {letter: image(name, letter) for letter in "abcdefgh"[:disks]}
        for file in files.values():
            file.write_bytes(content)
        described = "".join(DISK.format(file=file, letter=letter) for letter, file in files.items())
        connection.defineXML(DOMAIN.format(name=name, disks=described))
    os.sync()


def clear() -> dict[str, Any]:
    connection = libvirt.open(life.URI)
    for domain in _crowd(connection):
        for file in life.RECORDS.glob(f"{domain.UUIDString()}.*"):
            file.unlink()
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)
    for file in FOLDER.glob(NAMES):
        file.unlink()
    with suppress(OSError):  # it is not there, or another VM's files are still in it
        FOLDER.rmdir()
    return {}


def _crowd(connection: Any) -> list[Any]:
    return [domain for domain in connection.listAllDomains() if OURS.fullmatch(domain.name())]


def take(how: str) -> dict[str, Any]:
    def module() -> None:
        life.module(Present(SnapshotRequest(TAKEN, quiesce="never")), NAMES, measure.THREADS)

    answer = life.seconds({"module": module, "bare": lambda: _bare(_take_one)}[how])
    _expect(snapshots=1)
    return answer


def remove(how: str) -> dict[str, Any]:
    def module() -> None:
        life.module(Absent(named(TAKEN, children=False)), NAMES, measure.THREADS)

    answer = life.seconds({"module": module, "bare": lambda: _bare(_remove_one)}[how])
    _expect(snapshots=0)
    return answer


def info(how: str) -> dict[str, Any]:
    def module() -> None:
        with _arguments.open_hypervisor(measure.PARAMS) as hypervisor:
            result(gather(hypervisor, [NAMES], None, measure.THREADS, 600))

    return life.seconds({"module": module, "bare": lambda: _bare(_read_one)}[how])


def _bare(work: Callable[[Any, str], None]) -> None:
    connection = libvirt.open(life.URI)
    measure.in_threads(connection, [domain.name() for domain in _crowd(connection)], work)


def _take_one(connection: Any, vm: str) -> None:
    xml = measure.SNAPSHOT.format(name=TAKEN, overlay=overlay(vm))
    connection.lookupByName(vm).snapshotCreateXML(xml, measure.CREATE)


def _remove_one(connection: Any, vm: str) -> None:
    domain = connection.lookupByName(vm)
    subprocess.run(["qemu-img", "commit", "-q", "-d", "-f", "qcow2", str(overlay(vm))], check=True)
    definition = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    connection.defineXML(definition.replace(str(overlay(vm)), str(image(vm))))
    domain.snapshotLookupByName(TAKEN).delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)
    overlay(vm).unlink()


def _read_one(connection: Any, vm: str) -> None:
    """Read what libvirt alone tells: how the VM is, its snapshots, what its disk takes up; nothing is held against the files."""
    domain = connection.lookupByName(vm)
    domain.info()
    domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    domain.blockInfo("vda")
    for snapshot in domain.listAllSnapshots():
        snapshot.getXMLDesc()


def _expect(snapshots: int) -> None:
    """Be sure that every VM was worked on, to the end: what was left out would count as fast."""
    crowd = _crowd(libvirt.open(life.URI))
    wrong = [domain.name() for domain in crowd if not _is_as_expected(domain, snapshots)]
    files = len(list(FOLDER.glob(NAMES)))
    if not crowd or wrong or files != len(crowd) * (1 + snapshots):
        raise SystemExit(f"{files} files, {len(crowd)} VMs, not as expected: {' '.join(wrong[:9]) or 'none'}")


def _is_as_expected(domain: Any, snapshots: int) -> bool:
    on_image = str(image(domain.name())) in domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    return bool(domain.snapshotNum() == snapshots and on_image == (not snapshots))


ACTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    one.__name__: one for one in (off, others, take, info, remove, clear)
}


def main(words: Sequence[str]) -> None:
    libvirt.registerErrorHandler(lambda *_: None, None)
    _arguments.open_hypervisor(measure.PARAMS).close()  # imports the backend
    print(json.dumps(ACTIONS[words[0]](*words[1:])))


if __name__ == "__main__":
    main(sys.argv[1:])
