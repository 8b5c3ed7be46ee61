# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of the first version, which could take snapshots and nothing else, read as all later versions write them."""

from __future__ import annotations

from typing import Any

_NO_NAME = "(its name was not noted)"


def upgraded(values: dict[str, Any]) -> dict[str, Any]:
    """Return what stands in a record's file, with the keys of today.

    The first version noted of a take under way only the files. So those that came to no use are deleted, as always; where
    libvirt has the snapshot already, it needs them, and it stays as one that nobody noted.
    """
    if "quiesced" not in values and "taking" not in values:
        return values
    taking = values.get("taking")
    return {
        "snapshots": {key: {"quiesced": quiesced} for key, quiesced in values.get("quiesced", {}).items()},
        "journal": {"kind": "take", "snapshot": _NO_NAME, "files": taking, "merging": []} if taking else None,
    }
