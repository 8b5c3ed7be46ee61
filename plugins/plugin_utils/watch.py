# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is at work on the VMs of a fleet, from what vm_snapshot_info told on every host now and at earlier polls.

Pure: no clock. A host or VM that tells nothing is unknown, and never one where nothing runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.merge import LayerPace, as_time
from ansible_collections.limiquantix.kvm.plugins.plugin_utils.fleet_report import DOING, nowhere, when

Entry = Mapping[str, Any]
# A merge's first percent since it last began to rise, and when that was seen: the longer ago, the better the estimate.
Seen = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Work:
    """An operation that a VM has at this moment, and what it is told apart by from poll to poll."""

    where: str
    key: str
    operation: Entry


def progress(found: Mapping[str, Entry], before: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return what is at work; ``before`` is what this returned at the last poll, ``now`` seconds of any clock that only rises.

    ``idle`` counts the polls in a row at which nothing was at work and the same was unknown: between two merges of a removal, and
    between two removals of a run, there is a moment in which nothing is, and a host may not answer just once.
    """
    works = list(_works(found))
    # Also where no run waits for it: QEMU goes on with a merge that took a task too long.
    running = [work for work in works if not work.operation["interrupted"]]
    told_nothing = dict(_unknown(found))
    unknown = list(told_nothing.values())
    same = sorted(told_nothing) == before.get("silent")
    seen = {work.key: _first(work, before.get("seen", {}), now) for work in running}
    started = before.get("started", now)
    return {
        "started": started,
        "seconds": now - started,
        "seen": seen,
        "lines": [*(_line(work, seen[work.key], now) for work in running), *unknown],
        "running": [work.where for work in running],
        "unknown": unknown,
        "silent": sorted(told_nothing),
        "idle": 0 if running else before["idle"] + 1 if before.get("idle") and same else 1,
        "vms": sum(len(result.get("vms") or ()) for result in found.values()),
        "interrupted": [work.where for work in works if work.operation["interrupted"]],
    }


def _works(found: Mapping[str, Entry]) -> Iterator[Work]:
    for host in sorted(found):
        for vm in found[host].get("vms") or ():
            if not vm["failed"] and vm["operation"]:
                operation = vm["operation"]
                key = "/".join((host, vm["uuid"], operation["kind"], operation["snapshot"], operation["started_at"]))
                yield Work(f"{host}: {vm['vm']}", key, operation)


def _unknown(found: Mapping[str, Entry]) -> Iterator[tuple[tuple[str, str], str]]:
    for host in sorted(found):
        result = found[host]
        vms = result.get("vms")
        if vms is None or (result.get("error_code") and not vms):
            yield (host, ""), f"{host}: unknown. {result.get('msg') or 'The host was not asked.'}"
        for vm in vms or ():
            if vm["failed"]:
                yield (host, vm["vm"]), f"{host}: {vm['vm']}: unknown. {vm['msg']}"
            elif vm["problems"] is None:
                yield (host, vm["vm"]), f"{host}: {vm['vm']}: unknown. qx-node does not tell what runs."
    yield from ((("", name), f"{name}: unknown. No host that answered has such a VM.") for name in nowhere(found))


def _first(work: Work, seen: Seen, now: float) -> dict[str, float]:
    """Return where this merge's estimate begins: anew with each layer, as the percent is that of one layer."""
    percent, first = work.operation["percent"], seen.get(work.key)
    return {} if percent is None else vars(LayerPace.seen(_pace(first) if first else None, percent, now))


def _pace(seen: Mapping[str, Any]) -> LayerPace:
    return LayerPace(**seen)


def _line(work: Work, first: Mapping[str, float], now: float) -> str:
    operation = work.operation
    what = f"{work.where}: {DOING[operation['kind']]} snapshot {operation['snapshot']}"
    if not first:
        return f"{what}, since {when(operation['started_at'])}"
    left = operation["seconds_left"]  # by the run that waits for it, which has seen more of it than this playbook
    left = _pace(first).seconds_left(now) if left is None else left
    time_left = "time left not known yet" if left is None else f"about {as_time(left)} left"
    return f"{what}, {operation['percent']} % of a layer, {time_left}"


def told(result: Mapping[str, Any]) -> str:
    """Return in one line what is left."""
    running, unknown, interrupted = result["running"], result["unknown"], result["interrupted"]
    if running:
        said = f"Still at work: {', '.join(running)}."
    else:
        said = "Nothing is at work on the hosts that answered." if unknown else "Nothing is at work any more."
    if not result["vms"]:
        said += " No VM that is meant was found. Correct snapshot_vms, or see whether snapshot_uri is right."
    if interrupted:
        said += f" Interrupted, and finished or undone by the next run on the VM: {', '.join(interrupted)}."
    return f"{said} Unknown: {len(unknown)}, see above." if unknown else said
