# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which texts of a task are taken: those that XML, libvirt and a terminal keep as they are.

XML has no way to write most control characters, U+FFFE and lone surrogates (lxml refuses them, in the middle of the work),
and reads a carriage return back as a line feed. Libvirt passes over a snapshot's file of more than 1 MiB when it starts, so
that the snapshot would be gone then: it holds the VM's definition twice, and a text that may grow sixfold (``&quot;``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest

MOST_BYTES = 64 << 10  # of one text
MOST_PATH = 4096 - 256  # PATH_MAX, less what a file in it is called
_LOST = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_LOST_OR_BREAK = re.compile(_LOST.pattern[:-1] + r"\t\n\u2028\u2029]")


def check_texts(request: SnapshotRequest) -> None:
    """Raise ``bad_request`` for a text of a snapshot that could not be kept as it is."""
    _check("description", request.description or "", _LOST, MOST_BYTES)
    _check("overlay_dir", request.overlay_dir or "", _LOST_OR_BREAK, MOST_PATH)
    for key, value in (request.labels or {}).items():
        _check("the name of a label", key, _LOST, MOST_BYTES)
        _check(f"label {key[:80]!r}", value, _LOST, MOST_BYTES)


def check_patterns(patterns: Sequence[str]) -> None:
    """Raise ``bad_request`` for a VM's name that no VM can have."""
    for pattern in patterns:
        _check("a name in vms", pattern, _LOST_OR_BREAK, MOST_PATH)


def _check(what: str, text: str, lost: re.Pattern[str], most: int) -> None:
    found = lost.search(text)
    if found:
        where = f"U+{ord(found[0]):04X} as its character number {found.start() + 1}"
        message = f"{what} has {where}: a control character, or one that libvirt's XML cannot hold."
        raise _bad(message, "Remove it. Only line feeds and tabs are allowed, in descriptions and labels.")
    size = len(text.encode())
    if size > most:
        raise _bad(f"{what} has {size} bytes. It may have {most}.", "Make it shorter.")


def _bad(message: str, remedy: str) -> KvmError:
    return KvmError("bad_request", message[0].upper() + message[1:], f"Nothing was changed. {remedy}")
