# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies on disk for a VM: chains as the files tell them, held against libvirt's word, and overlays nobody knows.

Trouble is reported and never raised: this is what an operator looks at when something is broken.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.connection import (
    snapshot_texts,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import (
    libvirt,
    parse,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.pool_volumes import (
    read_domain,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.backing_chain import (
    Chain,
    problems,
    read,
    to_chain,
    unknown_layers,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.state_file import is_ours
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import is_same
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.host_overlays import HostFiles
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.gone_vms import made_for_gone
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import (
    Record,
    Records,
    snapshot_key,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import (
    disks,
    image_disks,
    stays_on,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.named_files import named_files
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import spoilt
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
            real_path(disk.file): snapshot.name for snapshot in vm.snapshots for disk in snapshot.disks if disk.file
        }
        record = self._records.read(vm.id)
        overlays = {*owners, *record.overlays, *map(real_path, record.former)}
        unknown = unknown_layers(vm.name, chains, overlays)
        if unknown:
            # The overlay of libvirt's own revert is named in a place of its own; few VMs ever come to be asked for it.
            overlays.update(_reverted(native))
            unknown = unknown_layers(vm.name, chains, overlays)
        strangers = self._strangers(vm, native, chains, overlays.union(unknown))
        found = [text for chain in chains for text in problems(chain)]
        found += _stopped_by_its_disks(vm, native)
        found += spoilt((one.name, one.past, one.past_reasons) for one in vm.snapshots)
        found += [f"disk {disk.target}: {disk.unresolved}" for disk in disks(xml) if disk.unresolved]
        if vm.active and vm.persistent:
            found += _other_definition(xml, native)
        return Storage(
            chains=tuple(to_chain(chain, owners) for chain in chains),
            unknown_overlays=(*unknown, *strangers),
            orphans=(*self._orphans(strangers, vm, record, chains), *_copies_left(record, vm)),
            problems=tuple(found),
        )

    def _orphans(
        self, strangers: Sequence[str], vm: VirtualMachine, record: Record, chains: Iterable[Chain]
    ) -> tuple[str, ...]:
        """Return the overlays that this collection made, less those on which somebody else's is based.

        Only what is based on the disks that the VM has, whose layers are ``chains``: of another disk it may be the newest data.
        None on a shared file system, where another host's VM may use it.
        """
        if not strangers:
            return ()
        layers = {real_path(image.file) for chain in chains for image in chain.images}
        of_its_disks = {file for layer in layers for file in self._host_files.all_above(layer)}
        own = [file for file in strangers if not self._host_files.mounts.of(file).shared]
        stale = {file for image in _written(chains, vm, record) for file in self._host_files.all_above(image)}
        made = [file for file in own if file in of_its_disks and self._is_made_here(file, vm, record, stale)]
        # On somebody else's image, be it based on this VM's disk, it is the newest of that one.
        between = of_its_disks.difference(made, layers, record.made, record.overlays)
        of_others = {file for image in between for file in self._host_files.all_above(image)}
        return tuple(file for file in made if file not in of_others and self._host_files.all_above(file).issubset(made))

    def left_by_others(self, vm: VirtualMachine, xml: Any, native: Any) -> tuple[str, ...]:
        """Return what to tell of overlays on the images of a VM without snapshots that nothing uses: they stay for ever."""
        record = self._records.read(vm.id)
        chains = [read(disk) for disk in image_disks(xml)]
        strangers = self._strangers(vm, native, chains, {*record.overlays, *record.former})
        orphans = self._orphans(strangers, vm, record, chains)
        others = [file for file in strangers if file not in orphans]
        why = (
            f"that no VM and no snapshot uses, based on an image of {vm.name}; while they are there, layers "
            "cannot be merged"
        )
        notes = []
        if orphans:
            how = f"To delete them, run vm_snapshot_prune with vms: {vm.name} and orphans: true"
            notes.append(f"there are overlays {why}: {', '.join(orphans)}. {how}")
        if others:
            how = (
                "This collection does not delete them: somebody else made them, or may need them, such as a VM that moved "
                "to another host. Find out whose each one is, and keep what you do not know"
            )
            notes.append(f"there are overlays {why}: {', '.join(others)}. {how}")
        return tuple(notes)

    def _strangers(self, vm: VirtualMachine, native: Any, chains: Iterable[Chain], overlays: Set[str]) -> list[str]:
        files = self._host_files
        layers = [image for chain in chains for image in chain.images]
        under = {real_path(str(image.backing_file)) for image in layers if real_path(image.file) in overlays}
        under |= {real_path(disk.base) for one in vm.snapshots for disk in one.disks if disk.base}
        own = {real_path(str(chain.disk.source)) for chain in chains} | overlays | under
        files.look_into({os.path.dirname(file) for file in own})
        if all(above in own for file in own for above in files.above(file, own)):
            return []
        users = files.users(self._connection)
        # A VM may have its image elsewhere, on an overlay that lies here.
        files.look_around(users.directories)
        strangers = files.strangers(own, own, users)
        if not strangers:
            return []
        # A snapshot that is taken meanwhile has files before it has a name. Whether a run is at work must be asked first:
        # one that has ended by then has left a snapshot that names them.
        expected = set(self._records.read(vm.id).making) if self._records.held(vm.id) else set()
        for text in snapshot_texts(native):
            expected.update(real_path(named.path) for named in named_files(parse(text)))
        return [file for file in strangers if file not in expected]

    def _is_made_here(self, file: str, vm: VirtualMachine, record: Record, stale: Set[str]) -> bool:
        """Whether this collection made an overlay, for this VM or for one that is gone, and the file is still that one.

        Not where nobody can tell who needs it. One that is gone may run on another host, which this one serves the file to: its
        overlay is of use to nobody only if it is ``stale``, based on what this VM has written to since.
        """
        if self._host_files.why_unknown(file) or self._host_files.users(self._connection).why_unknown(file):
            return False
        if file in record.made:
            return is_same(record.made[file].identity, file)
        if file in record.overlays:
            return True  # noted before identities were
        return file in stale and made_for_gone(self._connection, self._records, vm.id, file)


def _written(chains: Iterable[Chain], vm: VirtualMachine, record: Record) -> Iterator[str]:
    """Yield the images that this VM writes to, or wrote to until a snapshot froze them; a template under a clone is none."""
    named = (disk.file for one in vm.snapshots for disk in one.disks if disk.file)
    overlays = {*record.made, *record.overlays, *map(real_path, named)}
    for chain in chains:
        for image in chain.images:
            yield (file := real_path(image.file))
            if file not in overlays:
                break


def _copies_left(record: Record, vm: VirtualMachine) -> tuple[str, ...]:
    """Return the copies of UEFI variables and TPMs whose snapshots others removed."""
    if record.journal:
        return ()
    keys = {snapshot_key(one.name, one.created_at) for one in vm.snapshots}
    copies = (copy for key, note in record.snapshots.items() if key not in keys for copy in note.copies.values())
    return tuple(copy.file for copy in copies if is_ours(copy))


def _reverted(native: Any) -> Iterator[str]:
    for text in snapshot_texts(native):
        for element in parse(text).iterfind("revertDisks"):
            yield from (real_path(named.path) for named in named_files(element))


def paused_by_disks(vm: VirtualMachine, native: Any) -> bool:
    """Whether QEMU has paused the VM because of an I/O error. Raises `libvirtError`."""
    return vm.power == "paused" and bool(native.state()[1] == libvirt.VIR_DOMAIN_PAUSED_IOERROR)


def _stopped_by_its_disks(vm: VirtualMachine, native: Any) -> list[str]:
    """Tell that QEMU has paused the VM because of a disk: it stays so until somebody resumes it."""
    if not paused_by_disks(vm, native):
        return []
    full = libvirt.VIR_DOMAIN_DISK_ERROR_NO_SPACE
    disks = [
        f"{target} ({'no room left' if code == full else 'error'})" for target, code in native.diskErrors().items()
    ]
    return [
        f"{vm.name} is paused because of an I/O error of its disks "
        f"{', '.join(sorted(disks)) or '(libvirt does not say which)'}: make room or repair the storage, "
        f"then run: virsh resume {vm.name}"
    ]


def _other_definition(running: Any, native: Any) -> list[str]:
    """Tell disks that a running VM would find on another file at its next start."""
    differences = _differences(running, native)
    # Looked at once more: a snapshot may have been taken since the running VM's XML was read.
    return differences and _differences(read_domain(native), native)


def _differences(running: Any, native: Any) -> list[str]:
    definition = read_domain(native, libvirt.VIR_DOMAIN_XML_INACTIVE)
    defined = {disk.target: disk.source for disk in image_disks(definition)}
    return [
        f"disk {disk.target}: it runs on {disk.source}, but its definition has {other} for the next start; put the right one "
        f"there before you stop the VM: virsh edit {running.findtext('name')}"
        for disk in image_disks(running)
        if (other := defined.get(disk.target)) and real_path(other) != real_path(str(stays_on(disk)))
    ]
