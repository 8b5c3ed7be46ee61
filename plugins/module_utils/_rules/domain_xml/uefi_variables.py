# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a VM keeps its UEFI variables, by its XML; an element of any ElementTree will do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import has_nvram

RAW, QCOW2, JSON = "raw", "qcow2", "json"


@dataclass(frozen=True)
class Variables:
    """The UEFI variables of a VM: their ``file`` and its format, or ``why`` they are in no file of their own on this host."""

    file: str = ""
    form: str = RAW
    why: str = ""


def uefi_variables(domain: Any) -> Optional[Variables]:
    """Return where they are, None for a VM that keeps none."""
    store = domain.find("os/varstore")
    if store is not None:
        return _of(store.get("path"), JSON)
    if not has_nvram(domain):
        return None
    nvram = domain.find("os/nvram")
    if nvram is None:
        loader = domain.find("os/loader")
        if loader is not None and loader.text and loader.get("readonly") != "yes":
            return Variables(why="they are in one file with the firmware")
        return _of(None, RAW)
    source = nvram.find("source")
    kind = nvram.get("type", "file")
    if kind != "file":
        return Variables(why=f"they are kept in a source of type '{kind}', which is no file of this host")
    return _of(nvram.text if source is None else source.get("file"), nvram.get("format", RAW))


def _of(path: Optional[str], form: str) -> Variables:
    path = (path or "").strip()
    if not path.startswith("/"):
        return Variables(why="libvirt makes their file when the VM is started")
    return Variables(path, form)
