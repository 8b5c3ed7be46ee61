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
from dataclasses import dataclass, replace
from typing import Any

FILE, NETWORK, VOLUME, DEVICE, LINK = "file", "network", "volume", "device", "link"
_VM = "{vm}"
_BRING_BACK = f"Bring it back, or take it out of the definition: virsh edit {_VM}."
_DRIVES = ("cdrom", "floppy")


@dataclass(frozen=True)
class Needed:
    """Something that has to be there.

    ``kind`` FILE and DEVICE have a path in ``what``; LINK a network device's name, NETWORK that of one of libvirt's, VOLUME
    a pool's and, behind a ``/``, a volume's. ``whose`` names the part of the VM that needs it, ``remedy`` what an operator
    can do; ``opened`` is what QEMU itself opens by its path.
    """

    kind: str
    whose: str
    what: str
    remedy: str
    opened: bool = False


def needs(vm: str, domain: Any, on_others: Collection[str], cold: bool = True) -> list[Needed]:
    """Return what a start needs, ``on_others`` being the targets of disks that will be on other images by then.

    A start that is not ``cold`` loads memory: drives that are required at boot only may be missing then.
    """
    found = [*_boot(domain), *_disks(domain, on_others, cold), *_devices(domain)]
    return [replace(one, remedy=one.remedy.replace(_VM, vm)) for one in dict.fromkeys(found)]


def _file(whose: str, path: str | None, remedy: str = _BRING_BACK, opened: bool = False) -> Iterator[Needed]:
    # A name alone is looked for by QEMU in directories of its own.
    if path and os.path.isabs(path.strip()):
        yield Needed(FILE, whose, path.strip(), remedy, opened)


def _device(whose: str, path: str) -> Needed:
    return Needed(DEVICE, whose, path, _BRING_BACK)


def _boot(domain: Any) -> Iterator[Needed]:
    for name in ("kernel", "initrd", "dtb", "shim", "loader"):
        yield from _file(f"its {name}", domain.findtext(f"os/{name}"), opened=True)
    for table in domain.iterfind("os/acpi/table"):
        yield from _file("its ACPI table", table.text)
    for entry in domain.iterfind("sysinfo/entry"):
        yield from _file("its firmware's entry", entry.get("file"))
    yield from _file("its emulator", domain.findtext("devices/emulator"))
    nvram = domain.find("os/nvram")
    if nvram is not None and nvram.get("template"):
        source = nvram.find("source")
        path = (nvram.text or "").strip() if source is None else source.get("file", "")
        if not (path and os.path.exists(path)):
            yield from _file("its UEFI variables, whose file is gone too,", nvram.get("template"))


def _disks(domain: Any, on_others: Collection[str], cold: bool) -> Iterator[Needed]:
    for disk in domain.iterfind("devices/disk"):
        source, target = disk.find("source"), disk.find("target").get("dev")
        if source is None or target in on_others or _may_be_missing(source, cold):
            continue
        kind, device = disk.get("type", "file"), disk.get("device", "disk")
        remedy = _BRING_BACK
        if device in _DRIVES:
            remedy = f"Bring it back, or take it out of the drive: virsh change-media {_VM} {target} --eject --config."
        if kind == "volume":
            yield Needed(VOLUME, f"{device} {target}", f"{source.get('pool')}/{source.get('volume')}", remedy)
        elif kind in ("file", "block", "dir"):
            path = source.get("file") or source.get("dev") or source.get("dir")
            yield from _file(f"{device} {target}", path, remedy, opened=True)


def _may_be_missing(source: Any, cold: bool) -> bool:
    policy = source.get("startupPolicy", "mandatory")
    return policy == "optional" or (policy == "requisite" and not cold)


def _devices(domain: Any) -> Iterator[Needed]:
    devices = domain.find("devices")
    for element in () if devices is None else devices:
        reader = _READERS.get(element.tag)
        if reader:
            yield from reader(element)
        rom = element.find("rom")
        if rom is not None and rom.get("enabled") != "no":
            yield from _file(f"the ROM of an {element.tag}", rom.get("file"))


