# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All layers of one VM as they were read off the disks, and why some of them stay as they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import (
    Image,
    read_image,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.any_format_backing import (
    UNREADABLE,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import (
    is_hard_linked,
    is_same,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_users import User
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.users.surroundings import (
    Surroundings,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import Saved
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.snapshot_rewrite import (
    OnDisk,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Made, Record
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import MOST_LAYERS, Layers, gone, steps

_ANOTHER = "another file has this name now: it is not the overlay that was made"


@dataclass
class Forest:
    """All layers of one VM, by real paths. ``tops`` has the active layer of each disk, ``running`` whether QEMU has them.

    ``why`` says of a layer why it stays as it is or is not deleted; ``detached`` are overlays of disks that the VM no longer
    has, with the disk's target; ``pulled`` are such into which others took all that was below; ``shared`` lie where other
    hosts may use them, ``others`` have users beside the VM, and ``late`` says why it stays of one that was to be merged.
    """

    layers: Layers
    tops: dict[str, str]
    running: bool
    images: dict[str, Image] = field(default_factory=dict)
    spelled: dict[str, str] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    detached: dict[str, str] = field(default_factory=dict)
    pulled: set[str] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    late: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Forest:
        """Return the same once more, to see what steps would make of it."""
        return replace(self, layers=self.layers.copy())

    def chain(self, file: str) -> list[str]:
        """Return an image and all it is backed by."""
        return chain_of(self.layers.backing, file)

    def format(self, file: str) -> str:
        """Return an image's format."""
        return self.images[file].format

    def on_disk(self, moved: Mapping[str, tuple[str, str]]) -> OnDisk:
        """Return what snapshots' metadata have to agree with."""
        return OnDisk(
            chains={target: self.chain(top) for target, top in self.tops.items()},
            based_on={file: self.layers.above(file) for file in self.layers.backing},
            spelled=self.spelled,
            moved=moved,
            ours=self.layers.ours,
        )

    def leave_to_others(
        self, own: Collection[str], snapshots: Iterable[Saved], around: Surroundings, also: Mapping[str, str]
    ) -> None:
        """Fix every layer that somebody else uses or builds upon, and all that is under it; ``also`` has further reasons."""
        using = {file: _using(users) for file in own if (users := around.users.of(file, around.owner))}
        reasons = {**also, **using}
        for file in own:
            unknown = around.why_unknown(file)
            if unknown:
                reasons.setdefault(file, f"nobody can tell who uses it: {unknown}")
        for file in set(own) - self.layers.active:
            if is_hard_linked(file):
                reasons.setdefault(file, "it has another name too (a hard link), which may be a backup's")
        for snapshot in snapshots:
            for file in snapshot.also_defined:
                reasons.setdefault(real_path(file), f"the definition in snapshot {snapshot.name!r} names it")
        self.others = set(reasons)
        strangers = self.layers.backing.keys() - set(own) - self.layers.ours
        for file in sorted(strangers | reasons.keys() & self.layers.backing.keys()):
            if file in reasons:
                self._fix(file, reasons[file])
            why = f"{file} is based on it" if file in strangers else f"{file} is based on it, and {reasons[file]}"
            for below in self.chain(file)[1:]:
                self._fix(below, why)

    def leave_to_newcomers(self, now: Forest, merged: Collection[str]) -> None:
        """Fix what somebody has begun to use, or built upon, since this was read; ``now`` is the same, read after a merge."""
        fresh = (now.layers.backing.keys() - self.layers.backing.keys() - set(merged)) | (now.others - self.others)
        for file in sorted(fresh):
            for layer in now.chain(file):
                self.leave(layer, now.why.get(layer, f"{file} has come meanwhile"))

    def leave(self, file: str, why: str) -> None:
        """Fix a layer that was to be merged, or merged into, for a reason that came up only now."""
        if file not in self.layers.fixed:
            self.late[file] = why
            self._fix(file, why)

    def late_notes(self) -> tuple[str, ...]:
        """Return what to tell of layers that stay though nothing spoke against it when all was planned."""
        layers = self.layers
        stay = layers.released.intersection(self.late, layers.backing) - layers.frozen - layers.active
        return tuple(
            f"{self.spelled.get(file, file)} stays a layer of its own, because {self.late[file]}"
            for file in sorted(stay)
        )

    def keep_sizes(self, in_part: Collection[str]) -> None:
        """Fix every image that is larger than one based on it: merged, the disk would grow by what was there before.

        Of images that a disk uses only ``in_part`` (a slice, behind a LUKS header) the size is not the disk's.
        """
        for file, below in self.layers.backing.items():
            overlay, image = self.images.get(file), self.images.get(below or "")
            if overlay and image and below not in in_part and image.virtual_size > overlay.virtual_size:
                self._fix(str(below), f"it is larger than {file}, which is based on it")

    def _fix(self, file: str, why: str) -> None:
        self.layers.fixed.add(file)
        self.why.setdefault(file, why)

    def keep(self, record: Record, around: Surroundings) -> None:
        """Keep overlays that are not to be deleted: of a disk the VM no longer has, another file by now, on shared storage."""
        # Others put the VM elsewhere: only this file may have what was written last. What was said to be kept is there.
        for file in {*record.kept, *record.active.values()}.intersection(self.unneeded()):
            self._detach(file, record)
        self.keep_detached(record)
        for file in sorted(self.layers.ours - self.layers.active):
            made = record.made.get(file)
            mount = around.files.mounts.of(file)
            if made and not is_same(made.identity, file):
                self._keep(file, _ANOTHER)
            elif mount.shared:
                self.shared.add(file)
                self._keep(file, f"it is on shared storage ({mount.kind} at {mount.point}), which another host may use")
        for file, made in record.made.items():
            if self._is_pulled(file, made, around):
                self.pulled.add(file)
                self._detach(file, record)

    def keep_detached(self, record: Record, under: Collection[str] = ()) -> None:
        """Keep the overlays of disks that the VM does not have; it is on images that are based on those ``under`` it too."""
        known = self.layers.frozen | self.layers.released | self.layers.ours
        current = {layer for top in (*self.layers.active, *under) for layer in self.chain(top)} & known
        for file in sorted(self.layers.ours - self.layers.active):
            if not current.intersection(self.chain(file)):
                self._detach(file, record)

    def stop_passing(self, targets: Iterable[str]) -> None:
        """Take off the overlays of transient disks, by target, which libvirt deletes when the VM stops."""
        for target in targets:
            passing = self.tops[target]
            below = self.layers.backing.pop(passing, None)
            self.layers.active.discard(passing)
            if below:
                self.layers.active.add(below)
                self.tops[target] = below

    def go_back(self, states: Mapping[str, str], record: Record) -> list[str]:
        """Put disks, by target, on new overlays on ``states``; return the files that go with that."""
        self.layers.active -= {self.tops[target] for target in states if target in self.tops}
        self.keep_detached(record, states.values())
        for file in (self.layers.ours - self.layers.active).intersection(record.made):
            if not is_same(record.made[file].identity, file):
                self._keep(file, _ANOTHER)
        return [self.spelled.get(file, file) for file in gone(steps(self.layers, merging=False))]

    def _detach(self, file: str, record: Record) -> None:
        made = record.made.get(file)
        if made and not is_same(made.identity, file):
            self._keep(file, _ANOTHER)
            return
        self.detached[file] = made.target if made else ""
        self._fix(file, "it has the data of a disk that the VM no longer has")

    def _is_pulled(self, file: str, made: Made, around: Surroundings) -> bool:
        """Whether an overlay of ours is based on nothing any more (``virsh blockpull``), and nobody is on it.

        No chain leads to it or from it, so that only the record knows of the data in it.
        """
        layers, below = self.layers, self.layers.backing
        if below.get(file) is not None or file in layers.frozen | layers.active or layers.above(file):
            return False
        if around.users.of(file, around.owner) or around.files.above(file) or not around.files.mounts.answers(file):
            return False
        try:
            return is_same(made.identity, file) and read_image(file, "qcow2").backing_file is None
        except UNREADABLE:
            return False

    def unneeded(self) -> list[str]:
        """Return the overlays of ours on which nothing of the VM is, or is based; somebody else's may be based on them."""
        layers = self.layers
        own = layers.ours | layers.frozen | layers.active
        alone = {one for one in layers.ours - layers.frozen - layers.active if own.isdisjoint(layers.above(one))}
        return sorted(alone | self.pulled)

    def used_by_others(self, file: str) -> bool:
        """Whether somebody beside the VM uses a layer, or nobody can tell."""
        return file in self.others

    def _keep(self, file: str, why: str) -> None:
        self.layers.kept.add(file)
        self.why.setdefault(file, why)


def _using(users: Iterable[User]) -> str:
    names = sorted({str(user) for user in users})
    return f"{' and '.join(names)} {'uses' if len(names) == 1 else 'use'} it"


def chain_of(backing: Mapping[str, str | None], file: str) -> list[str]:
    chain: list[str] = []
    following: str | None = file
    while following is not None and len(chain) <= MOST_LAYERS:
        chain.append(following)
        following = backing.get(following)
    return chain
