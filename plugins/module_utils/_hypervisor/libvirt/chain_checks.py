# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold of a VM before its snapshots are changed, and again when that is done."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libvirt_errors import (
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.backing_chain import (
    adds_nothing,
    agrees,
    disagreement,
    read_chain,
    readable_chains,
    real_chain,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import (
    ENCRYPTED,
    Image,
    read_image,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.new_overlay import own_like
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.read_layers import targets_of
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.any_format_backing import (
    UNREADABLE,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import (
    birth,
    is_same,
    known_as,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.qemu_user import QemuUser
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.moved_disks import last_on
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.qemu_monitor import (
    ASK_QEMU,
    written,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.gone_vms import made_for_gone
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    Saved,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.refusals import (
    definition_changed,
    definition_older,
    frozen_image_written,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.made_overlays import bases
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Record
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk, image_disks
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import chain_mismatch
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.coverage import spoilt_by_overlays
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import SnapshotPlan


def check_chains(handle: VmHandle) -> None:
    """Compare what libvirt says of the chains that snapshots are of with what the files say. Raises ``chain_mismatch``."""
    record, xml = handle.record(), handle.xml()
    of_snapshots = targets_of(handle.saved(), record)
    for disk in image_disks(xml):
        if disk.target in of_snapshots:
            checked_chain(handle.name, disk, record.overlays)
    if handle.active():
        with translated(handle.name, "asking whether it runs"):
            check_written(handle.name, handle.native, xml)


def check_written(vm: str, native: Any, xml: Any) -> None:
    """Raise ``chain_mismatch`` where QEMU writes to other images than libvirt says. Raises `libvirtError` too."""
    files = written(vm, native)
    if files is None:
        return
    for disk in image_disks(xml):
        if not disk.readonly and known_as(str(disk.source)) not in files:
            difference = f"libvirt says it is on {disk.source}, but QEMU does not write there"
            raise chain_mismatch(vm, disk.target, difference, ASK_QEMU.format(vm=vm))


def checked_chain(vm: str, disk: Disk, merged: Collection[str] = ()) -> list[Image]:
    """Return a disk's chain, active layer first, once libvirt and the files agree on it. Raises ``chain_mismatch``.

    ``merged`` are layers of ours that libvirt may still believe to be there, until the VM's next start (see `catch_up`).
    """
    try:
        images = read_chain(str(disk.source), disk.format)
    except (OSError, ValueError) as error:
        raise chain_mismatch(vm, disk.target, f"its backing chain cannot be read: {error}") from error
    for image in images:
        if image.backing_file is not None and not image.backing_format:
            reason = f"{image.file} does not name the format of its backing file, and a guess could destroy data"
            rebase = f"qemu-img rebase -u -F FORMAT -b {image.backing_file} {image.file}"
            raise chain_mismatch(
                vm, disk.target, reason, f"Write the right format into it while the VM is off: {rebase}."
            )
    if disk.backing is not None and not agrees(disk.backing, images, merged):
        raise chain_mismatch(vm, disk.target, disagreement(disk, images))
    return images


def check_frozen(handle: VmHandle, snapshots: Sequence[Saved]) -> None:
    """Raise what `frozen_written` finds first."""
    for error in frozen_written(handle, snapshots):
        raise error


def frozen_written(handle: VmHandle, snapshots: Sequence[Saved]) -> Iterator[KvmError]:
    """Yield ``definition_changed`` and ``frozen_image_written`` where an image that a snapshot has frozen may be written to, or
    where a disk is on an older overlay than the one that it was on last.
    """
    record, were = handle.record(), last_on(handle.record())
    frozen = {real_path(part.frozen): (one.name, part) for one in snapshots for part in one.disks if part.overlay}
    chains = readable_chains({state: part.format for state, (_name, part) in frozen.items()})
    for target, image in handle.tops() if frozen or were else ():
        top, last = real_path(image), were.get(target)
        found = next((frozen[state] for state, chain in chains.items() if top in chain), None)
        if found:
            overlay = str(found[1].overlay)
            yield definition_changed(handle.name, target, image, found[0], overlay, is_there=os.path.lexists(overlay))
        elif last and _is_left(record, last, image, snapshots):
            yield definition_older(handle.name, target, image, last)
    if not frozen:
        return
    around = handle.around()
    for layer, (state, above) in _layers(chains).items():
        for user in around.users.of(layer, around.owner):
            if user.writes and (layer in chains or any(_is_ours(handle, record, one) for one in above)):
                yield frozen_image_written(handle.name, layer, frozen[state][0], user)


def _layers(chains: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, set[str]]]:
    """Return the layers of states, each with the first state it is of, itself where it is one, and the layers right above it."""
    found: dict[str, tuple[str, set[str]]] = {state: (state, set()) for state in chains}
    for state, chain in chains.items():
        for above, layer in zip(chain, chain[1:]):
            found.setdefault(layer, (state, set()))[1].add(above)
    return found


def _is_ours(handle: VmHandle, record: Record, overlay: str) -> bool:
    """Whether we made an overlay, for this VM or for one that is gone: what is under it once was this VM's own.

    What is under any other may be a template: its own VM is defined to write to it for good reason.
    """
    return overlay in record.made or made_for_gone(handle.connection, handle.records, handle.id, overlay)


def _is_left(record: Record, last: str, image: str, snapshots: Iterable[Saved]) -> bool:
    """Whether a disk has left the overlay that it was ``last`` on, and that one has newer data and is still there.

    It is on another branch of ours, or on what is under that overlay, or was before somebody pulled that into the overlay.
    Whoever copies or commits the disk elsewhere takes its data along.
    """
    top, before = real_path(image), real_path(last)
    if top in {before, *record.kept}:  # what is kept is put back on purpose
        return False
    made = record.made.get(last)  # not of an overlay that others made: of that nothing is noted but its name
    if not os.path.lexists(last) or (made is not None and not is_same(made.identity, last)):
        return False
    try:
        below = real_chain(last, "qcow2")
        if top in below or top in bases(record.made, before):
            return _holds_newer(last, image)
        named = {real_path(file) for one in snapshots for file in one.overlays}
        if top not in named.union(record.overlays, record.made):
            return False
        above = real_chain(image, "qcow2")
        return before not in above and not set(above).isdisjoint(below) and not _is_younger(image, last)
    except UNREADABLE:
        return False  # told where chains are checked


def _holds_newer(overlay: str, image: str) -> bool:
    """Whether an overlay has data, and the image under it was written to before that: whoever commits writes to it last."""
    return os.stat(image).st_mtime_ns <= os.stat(overlay).st_mtime_ns and not adds_nothing(overlay)


def _is_younger(image: str, last: str) -> bool:
    """Whether an image was made after another one: no older definition names it."""
    made, before = birth(image), birth(last)
    return made is not None and before is not None and made > before


def refuse_unresolved(vm: str, snapshots: Iterable[Saved]) -> None:
    """Raise ``volume_not_found`` where a snapshot's state is a volume of a pool that does not tell where that lies."""
    for one in snapshots:
        for disk in one.elsewhere:
            if disk.unresolved:
                raise KvmError(
                    "volume_not_found",
                    f"Disk {disk.target} of {vm} in snapshot {one.name!r} cannot be found: {disk.unresolved}.",
                    "Nothing was changed. Make the pool list that volume (virsh pool-start, virsh "
                    "pool-refresh), then run the task again.",
                    disk=disk.target,
                )


def refuse_spoiling(vm: str, images: Mapping[str, Image], snapshots: Iterable[Saved], files: Collection[str]) -> None:
    """Raise ``disk_not_covered`` where an image (by real path) is encrypted or a part of its file: it would be read, and
    written, as what it is not.
    """
    known = {disk.source: disk for one in snapshots for disk in one.vm_disks if disk.source}
    reasons = {real_path(str(source)): spoilt_by_overlays(disk) for source, disk in known.items()}
    for file in files:
        encrypted = file in images and images[file].peculiar == ENCRYPTED
        reason = reasons.get(file) or ("is encrypted" if encrypted else "")
        if reason:
            raise KvmError(
                "disk_not_covered",
                f"{file} of {vm} {reason}: this collection cannot revert to it or merge it.",
                "Nothing was changed. Copy the data out from inside the guest. Or back up the VM, and "
                f"merge its newest overlay yourself while the VM runs: virsh blockcommit {vm} DISK --active --shallow --pivot "
                f"--wait, with the disk's target as DISK; then virsh snapshot-delete {vm} NAME --metadata.",
                disk=None,
                file=file,
            )


def check_taken(
    plan: SnapshotPlan, before: Mapping[str, Disk], now: Mapping[str, Disk], users: Mapping[str, QemuUser]
) -> None:
    """Compare libvirt's word and the files' with the plan: each disk on its overlay, that on what the disk was."""
    for overlay in plan.snapshot.disks:
        disk, base = now[overlay.target], str(before[overlay.target].source)
        try:
            own_like(str(overlay.file), base, users.get(overlay.target))
            below = read_image(str(overlay.file), "qcow2").backing_file
        except (OSError, ValueError) as error:
            raise _not_as_asked(plan.vm.name, overlay.target, f"{overlay.file} cannot be read: {error}") from error
        if disk.source != overlay.file or real_path(str(below)) != real_path(base):
            difference = f"it is on {disk.source}, and {overlay.file} is backed by {below}"
            raise _not_as_asked(plan.vm.name, overlay.target, difference)


def _not_as_asked(vm: str, target: str, difference: str) -> KvmError:
    return KvmError(
        "verification_failed",
        f"Disk {target} of {vm} is not as libvirt was asked to make it for the snapshot: {difference}.",
        "Do not delete any file. Look with vm_snapshot_info and at libvirt's log.",
    )
