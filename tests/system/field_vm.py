# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM of a test's own: made, worked on, looked at and wiped."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any, Optional, Union
from xml.etree import ElementTree

from contract.world import IMAGES
from lab.on_host.domains import FIRMWARE, VMS

from . import guest
from .field_disk import Disk, create_image
from .planted import Planted, only

Entry = dict[str, Any]  # a VM's entry in a result
NO_SYSTEM = f"<loader readonly='yes' type='rom'>{FIRMWARE}</loader>"  # halts at once
_RECORDS = "/var/lib/limiquantix-kvm"
_UNDEFINE = "--managed-save --snapshots-metadata --checkpoints-metadata --nvram"


class FieldVm:
    """A VM of a test's own.

    ``boot`` stands within <os>, ``devices`` within <devices>, ``elements`` beside these. `wipe` looks in ``directories`` too.
    """

    def __init__(
        self,
        planted: Planted,
        name: str,
        *disks: Union[Disk, str],
        directory: str = IMAGES,
        directories: tuple[str, ...] = (),
        boot: str = NO_SYSTEM,
        devices: str = "",
        elements: str = "",
    ) -> None:
        assert not any(re.match(rf"{re.escape(name)}([.-]|$)", vm.name) for vm in VMS), f"{name} is the lab's"
        self.planted = planted
        self.host = planted.host
        self.name = name
        self.directory = directory
        self._disks = [Disk(disk) if isinstance(disk, str) else disk for disk in disks or ("vda",)]
        self._directories = (directory, *directories)
        self._boot, self._devices, self._elements = boot, devices, elements
        self._uuids: set[str] = set()

    # Making and unmaking

    def make(self, start: bool = False) -> None:
        """Make it anew, images too."""
        self.wipe()
        for directory in self._directories:
            self.host.run(["mkdir", "-p", directory])
        for disk in self._disks:
            if disk.size and (disk.file or not disk.xml):
                file = disk.path(self.name, self.directory)
                create_image(
                    self.host,
                    file,
                    disk.format,
                    size=disk.size,
                    backing=disk.backing,
                    backing_format=disk.backing_format,
                )
        self.define()
        if start:
            self.start()

    def define(self, xml: Optional[str] = None) -> None:
        """Define it: as it was thought of, or as the XML says."""
        self.host.put(f"/run/field-{self.name}.xml", xml or self.pristine_xml())
        self.host.virsh("define", f"/run/field-{self.name}.xml")
        self._uuids.add(self.uuid)

    def redefine(self, old: str, new: str) -> None:
        """Define it with one text of its definition replaced."""
        xml = self.xml(inactive=True)
        assert old in xml, xml
        self.define(xml.replace(old, new))

    def wipe(self) -> None:
        """Remove the VM, its record, and every file in its directories that is called as it is."""
        name = shlex.quote(self.name)
        uuids = self.host.run(f"virsh domuuid {name}", check=False).stdout.split()
        self.host.run(f"virsh destroy {name}; virsh undefine {name} {_UNDEFINE}", check=False)
        left = self.host.virsh("list", "--all", "--name").splitlines()
        assert self.name not in left, f"{self.name} cannot be removed"
        files = [f"{shlex.quote(where)}/{name}{end}" for where in self._directories for end in ("", ".*", "-*")]
        files += [f"{_RECORDS}/{uuid}*" for uuid in {*uuids, *self._uuids}]
        self.host.run(f"rm -rf {' '.join(files)} /run/field-{name}.xml")
        for directory in self._directories:
            if directory != IMAGES:
                self.host.run(["rmdir", directory], check=False)  # with something in it, it stays

    def pristine_xml(self) -> str:
        disks = "".join(disk.element(disk.path(self.name, self.directory)) for disk in self._disks)
        return f"""
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{self.name}</name>
  <memory unit='MiB'>16</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    {self._boot}
  </os>
  <features><acpi/></features>
  <on_crash>destroy</on_crash>
  <devices>{disks}
    {self._devices}
    <memballoon model='none'/>
  </devices>
  {self._elements}
</domain>"""

    # What an operator does with it

    def virsh(self, command: str, *words: str) -> str:
        """Run a command of virsh about it; fails with what virsh said."""
        return self.host.virsh(command, self.name, *words)

    def start(self) -> None:
        self.virsh("start")

    def off(self) -> None:
        """Pull its plug."""
        self.virsh("destroy")

    @property
    def state(self) -> str:
        return self.virsh("domstate").strip()

    @property
    def uuid(self) -> str:
        return self.virsh("domuuid").strip()

    def xml(self, inactive: bool = False) -> str:
        return self.virsh("dumpxml", *(["--inactive"] if inactive else []))

    def snapshots(self) -> list[str]:
        """Return its snapshots by virsh's own word."""
        return self.virsh("snapshot-list", "--name").split()

    def files(self) -> set[str]:
        """Return the paths of the files in its directories that are called as it is."""
        name = shlex.quote(self.name)
        where = " ".join(f"{shlex.quote(one)}/{name}[.-]*" for one in self._directories)
        return set(self.host.run(f"ls -d {where}", check=False).stdout.splitlines())

    # What is on its disks

    def write(self, target: str, pattern: int, size: str = "64k") -> None:
        """Write at the start of a disk, as its guest would while it runs, and to its active file while it is off."""
        if self.state in {"running", "paused"}:
            guest.write(self.host, self.name, self._monitor_index(target), pattern, size)
            return
        words = ["qemu-io", "-f", self._active(target)[1], "-c", f"write -P {pattern} 0 {size}"]
        said = self.host.run([*words, self.active_file(target)]).stdout
        assert "ops/sec" in said, said

    def active_file(self, target: str) -> str:
        """Return the file that a disk is on, as it runs or, while it is off, as it is defined."""
        return self._active(target)[0]

    def disk_reads(self, target: str, pattern: int, size: str = "64k") -> bool:
        """Whether a disk has the pattern at its start, seen through its whole chain."""
        file, image_format = self._active(target)
        return guest.holds(self.host, file, image_format, pattern, size)

    def reads(self, file: str, pattern: int, image_format: str = "qcow2", size: str = "64k") -> bool:
        """Whether an image has it, whoever's it is; one that is not there has nothing."""
        return self.exists(file) and guest.holds(self.host, file, image_format, pattern, size)

    def exists(self, file: str) -> bool:
        return self.host.run(["test", "-e", file], check=False).returncode == 0

    def _active(self, target: str) -> tuple[str, str]:
        disk = self._element(target)
        source, driver = disk.find("source"), disk.find("driver")
        assert source is not None, f"{target} of {self.name} is empty"
        file = source.get("file") or source.get("dev")
        if not file:  # a volume of a pool
            file = self.host.virsh("vol-path", "--pool", source.get("pool", ""), source.get("volume", "")).strip()
        return file, "raw" if driver is None else driver.get("type", "raw")

    def _monitor_index(self, target: str) -> int:
        alias = self._element(target).find("alias")
        found = re.fullmatch(r"virtio-disk(\d+)", "" if alias is None else alias.get("name", ""))
        assert found, f"{target} of {self.name} is no virtio disk that runs"
        return int(found[1])

    def _element(self, target: str) -> ElementTree.Element:
        root = ElementTree.fromstring(self.xml())  # noqa: S314 - libvirt's own word
        return next(disk for disk in root.iter("disk") if _target(disk) == target)

    # What this collection does with it: each returns the VM's entry of the result

    def take(self, name: str, **options: Any) -> Entry:
        """Take a snapshot, without a word to an agent; ``check`` is check mode here and below."""
        return only(self.planted.snapshot("", self.name, name, **{"quiesce": "never", **options}))

    def revert(self, name: str, **options: Any) -> Entry:
        return only(self.planted.revert("", self.name, name, **options))

    def remove(self, name: str = "", **options: Any) -> Entry:
        return only(self.planted.remove("", self.name, name=name, **options))

    def prune(self, check: bool = False, **wish: Any) -> Entry:
        """Prune it; ``wish`` is what `Retention` has: keep_last, names, orphans, include_foreign, …"""
        return only(json.loads(self.planted.run_python(_PRUNE.format(vm=self.name, check=check, wish=_tuples(wish)))))

    def info(self) -> Entry:
        return self.planted.info(self.name)

    def sound(self) -> Entry:
        """Assert that info tells of nothing that is missing, left over or wrong, and return what it tells."""
        info = self.info()
        keys = ("error_code", "missing_files", "unknown_overlays", "orphans", "problems", "operation")
        found = {key: info[key] for key in keys if info[key]}
        assert not found, found
        return info


_PRUNE = """
import json
from datetime import datetime, timezone
import driver
action = driver.Prune(driver.Retention(**{wish!r}), datetime.now(timezone.utc))
where = {{"backend": "libvirt", "uri": "qemu:///system"}}
try:
    done = driver._done(where, [{vm!r}], action, {check!r}, driver.Limits())
    print(json.dumps(driver.prune_result(done, {check!r})))
except driver.KvmError as error:
    print(json.dumps(error.to_failure()))
"""


def _tuples(wish: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in wish.items()}


def _target(disk: ElementTree.Element) -> str:
    target = disk.find("target")
    return "" if target is None else target.get("dev", "")
