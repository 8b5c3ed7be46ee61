# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One thing that a VM's definition needs of its host at a start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

FILE, NETWORK, VOLUME, DEVICE, LINK = "file", "network", "volume", "device", "link"
SECRET, FILTER, PAGES, TPM, CID = "secret", "filter", "pages", "tpm", "cid"
VM = "{vm}"
BRING_BACK = f"Bring it back, or take it out of the definition: virsh edit {VM}."
DEFINE_SECRET = "Define it and set its value: virsh secret-define FILE, virsh secret-set-value UUID --interactive."  # noqa: S105
# Libvirt makes these folders, and what is in them, for each VM.
_OF_LIBVIRT = "/libvirt/qemu/"


@dataclass(frozen=True)
class Needed:
    """Something that has to be there.

    ``kind`` FILE and DEVICE have a path in ``what``; LINK a network device's name, NETWORK that of one of libvirt's, FILTER that
    of a network filter, VOLUME a pool's and, behind a ``/``, a volume's; SECRET a UUID or, behind its type and a colon, a usage;
    PAGES the size of huge pages (0: the host's default) and, behind a colon, that of the memory, both in KiB; TPM the program
    that emulates one; CID the number of a guest on the host's vsock.

    ``whose`` names the part of the VM that needs it, ``remedy`` what an operator can do; ``opened`` is what QEMU itself opens by
    its path.
    """

    kind: str
    whose: str
    what: str
    remedy: str
    opened: bool = False


def file_needed(whose: str, path: Optional[str], remedy: str = BRING_BACK, opened: bool = False) -> Iterator[Needed]:
    """Yield a file that has to be there."""
    # A name alone is looked for by QEMU in directories of its own.
    if path and os.path.isabs(path.strip()):
        yield Needed(FILE, whose, path.strip(), remedy, opened)


def folder_needed(whose: str, path: Optional[str]) -> Iterator[Needed]:
    """Yield the folder in which a file is made at the start; not one of libvirt's own."""
    folder = os.path.dirname((path or "").strip())
    if _OF_LIBVIRT not in f"{folder}/":
        remedy = f"Create that folder, or take the file out of the definition: virsh edit {VM}."
        yield from file_needed(whose, folder, remedy)


def device_needed(whose: str, path: str, remedy: str = BRING_BACK) -> Needed:
    """Return a device that has to be there."""
    return Needed(DEVICE, whose, path, remedy)


def pci_needed(whose: str, address: Any) -> Needed:
    """Return a PCI device, by its ``<address>``, that has to be there."""
    parts = [int(address.get(name, "0"), 0) for name in ("domain", "bus", "slot", "function")]
    return device_needed(whose, "/sys/bus/pci/devices/{:04x}:{:02x}:{:02x}.{:x}".format(*parts))


def socket_needed(whose: str, source: Any, labelled: bool = False) -> Iterator[Needed]:
    """Yield what a unix socket needs: one to connect to has to be there, unless QEMU tries again by itself; for one that is
    made there, its folder.

    One that libvirt gives to QEMU's user (``labelled``) has to be there all the same ("unable to stat", measured with 9.0).
    """
    reconnect = None if labelled else source.find("reconnect")
    path = source.get("path")
    if source.get("mode") in ("bind", "server"):
        yield from folder_needed(f"the socket of {whose}", path)
    elif reconnect is None or reconnect.get("enabled") != "yes":
        yield from file_needed(whose, path)


def secrets_needed(whose: str, element: Any) -> Iterator[Needed]:
    """Yield the secrets of libvirt's that an element or what is in it names."""
    for secret in element.iter("secret"):
        what = secret.get("uuid") or (secret.get("usage") and f"{secret.get('type')}:{secret.get('usage')}")
        if what:
            yield Needed(SECRET, whose, what, DEFINE_SECRET)


def may_be_missing(source: Any, cold: bool) -> bool:
    """Whether its ``startupPolicy`` lets a start go on without a source; one that is not ``cold`` loads memory."""
    policy = source.get("startupPolicy", "mandatory")
    return policy == "optional" or (policy == "requisite" and not cold)
