# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the devices of a definition, other than disks, need of the host at a start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.needed import (
    BRING_BACK,
    CID,
    DEFINE_SECRET,
    FILTER,
    LINK,
    NETWORK,
    SECRET,
    TPM,
    VM,
    Needed,
    device_needed,
    file_needed,
    folder_needed,
    may_be_missing,
    pci_needed,
    secrets_needed,
    socket_needed,
)

_VSOCK = "/dev/vhost-vsock"


def devices_need(domain: Any, cold: bool) -> Iterator[Needed]:
    """Yield what devices need; a start that is not ``cold`` loads memory."""
    devices = domain.find("devices")
    for element in () if devices is None else devices:
        reader = _READERS.get(element.tag)
        if reader:
            yield from reader(element)
        if element.tag == "hostdev" or element.get("type") == "hostdev":
            yield from _hostdev(element, cold)
        rom = element.find("rom")
        if rom is not None and rom.get("enabled") != "no":
            yield from file_needed(f"the ROM of an {element.tag}", rom.get("file"))
        log = element.find("log")
        if log is not None:
            yield from folder_needed(f"the log of a {element.tag} device", log.get("file"))


def _interface(element: Any) -> Iterator[Needed]:
    source, kind, whose = element.find("source"), element.get("type"), _interface_name(element)
    for rules in element.iterfind("filterref[@filter]"):
        remedy = f"Define it (virsh nwfilter-define FILE), or take it out of the definition: virsh edit {VM}."
        yield Needed(FILTER, whose, rules.get("filter"), remedy)
    for backend in element.iterfind("backend"):
        yield from (one for name in ("tap", "vhost") for one in file_needed(whose, backend.get(name)))
    target = element.find("target[@managed='no']")
    if kind == "ethernet" and target is not None and target.get("dev"):
        yield Needed(LINK, whose, target.get("dev"), BRING_BACK)
    if source is None:
        return
    port = element.find("virtualport")
    if kind == "network" and source.get("network"):
        name = source.get("network")
        remedy = (
            f"Start it: virsh net-start {name} (where it is not there: virsh net-define FILE first), or put the interface on "
            f"another one: virsh edit {VM}."
        )
        yield Needed(NETWORK, whose, name, remedy)
    elif kind == "bridge" and (port is None or port.get("type") != "openvswitch"):
        yield Needed(LINK, whose, source.get("bridge"), BRING_BACK)
    elif kind == "direct" and source.get("dev"):
        yield Needed(LINK, whose, source.get("dev"), BRING_BACK)
    elif kind == "vdpa":
        yield from file_needed(whose, source.get("dev"))
    elif kind == "vhostuser":
        yield from socket_needed(whose, source)


def _interface_name(element: Any) -> str:
    mac = element.find("mac")
    return "an interface" if mac is None else f"interface {mac.get('address')}"


def _hostdev(element: Any, cold: bool) -> Iterator[Needed]:
    source = element.find("source")
    kind = element.get("type")
    if source is None or may_be_missing(source, cold):
        return
    yield from secrets_needed("a host device", element)
    address, adapter = source.find("address"), source.find("adapter")
    if address is None:
        yield from _usb_by_name(source)
    elif kind == "mdev":
        yield device_needed("a host device", f"/sys/bus/mdev/devices/{address.get('uuid')}")
    elif kind == "usb" and address.get("device"):
        bus, device = int(address.get("bus", "0")), int(address.get("device"))
        yield device_needed("a USB host device", f"/dev/bus/usb/{bus:03d}/{device:03d}")
    elif kind == "scsi" and adapter is not None and address.get("unit"):
        host = str(adapter.get("name", "")).replace("scsi_host", "")
        unit = ":".join((host, *(address.get(name, "0") for name in ("bus", "target", "unit"))))
        yield device_needed("a SCSI host device", f"/sys/bus/scsi/devices/{unit}")
    elif address.get("slot") and address.get("type", "pci") == "pci":
        yield pci_needed("a PCI host device", address)


