# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories on shared file systems that a task says are this host's alone: what lies in them may be deleted."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


def exclusive_directories(given: Sequence[str]) -> tuple[str, ...]:
    """Return directories as `lies_in` compares them; raise ``bad_request`` for one that could mean any place.

    An empty variable of a play would mean every shared file system, and so the data of other hosts.
    """
    return tuple(map(_directory, given))


def lies_in(file: str, directories: Sequence[str]) -> bool:
    """Whether a file, by its real path, lies below one of the directories."""
    return any(file.startswith(f"{directory}/") for directory in directories)


def _directory(given: str) -> str:
    parts = [part for part in given.split("/") if part not in ("", ".")]
    if not given.startswith("/") or ".." in parts:
        raise _bad(given, "is no absolute path")
    if not parts:
        raise _bad(given, "would be every file system")
    return "/" + "/".join(parts)


def _bad(given: str, what: str) -> KvmError:
    return KvmError(
        "bad_request",
        f"exclusive_dirs has the entry {given!r}, which {what}.",
        "Nothing was changed. Look for an empty variable. Give the real path of a directory, such as /srv/vms.",
    )
