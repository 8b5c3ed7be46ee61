# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in a record's file, as values: also what a later release wrote, of which this one reads what it knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import Fingerprint, Identity


def fingerprint(values: dict[str, Any], name: Callable[[str], str]) -> Fingerprint:
    """Return the note of an image; ``name`` returns how a noted file is called today. Raises `KeyError` or `TypeError`."""
    parts = known(Identity, values["identity"])
    identity = Identity(**{**parts, "backing": name(parts.get("backing") or "") or None})
    return Fingerprint(**{**known(Fingerprint, values), "identity": identity, "states": tuple(values["states"])})


def known(kind: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Return of what stands in a file what this release knows of a dataclass."""
    names = {one.name for one in fields(kind)}
    return {key: value for key, value in values.items() if key in names}
