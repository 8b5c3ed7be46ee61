# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies on disk for a VM: chains as the files tell them, held against libvirt's word, and overlays nobody knows.

Trouble is reported and never raised: this is what an operator looks at when something is broken.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Set
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.library import libvirt, parse
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.chain import (
    Chain,
    problems,
    read,
    to_chain,
    unknown_layers,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.host_files import HostFiles
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.users import (
    files_in,
    named_on_host,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.record import Records
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml import image_disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import Storage
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine


class StorageReader:
    """Reads VMs' storage over one connection. Raises libvirt's own errors, and ``record_unusable``."""

    def __init__(self, connection: Any, records: Records, host_files: HostFiles) -> None:
        self._connection = connection
        self._records = records
        self._host_files = host_files

    def read(self, vm: VirtualMachine, xml: Any, native: Any) -> Storage:
        """Return what lies on disk for the VM whose XML this is."""
        chains = [read(disk) for disk in image_disks(xml)]
        owners = {
            os.path.realpath(disk.file): snapshot.name
            for snapshot in vm.snapshots
            for disk in snapshot.disks
            if disk.file
        }
        record = self._records.read(vm.id)
        overlays = {*owners, *record.overlays, *record.former}
        unknown = unknown_layers(vm.name, chains, overlays)
        if unknown:
            # The overlay of libvirt's own revert is named in a place of its own; few VMs ever come to be asked for it.
            overlays.update(_reverted(native))
            unknown = unknown_layers(vm.name, chains, overlays)
        strangers = self._strangers(vm, native, chains, overlays.union(unknown))
        found = [text for chain in chains for text in problems(chain)]
        if vm.active and vm.persistent:
            found += _other_definition(xml, native)
        return Storage(
            chains=tuple(to_chain(chain, owners) for chain in chains),
            unknown_overlays=(*unknown, *strangers),
            orphans=tuple(strangers),
            problems=tuple(found),
        )

    def _strangers(self, vm: VirtualMachine, native: Any, chains: Iterable[Chain], overlays: Set[str]) -> list[str]:
        tops = {os.path.realpath(str(chain.disk.source)) for chain in chains}
        strangers = self._host_files.strangers(tops, overlays, lambda: named_on_host(self._connection))
        if not strangers:
            return []
        # A snapshot that is taken meanwhile has files before it has a name. Whether a run is at work must be asked first:
        # one that has ended by then has left a snapshot that names them.
        expected = set(self._records.read(vm.id).making) if self._records.held(vm.id) else set()
        for snapshot in native.listAllSnapshots(0):
            expected.update(files_in(parse(snapshot.getXMLDesc(0))))
        return [file for file in strangers if file not in expected]


def _reverted(native: Any) -> Iterator[str]:
    for snapshot in native.listAllSnapshots(0):
        for element in parse(snapshot.getXMLDesc(0)).iterfind("revertDisks"):
            yield from files_in(element)


def _other_definition(running: Any, native: Any) -> list[str]:
    """Tell disks that a running VM would find on another file at its next start."""
    differences = _differences(running, native)
    # Looked at once more: a snapshot may have been taken since the running VM's XML was read.
    return differences and _differences(parse(native.XMLDesc(0)), native)


def _differences(running: Any, native: Any) -> list[str]:
    definition = parse(native.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    defined = {disk.target: disk.source for disk in image_disks(definition)}
    return [
        f"disk {disk.target}: it runs on {disk.source}, but its definition has {other} for the next start"
        for disk in image_disks(running)
        if (other := defined.get(disk.target)) and os.path.realpath(other) != os.path.realpath(str(disk.source))
    ]
