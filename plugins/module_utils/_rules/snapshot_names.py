# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which snapshot names are taken, and how a name becomes part of a file's name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

FILE_NAME_LIMIT = 255  # bytes; ext4, xfs, btrfs and tmpfs alike
_METADATA_SUFFIX = ".xml"  # libvirt keeps a snapshot's metadata in NAME.xml
_LONGEST_FILE_SUFFIX = "-999.memory"  # a number where the name is taken, and what kind of file it is
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_UNSAFE_IN_FILE = re.compile(r"[^\w.+@=-]")


def check_snapshot_name(name: str) -> None:
    """Accept what survives XML, the file system and a shell's ``virsh`` unharmed; raise ``bad_name`` else."""
    reason = _objection(name)
    if reason:
        raise KvmError("bad_name", f"The snapshot name {name!r} {reason}.", "Nothing was changed. Choose another name.")


def _objection(name: str) -> str:
    if not name:
        return "is empty"
    if _CONTROL.search(name):
        return "has a control character or line break in it"
    if name != name.strip():
        return "begins or ends with white space"
    if "/" in name:
        return "has a '/' in it, and libvirt keeps a file of that name"
    if name.startswith((".", "-")):
        return f"begins with {name[0]!r}"
    if len((name + _METADATA_SUFFIX).encode()) > FILE_NAME_LIMIT:
        return f"is longer than a file name may be ({FILE_NAME_LIMIT - len(_METADATA_SUFFIX)} bytes)"
    return ""


def _percent(match: re.Match[str]) -> str:
    """Escape so that two names never become one."""
    return "".join(f"%{byte:02X}" for byte in match[0].encode())


def file_name(*parts: str) -> str:
    """Join parts into a file name that needs no quoting anywhere; raise ``bad_name`` when it gets too long."""
    joined = ".".join(_UNSAFE_IN_FILE.sub(_percent, part) for part in parts)
    if len(joined.encode()) > FILE_NAME_LIMIT - len(_LONGEST_FILE_SUFFIX):
        raise KvmError(
            "bad_name",
            f"The file name {joined!r}, made of VM, disk and snapshot, is longer than a file name may be.",
            "Nothing was changed. Choose a shorter snapshot name.",
        )
    return joined


def name_matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a snapshot's name is among names and globs; one that has a glob's own characters is meant as written.

    White space around one is none of it: a list may have been written as "golden, release-*".
    """
    return name in patterns or any(name == one or fnmatchcase(name, one) for one in map(str.strip, patterns))