def _usb_by_name(source: Any) -> Iterator[Needed]:
    vendor, product = source.find("vendor"), source.find("product")
    if vendor is not None and product is not None:
        # No path, a pair of ids: whoever asks looks at every device.
        ids = "{:04x}:{:04x}".format(int(vendor.get("id"), 0), int(product.get("id"), 0))
        yield device_needed("a USB host device", f"usb:{ids}")


def _character(element: Any) -> Iterator[Needed]:
    yield from _of_character(element.get("type"), element.find("source"), f"a {element.tag} device")


def _of_character(kind: Any, source: Any, whose: str) -> Iterator[Needed]:
    path = None if source is None else source.get("path")
    if path is None:
        return
    if kind == "unix":
        label = source.find("seclabel[@relabel='no']")
        yield from socket_needed(whose, source, labelled=label is None)
    elif kind == "pipe" and all(os.path.exists(path + end) for end in (".in", ".out")):
        return  # QEMU takes the pair first
    elif kind in ("dev", "pipe"):
        yield from file_needed(whose, path)
    elif kind == "file":
        yield from folder_needed(f"the log of {whose}", path)


def _filesystem(element: Any) -> Iterator[Needed]:
    source, binary = element.find("source"), element.find("binary")
    if source is not None:
        yield from file_needed("a shared file system", source.get("dir") or source.get("socket"))
    if binary is not None:
        yield from file_needed("a shared file system", binary.get("path"))


def _memory(element: Any) -> Iterator[Needed]:
    yield from file_needed(f"memory of model {element.get('model')}", element.findtext("source/path"))


def _random(element: Any) -> Iterator[Needed]:
    backend = element.find("backend")
    if backend is not None and backend.get("model") == "random":
        yield from file_needed("its random number generator", backend.text)
    elif backend is not None:
        yield from _of_character(backend.get("type"), backend.find("source"), "its random number generator")


def _tpm(element: Any) -> Iterator[Needed]:
    backend = element.find("backend")
    kind = None if backend is None else backend.get("type")
    for inner in () if backend is None else backend:
        if kind == "passthrough" and inner.tag == "device":
            yield from file_needed("its TPM", inner.get("path"))
        elif kind == "external" and inner.tag == "source":
            yield from _of_character(inner.get("type"), inner, "its TPM")
        elif kind == "emulator" and inner.tag == "encryption" and inner.get("secret"):
            yield Needed(SECRET, "its TPM", inner.get("secret"), DEFINE_SECRET)
    if kind == "emulator":
        yield Needed(TPM, "its TPM", "swtpm", "")


def _input(element: Any) -> Iterator[Needed]:
    source = element.find("source")
    if source is not None:
        yield from file_needed("an input device", source.get("evdev") or source.get("dev"))


def _graphics(element: Any) -> Iterator[Needed]:
    gl = element.find("gl")
    if gl is not None and gl.get("enable", "yes") == "yes":
        yield from file_needed("its graphics", gl.get("rendernode"))
    for listen in (element, *element.iterfind("listen[@type='socket']")):
        yield from folder_needed("the socket of its graphics", listen.get("socket"))


def _video(element: Any) -> Iterator[Needed]:
    for acceleration in element.iterfind("model/acceleration"):
        yield from file_needed("its video device", acceleration.get("rendernode"))


def _shared_memory(element: Any) -> Iterator[Needed]:
    server = element.find("server")
    if server is not None:
        yield from file_needed("its shared memory", server.get("path"))


def _vsock(element: Any) -> Iterator[Needed]:
    yield device_needed("its vsock device", _VSOCK, "Load the kernel's module for it: modprobe vhost_vsock.")
    cid = element.find("cid")
    if cid is not None and cid.get("auto") != "yes" and cid.get("address"):
        remedy = f"Stop that VM, or give one of the two another number: virsh edit {VM}."
        yield Needed(CID, "its vsock device", cid.get("address"), remedy)


_READERS = {
    "interface": _interface,
    "filesystem": _filesystem,
    "memory": _memory,
    "rng": _random,
    "tpm": _tpm,
    "input": _input,
    "graphics": _graphics,
    "video": _video,
    "shmem": _shared_memory,
    "vsock": _vsock,
    **dict.fromkeys(("serial", "parallel", "console", "channel", "smartcard", "redirdev"), _character),
}
