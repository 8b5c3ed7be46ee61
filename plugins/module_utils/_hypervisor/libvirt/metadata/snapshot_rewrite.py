# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making libvirt's notes on snapshots agree with what lies on the disks, so that the host's own virsh loses nothing.

What virsh does with the overlays that a snapshot names (``disks``) depends on where it stands (qemu_snapshot.c, 9.0 and
11.3), and the wrong name costs data:

* ``snapshot-revert`` (since 9.9) deletes those of the *current* snapshot: they must be the ones the VM is on. With no
  snapshot current it ends the daemon, as ``snapshot-delete`` does.
* ``snapshot-delete`` (since 9.0) deletes those of a leaf that is not current: they must not be in use. Those of any other
  it merges into the snapshot's state, and before 9.9 does so even when other branches are based on that state, or on the
  overlay itself; it refuses where the overlay is not in the VM's chain.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.connection import read_again
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import libvirt
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libvirt_errors import (
    NO_SNAPSHOT,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.pool_volumes import (
    read_snapshot,
    unresolved,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    Saved,
    SavedDisk,
    point_to,
    saved,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import source_path

_SECURE = 1  # VIR_DOMAIN_SNAPSHOT_XML_SECURE
_REDEFINE, _CURRENT = 1, 2  # virDomainSnapshotCreateFlags
_METADATA_ONLY = 2  # virDomainSnapshotDeleteFlags
_REVERTS_SINCE = 9_009_000


@dataclass(frozen=True)
class OnDisk:
    """What lies on disk for a VM, by real paths.

    ``chains`` has each disk's layers by target, active first; ``based_on`` what is based on an image; ``spelled`` how
    libvirt is to be told a path. ``moved`` are images that were merged away, with the path and format that took over. Only
    ``ours`` may be named as a snapshot's overlay: what is named may be deleted later, by this collection and by virsh.
    """

    chains: Mapping[str, Sequence[str]]
    based_on: Mapping[str, Sequence[str]]
    spelled: Mapping[str, str]
    moved: Mapping[str, tuple[str, str]]
    ours: Collection[str]


def current_name(native: Any) -> str | None:
    """Return the name of the snapshot that libvirt calls current. Raises `libvirtError`."""
    return read_again(lambda: native.snapshotCurrent(0).getName() if native.hasCurrentSnapshot(0) else None)


def forget(native: Any, name: str) -> None:
    """Remove what libvirt keeps of a snapshot, and no file; its parent takes its children. May be repeated.

    The children go to their new parent first: libvirt 9.0 rewrites the states of all that are based on a snapshot even
    when only its metadata goes, as if its layers were merged already.
    """
    read_again(lambda: _forget(native, name))  # somebody's virsh may remove it, or a child, at this very moment


def _forget(native: Any, name: str) -> None:
    try:
        going = native.snapshotLookupByName(name, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() == NO_SNAPSHOT:
            return
        raise
    children = going.listAllChildren(0)
    if children:
        parent, current = saved(_described(going)).parent, current_name(native)
        for child in children:
            root = _described(child)
            _set_parent(root, parent)
            _redefine(native, root, child.getName() == current)
    going.delete(_METADATA_ONLY)


def make_root(native: Any, name: str) -> None:
    """Take a snapshot's parent from it: the VM was based on none, whatever libvirt called current."""
    root = _described(native.snapshotLookupByName(name, 0))
    if _set_parent(root, None):
        _redefine(native, root, current=True)


def agree(
    native: Any,
    libvirt_version: int,
    found: Sequence[Saved],
    currents: tuple[str | None, str | None],
    *,
    disk: OnDisk,
    unnamed: Callable[[str], None],
) -> bool:
    """Make every snapshot name the images that are there; return whether any had to be rewritten.

    ``found`` are all its snapshots, ``currents`` the one that the VM is based on and the one that libvirt calls current.
    ``unnamed`` is told of each overlay that its snapshot is about to name no more, by its real path.
    Raises `libvirtError`. May be repeated. Each snapshot is rewritten at once, so that a kill in between leaves none half
    right; a libvirt that must have a current one gets the oldest root where the present is based on none.
    """
    current, called_current = currents
    reverts = libvirt_version >= _REVERTS_SINCE
    makeshift = _oldest_root(found) if reverts and current is None else None
    rewritten = False
    for one in found:
        is_current = one.name == (current or makeshift)
        changed = _follow(one.xml, disk.moved)
        for part in saved(one.xml).disks:
            only_called = one.name == makeshift or (reverts and is_current and _is_far(part, disk))
            wanted = _makeshift(part, disk) if only_called else _overlay(part, disk, reverts)
            if part.overlay is not None and wanted is not None and wanted != real_path(part.overlay):
                unnamed(real_path(part.overlay))
                _name_overlay(one.xml, part.target, disk.spelled.get(wanted, wanted))
                changed = True
        if changed or (is_current and called_current != one.name):
            _redefine(native, one.xml, is_current)
            rewritten = True
    return rewritten


def _oldest_root(found: Sequence[Saved]) -> str | None:
    roots = sorted((one for one in found if one.parent is None), key=lambda one: one.created_at)
    return roots[0].name if roots else None


def _is_far(part: SavedDisk, disk: OnDisk) -> bool:
    """Whether the VM is on an overlay that is not based on a snapshot's state itself: one in between, of a snapshot that was
    removed, is shared with another branch, and a native revert would delete it.
    """
    chain, state = list(disk.chains.get(part.target, ())), real_path(part.frozen)
    return state in chain[2:]


def _makeshift(part: SavedDisk, disk: OnDisk) -> str | None:
    """Return what a snapshot has to name that is called current without being so: the overlay the VM is on.

    A native revert deletes that then, as it should; a native delete finds it based on another image and refuses.
    """
    chain = disk.chains.get(part.target)
    return chain[0] if chain else None


def _overlay(part: SavedDisk, disk: OnDisk, reverts: bool) -> str | None:
    """Return the overlay that a snapshot should name for a disk; None where what it names is right."""
    state = real_path(part.frozen)
    chain = disk.chains.get(part.target, ())
    branches = disk.based_on.get(state, ())
    leading = [above for above, below in zip(chain, chain[1:]) if below == state]
    aside = [one for one in branches if one not in leading]
    ours_aside = [one for one in aside if one in disk.ours]
    named = real_path(str(part.overlay))
    if leading and not reverts and not aside and set(disk.based_on.get(leading[0], ())).difference(chain):
        # Such a libvirt merges the overlay and deletes it, whatever else is based on that.
        return named if named not in chain and not os.path.lexists(named) else _never_there(leading[0])
    if leading and (reverts or not aside):
        return leading[0]
    if leading:
        # A delete by libvirt before 9.9 would write into what the other branch is based on: it refuses what is not in
        # the VM's chain.
        return named if named in aside else _one_of(ours_aside, named)
    if named in branches or not os.path.lexists(named):
        return None
    return _one_of(ours_aside, named)


def _one_of(overlays: Sequence[str], named: str) -> str:
    return overlays[0] if overlays else _never_there(named)


def _never_there(path: str) -> str:
    number, candidate = 1, path + ".gone"
    while os.path.lexists(candidate):
        number += 1
        candidate = f"{path}.gone-{number}"
    return candidate


def _name_overlay(root: Any, target: str, path: str) -> None:
    for disk in root.iterfind("disks/disk"):
        if disk.get("name") == target:
            disk.find("source").set("file", path)


def _follow(root: Any, moved: Mapping[str, tuple[str, str]]) -> bool:
    """Put the disks of a snapshot's domain on the images that took over."""
    changed = False
    for domain in (*root.iterfind("domain"), *root.iterfind("inactiveDomain")):
        for disk in domain.iterfind("devices/disk"):
            path = source_path(disk)
            found = moved.get(real_path(path)) if path else None
            stale = [layer for layer in disk.iter("backingStore") if _names(layer, moved)]
            if found:
                point_to(disk, *found)
            elif stale:
                for layer in disk.findall("backingStore"):
                    disk.remove(layer)
            changed = changed or bool(found or stale)
    return changed


def _set_parent(root: Any, name: str | None) -> bool:
    changed = False
    for parent in root.findall("parent"):
        if name is None:
            root.remove(parent)
        else:
            parent.find("name").text = name
        changed = True
    return changed


def _names(layer: Any, moved: Mapping[str, tuple[str, str]]) -> bool:
    path = source_path(layer)
    return path is not None and real_path(path) in moved


def _described(native: Any) -> Any:
    return read_snapshot(native, _SECURE)


def _redefine(native: Any, root: Any, current: bool) -> None:
    for stale in root.findall("revertDisks"):
        root.remove(stale)
    native.snapshotCreateXML(unresolved(root), _REDEFINE | (_CURRENT if current else 0))
