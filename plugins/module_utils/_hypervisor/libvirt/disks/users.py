# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files the domains of a host and their snapshots name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.library import libvirt, parse


def named_on_host(connection: Any) -> Iterator[str]:
    """Yield every file that a domain of the host, as it runs and as it is defined, or one of its snapshots names."""
    for native in connection.listAllDomains(0):
        try:
            texts = [native.XMLDesc(0), native.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)]
            texts += [snapshot.getXMLDesc(0) for snapshot in native.listAllSnapshots(0)]
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                continue  # removed at this very moment
            raise
        for text in texts:
            yield from files_in(parse(text))


def files_in(element: Any) -> Iterator[str]:
    """Yield the real path of every image and memory file named in an element, at whatever depth."""
    for disk in element.iter("disk"):
        for source in disk.iter("source"):
            path = source.get("file") or source.get("dev")
            if path:
                yield os.path.realpath(path)
    for memory in element.iter("memory"):
        if memory.get("file"):
            yield os.path.realpath(memory.get("file"))
