# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a VM keeps what is neither on its disks nor in its memory: UEFI variables and the state of a TPM.

By its XML; an element of any ElementTree will do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import has_nvram

NVRAM, TPM = "nvram", "tpm"  # what results call UEFI variables, and the state of a TPM
RAW, QCOW2, JSON = "raw", "qcow2", "json"  # of UEFI variables
PERMALL, LINEAR = "permall", "linear"  # of a TPM: what it keeps when it is off, or that and more in one file
SWTPM_HOME = "/var/lib/libvirt/swtpm"  # of the system's libvirt


@dataclass(frozen=True)
class FirmwareState:
    """One ``part`` of what a VM's firmware keeps: its ``file`` and the format of that, or ``why`` there is none to be copied.

    ``home`` is the directory for copies: libvirt deletes the one of a TPM with the VM, and gives what is in it to another user.
    ``named`` is what the VM's XML names, where that is not the file. Beside a copy that is put back there must be none of the
    files ``aside``: swtpm would load them, though they belong to another state.
    """

    part: str
    file: str = ""
    form: str = RAW
    why: str = ""
    home: str = ""
    named: str = ""
    aside: tuple[str, ...] = ()


def firmware_states(domain: Any, swtpm_home: str = SWTPM_HOME) -> dict[str, FirmwareState]:
    """Return what a VM has of them, by part. ``swtpm_home`` is where libvirt has a directory for the TPM of each VM."""
    found = (_variables(domain), _tpm(domain, swtpm_home))
    return {state.part: state for state in found if state}


def _variables(domain: Any) -> Optional[FirmwareState]:
    store = domain.find("os/varstore")
    if store is not None:
        return _variables_in(store.get("path"), JSON)
    if not has_nvram(domain):
        return None
    nvram = domain.find("os/nvram")
    if nvram is None:
        loader = domain.find("os/loader")
        if loader is not None and loader.text and loader.get("readonly") != "yes":
            return FirmwareState(NVRAM, why="they are in one file with the firmware")
        return _variables_in(None, RAW)
    source = nvram.find("source")
    kind = nvram.get("type", "file")
    if kind != "file":
        return FirmwareState(NVRAM, why=f"they are kept in a source of type '{kind}', which is no file of this host")
    return _variables_in(nvram.text if source is None else source.get("file"), nvram.get("format", RAW))


def _variables_in(path: Optional[str], form: str) -> FirmwareState:
    path = (path or "").strip()
    if not path.startswith("/"):
        return FirmwareState(NVRAM, why="libvirt makes their file when the VM is started")
    return FirmwareState(NVRAM, path, form, home=os.path.dirname(os.path.realpath(path)))


def _tpm(domain: Any, swtpm_home: str) -> Optional[FirmwareState]:
    """Libvirt writes the version into each definition: 1.2 or 2.0 by default, by the TPM's model and its own release."""
    backend = next(_backends(domain), None)
    if backend is None:
        return None
    kind = backend.get("type")
    if kind != "emulator":
        own = {
            "passthrough": "it is a device of the host",
            "external": "a program that libvirt does not start keeps it",
        }
        return FirmwareState(TPM, why=own.get(str(kind), f"it is kept in a TPM of type '{kind}'"))
    source = backend.find("source")
    if source is not None and source.get("type") == "file":
        path = source.get("path", "")
        return FirmwareState(TPM, path, LINEAR, home=os.path.dirname(os.path.realpath(path)))
    if source is not None and source.get("type") != "dir":
        return FirmwareState(
            TPM, why=f"it is kept in a source of type '{source.get('type')}', which is no file of this host"
        )
    older = backend.get("version") == "1.2"
    uuid = (domain.findtext("uuid") or "").strip()
    if source is None:
        named, directory, home = "", os.path.join(swtpm_home, uuid, "tpm1.2" if older else "tpm2"), swtpm_home
    else:
        named = directory = source.get("path", "")
        home = os.path.dirname(os.path.realpath(directory))
    stem = os.path.join(directory, "tpm-00" if older else "tpm2-00")
    aside = (f"{stem}.volatilestate", f"{stem}.savestate")
    return FirmwareState(TPM, f"{stem}.permall", PERMALL, home=home, named=named, aside=aside)


def _backends(domain: Any) -> Iterator[Any]:
    """Yield the backends of its TPMs: that of an emulated one first, which has a state of its own."""
    yield from domain.iterfind("devices/tpm/backend[@type='emulator']")
    yield from domain.iterfind("devices/tpm/backend")
