# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that VMs are defined on and that are not there now: on what they are based, nobody can tell.

They may be back tomorrow, when their storage is mounted. Only their own directories are unknown for that, or no VM of a host
could be worked on as long as another one lacks its disk: so it is told.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import Mounts

_TABLE = "/etc/fstab"
_UNITS = tuple(
    f"{home}/*.{kind}" for home in ("/etc/systemd/system", "/run/systemd/generator") for kind in ("mount", "automount")
)
_WHERE = re.compile(r"^Where\s*=\s*(/.*?)\s*$", re.MULTILINE)
_MOST_NAMED = 3


def absence(absent: Mapping[str, str], bases: Iterable[str], mounts: Mounts) -> Iterator[str]:
    """Tell of disks that are not there, with whose they are, where any of them may be based on images that are merged into."""
    images = " or ".join(sorted(bases))
    if not absent or not images:
        return
    points = [point for point in declared_mounts() if mounts.of(point).point != point]
    told = [f"{file} of {absent[file]} ({_why(file, points, mounts)})" for file in sorted(absent)[:_MOST_NAMED]]
    more = f", and of {len(absent) - len(told)} more" if len(absent) > len(told) else ""
    yield (
        f"nobody can tell whether a disk that is not there now is based on {images}, which the merge changes: "
        f"{', '.join(told)}{more}. Before its VM is started, see whether it is: qemu-img info --backing-chain FILE"
    )


def _why(file: str, points: Iterable[str], mounts: Mounts) -> str:
    above = [point for point in points if file.startswith(point.rstrip("/") + "/")]
    if above:
        return f"{max(above, key=len)} is not mounted"
    return "the file is not there" if mounts.answers(file) else "its file system does not answer"


def declared_mounts() -> set[str]:
    """Return where file systems are to be mounted on this host, as its administrator has it."""
    found: set[str] = set()
    with suppress(OSError), open(_TABLE, encoding="utf-8", errors="surrogateescape") as table:
        fields = [line.split() for line in table if not line.lstrip().startswith("#")]
        found.update(
            re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), one[1]) for one in fields if len(one) > 1
        )
    for unit in (file for pattern in _UNITS for file in glob.glob(pattern)):
        with suppress(OSError), open(unit, encoding="utf-8", errors="surrogateescape") as text:
            found.update(_WHERE.findall(text.read()))
    return {os.path.normpath(point) for point in found if point.startswith("/")}
