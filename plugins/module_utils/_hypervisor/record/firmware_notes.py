# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in a VM's record of its UEFI variables and its TPM: the copies of a snapshot, and what is under way with some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Optional, TypeVar

_Note = TypeVar("_Note", bound="_Notes")


@dataclass(frozen=True)
class _Notes:
    @classmethod
    def of(cls: type[_Note], values: Optional[Mapping[str, Any]]) -> Optional[_Note]:
        """Return what stands in a file, less what this release does not know. Raises `TypeError`."""
        if values is None:
            return None
        names = {one.name for one in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in names})


@dataclass(frozen=True)
class FirmwareCopy(_Notes):
    """A copy of a VM's UEFI variables, or of the state of its TPM, that belongs to a snapshot.

    ``form`` is the format of the file that it was made of. ``digest`` tells what is in it, and ``identity`` (inode and birth)
    the file from a later one of its name.
    """

    file: str
    form: str
    size: int
    mtime_ns: int
    digest: str
    identity: Optional[list[Any]] = None


@dataclass(frozen=True)
class FirmwareCopying(_Notes):
    """A copy that is being made: of which file, and to which."""

    source: str
    file: str
    form: str


@dataclass(frozen=True)
class FirmwareReturn(_Notes):
    """A copy that is being put back: into which ``file`` of the VM, by way of the file ``new``.

    What the VM had lies in ``was`` until the revert cannot be undone any more; "" where it had none. ``aside`` has files that
    must not be beside the copy, and where each lies as long.
    """

    file: str
    new: str
    was: str
    aside: dict[str, str] = field(default_factory=dict)


def noted(note: Optional[_Notes]) -> Optional[dict[str, Any]]:
    """Return what stands in a file."""
    return None if note is None else asdict(note)


def by_part(**notes: Optional[_Note]) -> dict[str, _Note]:
    """Return the notes that there are, each by the part of the firmware that it is about."""
    return {part: note for part, note in notes.items() if note}