def _interface(element: Any) -> Iterator[Needed]:
    source, kind = element.find("source"), element.get("type")
    if kind == "hostdev":
        yield from _hostdev(element)
    if source is None:
        return
    whose = _interface_name(element)
    port = element.find("virtualport")
    if kind == "network" and source.get("network"):
        name = source.get("network")
        remedy = (
            f"Start it: virsh net-start {name} (where it is not there: virsh net-define FILE first), or put the interface on "
            f"another one: virsh edit {_VM}."
        )
        yield Needed(NETWORK, whose, name, remedy)
    elif kind == "bridge" and (port is None or port.get("type") != "openvswitch"):
        yield Needed(LINK, whose, source.get("bridge"), _BRING_BACK)
    elif kind == "direct" and source.get("dev"):
        yield Needed(LINK, whose, source.get("dev"), _BRING_BACK)
    elif kind == "vdpa":
        yield from _file(whose, source.get("dev"))
    elif kind == "vhostuser" and source.get("mode") == "client":
        yield from _file(whose, source.get("path"))


def _interface_name(element: Any) -> str:
    mac = element.find("mac")
    return "an interface" if mac is None else f"interface {mac.get('address')}"


def _hostdev(element: Any) -> Iterator[Needed]:
    source = element.find("source")
    kind = element.get("type")
    if source is None or source.get("startupPolicy", "mandatory") != "mandatory":
        return
    address = source.find("address")
    if address is None:
        yield from _usb_by_name(source)
    elif kind == "mdev":
        yield _device("a host device", f"/sys/bus/mdev/devices/{address.get('uuid')}")
    elif kind == "usb" and address.get("device"):
        bus, device = int(address.get("bus", "0")), int(address.get("device"))
        yield _device("a USB host device", f"/dev/bus/usb/{bus:03d}/{device:03d}")
    elif address.get("slot") and address.get("type", "pci") == "pci":
        parts = [int(address.get(name, "0"), 0) for name in ("domain", "bus", "slot", "function")]
        yield _device("a PCI host device", "/sys/bus/pci/devices/{:04x}:{:02x}:{:02x}.{:x}".format(*parts))


def _usb_by_name(source: Any) -> Iterator[Needed]:
    vendor, product = source.find("vendor"), source.find("product")
    if vendor is not None and product is not None:
        # No path, a pair of ids: whoever asks looks at every device.
        ids = "{:04x}:{:04x}".format(int(vendor.get("id"), 0), int(product.get("id"), 0))
        yield _device("a USB host device", f"usb:{ids}")


def _character(element: Any) -> Iterator[Needed]:
    kind, source, whose = element.get("type"), element.find("source"), f"a {element.tag} device"
    if source is None or source.get("path") is None:
        return
    path = source.get("path")
    if kind in ("dev", "pipe") or (kind == "unix" and source.get("mode") == "connect"):
        yield from _file(whose, path)
    elif kind == "file":
        yield from _file(f"the log of {whose}", os.path.dirname(path))


def _filesystem(element: Any) -> Iterator[Needed]:
    source = element.find("source")
    if source is not None:
        yield from _file("a shared file system", source.get("dir") or source.get("socket"))


def _memory(element: Any) -> Iterator[Needed]:
    yield from _file(f"memory of model {element.get('model')}", element.findtext("source/path"))


def _backend(element: Any) -> Iterator[Needed]:
    backend = element.find("backend")
    if backend is None:
        return
    if element.tag == "rng" and backend.get("model") == "random":
        yield from _file("its random number generator", backend.text)
    if element.tag == "tpm" and backend.get("type") == "passthrough":
        device = backend.find("device")
        yield from _file("its TPM", None if device is None else device.get("path"))


def _input(element: Any) -> Iterator[Needed]:
    source = element.find("source")
    if source is not None:
        yield from _file("an input device", source.get("evdev") or source.get("dev"))


def _graphics(element: Any) -> Iterator[Needed]:
    gl = element.find("gl")
    if gl is not None and gl.get("enable", "yes") == "yes":
        yield from _file("its graphics", gl.get("rendernode"))


_READERS = {
    "interface": _interface,
    "hostdev": _hostdev,
    "filesystem": _filesystem,
    "memory": _memory,
    "rng": _backend,
    "tpm": _backend,
    "input": _input,
    "graphics": _graphics,
    **dict.fromkeys(("serial", "parallel", "console", "channel", "smartcard", "redirdev"), _character),
}
