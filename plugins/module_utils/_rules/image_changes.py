# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what a snapshot holds is as it was: what was noted of its images when they froze, against what they are now.

Images are noted once each, not once for each snapshot. So a note carries two numbers, in the order in which snapshots were
taken: from which on it proves something, and before which the image was changed. No clock decides between two snapshots.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import reduce
from typing import Optional

UNCHANGED, CHANGED, UNPROVEN = "unchanged", "changed", "unproven"
# What copying tools keep of a time, in ns: cp -p and rsync all of it, CIFS 100 ns, some a microsecond, tar and scp a second.
_KEPT_BY_COPIES = (1, 100, 1000, 10**9)


@dataclass(frozen=True)
class Identity:
    """An image as a file: ``inode`` and ``device`` are hints only, since copies and reboots change them.

    ``bitmaps`` and ``snapshots`` count what else is kept inside, which is taken away from frozen images too, without harm.
    ``mapping``, of such images only, is a digest of where in it the guest's data lies.
    """

    size: int
    mtime_ns: int
    inode: int = 0
    device: int = 0
    backing: Optional[str] = None
    bitmaps: int = 0
    snapshots: int = 0
    mapping: Optional[str] = None

    @property
    def date(self) -> str:
        """When it was last written to, as results have it."""
        return datetime.fromtimestamp(self.mtime_ns // 10**9, timezone.utc).isoformat()


@dataclass(frozen=True)
class Fingerprint:
    """What is noted of one frozen image.

    ``since`` is the number of the first snapshot for which it proves something; for those before ``changed_before`` the image
    is changed, since ``changed_at``; for others nothing is proven, for the reason ``why``. ``states`` are the keys of
    snapshots whose state it was. ``writing``: this collection is about to write to it, or has just done so.
    """

    identity: Identity
    since: int
    changed_before: int = 0
    changed_at: str = ""
    why: str = ""
    states: tuple[str, ...] = ()
    writing: bool = False


@dataclass(frozen=True)
class Past:
    """What is known of a file's or a snapshot's past, and why it is not `UNCHANGED`."""

    past: str = UNCHANGED
    reasons: tuple[str, ...] = ()


def same(noted: Identity, found: Identity) -> bool:
    """Whether an image is as it was noted, or a copy of that."""
    times = {noted.mtime_ns - noted.mtime_ns % kept for kept in _KEPT_BY_COPIES}
    return noted.size == found.size and found.mtime_ns in times


def difference(note: Fingerprint, found: Identity, gone: Collection[str], active: bool) -> Past:
    """Judge an image that is not as it was noted.

    ``gone`` are the keys of noted snapshots that somebody else removed: libvirt's own delete writes to the state of the
    snapshot it removes, and changes the header of what lies two layers above. ``active``: a disk is on the image.
    """
    noted = note.identity
    if gone and (not set(gone).isdisjoint(note.states) or noted.backing != found.backing):
        return Past(UNPROVEN, ("was written to when others removed a snapshot, as virsh snapshot-delete does",))
    if noted.mapping and not active and noted.mapping == found.mapping and _lost_something(noted, found):
        reason = "was written to when others removed bitmaps or snapshots inside it, as virsh checkpoint-delete does"
        return Past(UNPROVEN, (f"{reason}; nobody can tell whether its data was changed too",))
    return Past(CHANGED, (changed_by_others(found.date),))


def _lost_something(noted: Identity, found: Identity) -> bool:
    """Whether something inside was removed. A merge into the image, which libvirt carries bitmaps through, only adds."""
    fewer = found.bitmaps < noted.bitmaps or found.snapshots < noted.snapshots
    return fewer and found.bitmaps <= noted.bitmaps and found.snapshots <= noted.snapshots


def changed_by_others(date: str) -> str:
    """Return what is said of an image that others wrote to."""
    return f"was changed by others on {date}; nobody knows its content"


def earlier(note: Fingerprint, serial: int, created_at: str) -> Past:
    """Judge an image that is as it was noted, for the snapshot of a number; 0 is one of which none is known."""
    if note.writing:
        return Past(UNPROVEN, ("is being written to, because a removal of this collection has not ended",))
    if serial and serial >= note.since:
        return Past()
    if serial < note.changed_before and (serial or note.changed_at > created_at):
        return Past(CHANGED, (changed_by_others(note.changed_at),))
    return Past(UNPROVEN, (note.why,)) if note.why else not_noted(serial)


def inside() -> Past:
    """Return what is known of an image that has a snapshot inside, and is written to by its VM."""
    return Past(UNPROVEN, ("is still written to, and holds the snapshot inside",))


def not_noted(serial: int) -> Past:
    """Return what is known where nothing was noted when the snapshot was taken."""
    why = "" if serial else ": others took it, or an older release did, or the record is lost"
    return Past(UNPROVEN, (f"was not recorded when the snapshot was taken{why}",))


def together(pasts: Iterable[tuple[str, Past]]) -> Past:
    """Return the past of a snapshot from those of its files: the worst, with a sentence for each that changed."""
    found = list(pasts)
    changed = [f"{file} {reason}" for file, past in found if past.past == CHANGED for reason in past.reasons]
    if changed:
        return Past(CHANGED, tuple(changed))
    unproven: dict[str, list[str]] = {}
    for file, past in found:
        for reason in past.reasons if past.past == UNPROVEN else ():
            unproven.setdefault(reason, []).append(file)
    reasons = tuple(f"{files[0]} {reason}{_and_more(files)}" for reason, files in unproven.items())
    return Past(UNPROVEN, reasons) if reasons else Past()


def _and_more(files: Sequence[str]) -> str:
    return f" (and {len(files) - 1} more)" if len(files) > 1 else ""


def noted_anew(note: Optional[Fingerprint], found: Identity, serial: int, difference_is: Past) -> Fingerprint:
    """Return the note of an image that a snapshot of the number ``serial`` is about to freeze once more.

    What was found out about earlier snapshots stays known.
    """
    if note is None:
        return Fingerprint(found, serial)
    if difference_is.past == UNCHANGED:
        return note
    if difference_is.past == CHANGED:
        return replace(note, identity=found, since=serial, changed_before=serial, changed_at=found.date)
    return replace(note, identity=found, since=serial, why="; ".join(difference_is.reasons))


def before_merge(
    images: Mapping[str, Fingerprint], gone: Sequence[str], base: str, above: Collection[str]
) -> dict[str, Fingerprint]:
    """Return the notes that say which images a merge is about to write to: ``base``, and the headers of those ``above``.

    Of those that are merged into it, ``gone``, highest first, the state of the highest is its state then.
    """
    into = reduce(_merged, (images.get(file) for file in reversed(gone)), images.get(base))
    kept = {file: note for file, note in images.items() if file != base}
    return {**being_written(kept, above), **({base: into} if into else {})}


def being_written(images: Mapping[str, Fingerprint], files: Collection[str]) -> dict[str, Fingerprint]:
    """Return the notes that say which files this collection is about to write to, whatever that will make of them."""
    return {file: replace(note, writing=True) if file in files else note for file, note in images.items()}


def _merged(base: Optional[Fingerprint], top: Optional[Fingerprint]) -> Optional[Fingerprint]:
    """Return the note of an image that another is merged into, whose snapshots' state it will be.

    Nothing is proven of it where nothing was of either; what was changed in either is changed in it.
    """
    if base is None or top is None:
        return None
    worse = max(base, top, key=lambda note: note.changed_before)
    return replace(
        base,
        since=max(base.since, top.since),
        changed_before=worse.changed_before,
        changed_at=worse.changed_at,
        why=base.why or top.why,
        states=top.states,
        writing=True,
    )


def spoilt(snapshots: Iterable[tuple[str, Optional[str], Sequence[str]]]) -> tuple[str, ...]:
    """Return a sentence for each thing that changed, with the snapshots (name, past, reasons) that it spoilt."""
    found: dict[str, list[str]] = {}
    for name, past, reasons in snapshots:
        for reason in reasons if past == CHANGED else ():
            found.setdefault(reason, []).append(repr(name))
    return tuple(f"{reason} (of snapshot {', '.join(names)})" for reason, names in found.items())
