# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a hypervisor: a task with others around, foretold by check mode and held against what it did."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import libvirt
from here import ROOT
from survey import _WHERE, _domain

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.open import open_hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.retention import Retention
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.action import Action
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import Wording, outcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.prune import Prune
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.prune import result as prune_result
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.remove import Absent, named
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.revert import Reverted
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.run import Limits, run
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.take import Present
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import RevertRequest, SnapshotRequest

RECORDS = "/var/lib/limiquantix-kvm"


def task(vm: str, kind: str, name: str = "", **options: Any) -> dict[str, Any]:
    """Ask check mode, then do it; return what both said, and what a refused one changed all the same."""
    told = _entry(vm, _action(kind, name, dict(options)), kind, name, check=True)
    before = _all_there_is(vm)
    done = _entry(vm, _action(kind, name, dict(options)), kind, name, check=False)
    changed = sorted(_differences(before, _all_there_is(vm))) if done["error_code"] else []
    return {"told": told, "done": done, "changed": changed}


def _action(kind: str, name: str, options: dict[str, Any]) -> Action[Any, Any]:
    if kind == "take":
        return Present(SnapshotRequest(name, quiesce="never", **_known(SnapshotRequest, options)))
    if kind == "revert":
        return Reverted(RevertRequest(name, **_known(RevertRequest, options)))
    if kind == "remove":
        return Absent(named(name, bool(options.get("children"))))
    options["names"] = tuple(options["names"]) if "names" in options else None
    return Prune(Retention(**_known(Retention, options)), datetime.now(timezone.utc))


def _known(request: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Leave out what this version of the collection has no option for: then it is as if nobody had asked for that."""
    return {key: value for key, value in options.items() if key in {field.name for field in fields(request)}}


def _entry(vm: str, action: Action[Any, Any], kind: str, name: str, check: bool) -> dict[str, Any]:
    try:
        with open_hypervisor(_WHERE) as hypervisor:
            done = run(hypervisor, [vm], action, Limits(1, 120), check_mode=check)
    except KvmError as error:
        return {"error_code": error.error_code, "msg": error.full_message, "notes": [], "removed": []}
    word = {"take": "taken", "revert": "reverted", "remove": "removed", "prune": "pruned"}[kind]
    whole = prune_result(done, check) if kind == "prune" else outcome(Wording(name, word), done, check)
    entry: dict[str, Any] = whole["vms"][0]
    kept = ("error_code", "msg", "details", "notes", "removed", "files_removed", "orphans_removed", "kept", "recovered")
    return {key: entry[key] for key in kept if key in entry}


def _all_there_is(vm: str) -> dict[str, Any]:
    """Return a mark of each file, record, definition and snapshot: a refused task must not change any."""
    domain = _domain(vm)
    marks: dict[str, Any] = {"definition": domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), "on": domain.isActive()}
    marks.update({f"snapshot {one.getName()}": one.getXMLDesc(0) for one in domain.listAllSnapshots(0)})
    for folder, _folders, names in os.walk(ROOT):
        for path in (f"{folder}/{name}" for name in names):
            status = os.lstat(path)
            marks[path] = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_uid, status.st_mode)
    record = Path(f"{RECORDS}/{domain.UUIDString()}.json")
    marks["record"] = json.loads(record.read_text("utf-8")) if record.exists() else None
    return marks


def _differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [
        f"{key}: {before.get(key)} {after.get(key)}" for key in {*before, *after} if before.get(key) != after.get(key)
    ]
