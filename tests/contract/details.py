# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `details` holds of each error that more than one backend can raise: the same of every backend.

Every answer of every backend is held against this (`Driver.answer`), so that no test has to ask for it. A key may come, none
goes: plays read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DETAILS: dict[str, frozenset[str]] = {
    code: frozenset(keys.split())
    for code, keys in {
        "agent_unavailable": "",
        "appointment_missed": "",
        "bad_name": "",
        "bad_request": "",
        "bad_state": "",
        "block_job_active": "disk progress",
        "busy": "",
        "chain_mismatch": "disk",
        "chain_too_deep": "layers",
        "connection_failed": "",
        "disk_not_covered": "disk file",
        "disk_not_found": "disks",
        "disks_changed": "removed added replaced",
        "file_missing": "files",
        "group_undecided": "",
        "internal_error": "traceback",
        "libvirt_error": "libvirt_code libvirt_message",
        "locked": "pid",
        "managed_save": "",
        "memory_blocked": "blockers",
        "missing_library": "missing",
        "mixed_chain": "",
        "no_space": "directory free_bytes wanted_bytes reserve_bytes",
        "overlay_dir_unusable": "directory",
        "overlay_failed": "",
        "permission_denied": "",
        "quiesce_failed": "",
        "quiesce_lost": "",
        "record_newer": "written_by version",
        "record_unusable": "",
        "snapshot_changed": "snapshot reasons",
        "snapshot_mismatch": "existing",
        "snapshot_not_found": "",
        "snapshot_protected": "snapshots",
        "thaw_failed": "",
        "timeout": "",
        "transient_domain": "",
        "verification_failed": "",
        "vm_not_found": "pattern names",
    }.items()
}
# What only one backend can know beside that: its own world's words for it.
OWN: dict[str, frozenset[str]] = {
    "libvirt": frozenset({"libvirt_code", "libvirt_message", "job", "closed", "missing", "file"}),
    "qx_node": frozenset({"status", "agent_error", "agent_message"}),
    "mock": frozenset({"path"}),
}


def check(backend: str, result: Mapping[str, Any]) -> None:
    """Assert that each error of a task's result has the details that it has with every backend."""
    for entry in result.get("vms") or [result]:
        code, given = entry.get("error_code"), frozenset(entry.get("details") or ())
        if code in DETAILS:
            wanted = DETAILS[code]
            found = f"{backend}: details of {code} are {sorted(given)}, recorded are {sorted(wanted)}: {entry['msg']}"
            assert wanted <= given, found
            assert given - wanted <= OWN[backend], found
