# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM's definition needs of its host at a start, beside the images that are looked at anyway.

What libvirt or QEMU makes itself (sockets of their own, an nvram file from its template) is not needed; what cannot be
told from the definition (a server's port, a firmware that is chosen by its features) is not listed.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.device_needs import devices_need
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.needed import (
    BRING_BACK,
    PAGES,
    VM,
    VOLUME,
    Needed,
    file_needed,
    folder_needed,
    may_be_missing,
    pci_needed,
    secrets_needed,
    socket_needed,
)

_DRIVES = ("cdrom", "floppy")
_UNITS = {"b": 1, "bytes": 1, "KB": 1000, "k": 1 << 10, "KiB": 1 << 10, "MB": 10**6, "M": 1 << 20, "MiB": 1 << 20}
_UNITS.update({"GB": 10**9, "G": 1 << 30, "GiB": 1 << 30, "TB": 10**12, "T": 1 << 40, "TiB": 1 << 40})


def needs(vm: str, domain: Any, on_others: Collection[str], cold: bool = True) -> list[Needed]:
    """Return what a start needs, ``on_others`` being the targets of disks that will be on other images by then.

    A start that is not ``cold`` loads memory: drives that are required at boot only may be missing then.
    """
    found = [*_boot(domain), *_disks(domain, on_others, cold), *devices_need(domain, cold), *_huge_pages(domain)]
    return [replace(one, remedy=one.remedy.replace(VM, vm)) for one in dict.fromkeys(found)]


def _boot(domain: Any) -> Iterator[Needed]:
    for name in ("kernel", "initrd", "dtb", "shim", "loader"):
        yield from file_needed(f"its {name}", domain.findtext(f"os/{name}"), opened=True)
    for table in domain.iterfind("os/acpi/table"):
        yield from file_needed("its ACPI table", table.text)
    for entry in domain.iterfind("sysinfo/entry"):
        yield from file_needed("its firmware's entry", entry.get("file"))
    yield from file_needed("its emulator", domain.findtext("devices/emulator"))
    yield from _variables(domain.find("os/nvram"))


def _variables(nvram: Any) -> Iterator[Needed]:
    """Yield what makes the file of UEFI variables where that is gone: its template, and the folder it is made in."""
    if nvram is None:
        return
    source = nvram.find("source")
    path = (nvram.text or "").strip() if source is None else source.get("file", "")
    if not (path and os.path.exists(path)):
        yield from file_needed("its UEFI variables, whose file is gone too,", nvram.get("template"))
        yield from folder_needed("its UEFI variables", path)


def _disks(domain: Any, on_others: Collection[str], cold: bool) -> Iterator[Needed]:
    for disk in domain.iterfind("devices/disk"):
        source, target = disk.find("source"), disk.find("target").get("dev")
        if source is None or target in on_others or may_be_missing(source, cold):
            continue
        kind, device = disk.get("type", "file"), disk.get("device", "disk")
        whose, remedy = f"{device} {target}", BRING_BACK
        if device in _DRIVES:
            remedy = f"Bring it back, or take it out of the drive: virsh change-media {VM} {target} --eject --config."
        yield from secrets_needed(whose, disk)
        if kind == "volume":
            yield Needed(VOLUME, whose, f"{source.get('pool')}/{source.get('volume')}", remedy)
        elif kind in ("file", "block", "dir", "vhostvdpa"):
            path = source.get("file") or source.get("dev") or source.get("dir")
            yield from file_needed(whose, path, remedy, opened=True)
        else:
            yield from _served(whose, kind, source)
        for reservations in source.iterfind("reservations[@managed='no']/source"):
            yield from file_needed(f"the SCSI reservations of {whose}", reservations.get("path"))


def _served(whose: str, kind: str, source: Any) -> Iterator[Needed]:
    """Yield what a disk needs that is on no file: the socket of whoever serves it, or a device of the host's."""
    if kind == "vhostuser":
        yield from socket_needed(whose, source)
    elif kind == "nvme":
        yield from (pci_needed(whose, address) for address in source.iterfind("address"))
    elif kind == "network":
        for server in source.iterfind("host[@transport='unix']"):
            yield from file_needed(whose, server.get("socket"))


def _huge_pages(domain: Any) -> Iterator[Needed]:
    """Yield the huge pages that hold all of the memory; not where only some of it is in such, or it lies in several sizes."""
    huge, memory = domain.find("memoryBacking/hugepages"), domain.find("memory")
    if huge is None or memory is None or domain.find("devices/memory") is not None:
        return
    pages = huge.findall("page")
    if len(pages) > 1 or any(page.get("nodeset") for page in pages):
        return
    size = _bytes(pages[0].get("size"), pages[0].get("unit")) if pages else 0
    wanted = _bytes(memory.text, memory.get("unit"))
    remedy = (
        f"Make room for them (sysctl vm.nr_hugepages), or take <hugepages/> out of the definition: virsh edit {VM}."
    )
    yield Needed(PAGES, "its memory", f"{size >> 10}:{wanted >> 10}", remedy)


def _bytes(number: Any, unit: Any) -> int:
    return int(str(number or "0").strip()) * _UNITS.get(unit or "KiB", 1 << 10)
