# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A group of VMs on several hosts, as the controller sees it: clocks, appointment, was it one moment, who decides it later.

Times are seconds. Each host counts from its own start, the controller by its own monotonic clock: nobody can set either.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Sample = tuple[float, float, float]  # the controller asked, what the host's clock showed, the controller had the answer
TICK = 0.01  # /proc/uptime shows hundredths, and drops the rest

# How long a group is held: until all on a host stand still, and until their disks are switched. Seen: 5 ms to suspend a VM, 0.1 s
# to switch three at once.
_TO_HOLD, _TO_HOLD_EACH, _TO_FREEZE = 0.15, 0.03, 0.5
_TO_SWITCH, _TO_SWITCH_EACH = 0.3, 0.08
_ARMING, _ARMING_FACTOR = 3.0, 1.5  # beside what looking at all hosts took


def reading(samples: Iterable[Sample], boot_id: str) -> dict[str, Any]:
    """Return by how much a host's clock is ahead of the controller's, within ``bound``: by the quickest answer.

    The host looked at its clock somewhere between question and answer.
    """
    asked, shown, answered = min(samples, key=lambda one: one[2] - one[0])
    low, high = shown - answered, shown + TICK - asked
    return {"boot_id": boot_id, "ahead": (low + high) / 2, "bound": (high - low) / 2, "read_at": answered}


@dataclass(frozen=True)
class Clock:
    """A host's clock, read before and after: ``ahead`` of the controller's within ``bound`` all the time between."""

    ahead: float
    bound: float

    @classmethod
    def between(cls, before: Mapping[str, Any], after: Mapping[str, Any]) -> Clock:
        """Return it from two readings; between these it has drifted from one to the other."""
        drift = abs(after["ahead"] - before["ahead"]) / 2
        return cls((before["ahead"] + after["ahead"]) / 2, max(before["bound"], after["bound"]) + drift)

    def here(self, shown: float) -> float:
        """Return the time on the controller's clock at which the host's has shown a time."""
        return shown - self.ahead


def appointment(
    clocks: Mapping[str, Mapping[str, Any]],
    members: Mapping[str, Sequence[str]],
    max_hold: float,
    now: float,
    **how: Any,
) -> dict[str, Any]:
    """Return for each host when it does what, on its own clock; or why that cannot be, as ``refusal``.

    ``how`` may say ``freezes`` (some guests are frozen) and ``whole`` (take all of ``max_hold``).
    """
    most = max(len(here) for here in members.values())
    bound = max(clocks[host]["bound"] for host in members)
    to_hold = _TO_HOLD + _TO_HOLD_EACH * most + 2 * bound + (_TO_FREEZE if how.get("freezes") else 0)
    to_switch = _TO_SWITCH + _TO_SWITCH_EACH * most + 2 * bound
    needed = to_hold + to_switch
    if needed > max_hold:
        why = f"{most} VMs on one host, and clocks that can be read to {bound * 1000:.0f} ms, need {needed:.1f} s"
        return {"refusal": f"The group would be held for longer than snapshot_max_hold ({max_hold:g} s) allows: {why}."}
    if how.get("whole"):
        to_hold, to_switch = (part * 0.9 * max_hold / needed for part in (to_hold, to_switch))
    took = now - min(clocks[host]["read_at"] for host in members)
    begin = now + _ARMING + _ARMING_FACTOR * took
    moments = {"begin": 0.0, "cut": to_hold, "release": to_hold + to_switch, "hard_end": max_hold}
    hosts = {
        host: {
            "boot_id": clocks[host]["boot_id"],
            **{name: begin + after + clocks[host]["ahead"] for name, after in moments.items()},
        }
        for host in members
    }
    every = sorted(one for here in members.values() for one in here)
    return {
        "refusal": "",
        "group": str(uuid.uuid4()),
        "members": every,
        "hosts": hosts,
        "wait": begin + moments["release"] - now,
    }


def verdict(members: Mapping[str, Sequence[str]], hosts: Mapping[str, Mapping[str, Any]], group: str) -> dict[str, Any]:
    """Return whether all members stood still while the disks of all were switched.

    Each of ``hosts`` has its two clock readings, ``before`` and ``after``, and ``taken``, what the module returned. Without proof
    the answer is no. ``again`` tells that nothing but time was in the way.
    """
    reasons: list[str] = []
    late = False
    held: list[tuple[float, float, float, float]] = []
    longest, bound = 0.0, 0.0
    for host, uuids in members.items():
        known = hosts.get(host) or {}
        stamps, lost, missed = _stamps(host, uuids, known, group)
        reasons += lost
        late = late or missed
        if lost:
            continue
        clock = Clock.between(known["before"], known["after"])
        bound = max(bound, clock.bound)
        for one in stamps:
            longest = max(longest, one["released"] - one["began"])
            held.append(
                (
                    clock.here(one["held"]) + clock.bound,
                    clock.here(one["switched_from"]) - clock.bound,
                    clock.here(one["switched_to"]) + clock.bound,
                    clock.here(one["released"]) - clock.bound,
                )
            )
    window = 0.0
    if not reasons:
        last_held, first_switch = max(one[0] for one in held), min(one[1] for one in held)
        last_switch, first_release = max(one[2] for one in held), min(one[3] for one in held)
        window = last_switch - first_switch
        if last_held >= first_switch:
            reasons.append(
                f"a disk may have been switched {_ms(last_held - first_switch)} ms before all VMs stood still"
            )
        if last_switch >= first_release:
            reasons.append(
                f"a VM may have gone on {_ms(last_switch - first_release)} ms before all disks were switched"
            )
        late = bool(reasons)
    return {
        "id": group,
        "consistent": not reasons,
        "window_ms": _ms(window),
        "longest_hold_ms": _ms(longest),
        "clock_bound_ms": _ms(bound),
        "members": sum(map(len, members.values())),
        "reasons": reasons,
        "again": late and all(host in hosts for host in members),
    }


def _stamps(
    host: str, uuids: Sequence[str], known: Mapping[str, Any], group: str
) -> tuple[list[Mapping[str, Any]], list[str], bool]:
    """Return the times of a host's members, why they prove nothing, and whether they were too late only."""
    taken = known.get("taken") or {}
    answer = taken.get("group") or {}
    failed = [one for one in taken.get("vms") or () if one["failed"]]
    if failed:
        missed = all(one["error_code"] == "appointment_missed" for one in failed)
        return [], [f"{host}: {one['msg']}" for one in failed], missed
    if not answer.get("members") or answer["id"] != group or not known.get("before") or not known.get("after"):
        return [], [f"{host} did not say how its VMs were held ({taken.get('msg') or 'no answer'})"], False
    if len({known["before"]["boot_id"], known["after"]["boot_id"], answer["boot_id"]}) > 1:
        return [], [f"{host} was started anew meanwhile"], False
    stamps = answer["members"]
    lost = [f"{host}: it did not say how the VM {one} was held" for one in uuids if one not in stamps]
    lost += [f"{host}: {stamps[one]['disturbed']} (VM {one})" for one in uuids if stamps.get(one, {}).get("disturbed")]
    return [stamps[one] for one in uuids if one in stamps], lost, False


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


@dataclass(frozen=True)
class _Seen:
    """A snapshot of a group, on some host."""

    host: str
    uuid: str
    group: str
    members: frozenset[str]
    pending: bool
    running: bool


def _seen(hosts: Mapping[str, Mapping[str, Any]], name: str) -> list[_Seen]:
    found = []
    for host, told in hosts.items():
        for vm in told.get("vms") or ():
            running = bool((vm.get("operation") or {}).get("running"))
            for one in vm.get("snapshots") or ():
                labels = one.get("labels") or {}
                if one["name"] == name and "group" in labels:
                    members = frozenset(filter(None, labels.get("group_members", "").split(",")))
                    pending = "group_pending" in labels
                    found.append(_Seen(host, vm["uuid"], labels["group"], members, pending, running))
    return found


def pending(hosts: Mapping[str, Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    """Return what becomes of each group of that name that is not confirmed everywhere.

    ``hosts`` are those that answered, with what vm_snapshot_info told. Confirmed on one host: the rest is confirmed. All members
    seen, none confirmed, and nobody at work: it is undone. Else nobody knows, and it stays.
    """
    by_group: dict[str, list[_Seen]] = defaultdict(list)
    for one in _seen(hosts, name):
        by_group[one.group].append(one)
    here = {vm["uuid"] for told in hosts.values() for vm in told.get("vms") or () if not vm.get("failed")}
    at_work = {
        vm["uuid"]
        for told in hosts.values()
        for vm in told.get("vms") or ()
        if (vm.get("operation") or {}).get("running")
    }
    decided = []
    for group, found in sorted(by_group.items()):
        waiting = [one for one in found if one.pending]
        if not waiting:
            continue
        members = frozenset().union(*(one.members for one in found))
        unseen = sorted(members - here)
        step = "undo"
        if len(waiting) < len(found):
            step = "confirm"
        elif unseen or members & at_work:
            step = "undecided"
        where: dict[str, list[str]] = defaultdict(list)
        for one in waiting:
            where[one.host].append(one.uuid)
        decided.append({"group": group, "step": step, "unseen": unseen, "hosts": dict(where)})
    return decided


def whole(hosts: Mapping[str, Mapping[str, Any]], name: str, selected: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the confirmed group that the selected VMs are, as ``group``; or why they are none, as ``problem``.

    ``alone`` are those that have a snapshot of that name, and not of a group.
    """
    wanted = {one for here in selected.values() for one in here}
    found = {one.uuid: one for one in _seen(hosts, name) if one.uuid in wanted and not one.pending}
    names = {vm["uuid"]: vm["vm"] for told in hosts.values() for vm in told.get("vms") or ()}
    groups = {one.group for one in found.values()}
    members = frozenset().union(*(one.members for one in found.values()))
    left_out = sorted(names.get(one, one) for one in members - wanted)
    problem = ""
    if not found:
        problem = f"No selected VM has a snapshot {name!r} that was taken with a group."
    elif len(groups) > 1:
        problem = f"The selected VMs have snapshots {name!r} of {len(groups)} different groups."
    elif left_out:
        problem = f"These VMs are in the group {name!r} too, and are not selected or not found: {', '.join(left_out)}."
    elif wanted - found.keys():
        without = ", ".join(sorted(names.get(one, one) for one in wanted - found.keys()))
        problem = f"These VMs are not in the group {name!r}, or lost its snapshot: {without}."
    group = "" if problem else next(iter(groups))
    alone = sorted(names[one] for one in (wanted & _with_name(hosts, name)) - found.keys())
    return {"group": group, "groups": sorted(groups), "problem": problem, "left_out": left_out, "alone": alone}


def _with_name(hosts: Mapping[str, Mapping[str, Any]], name: str) -> set[str]:
    vms = [vm for told in hosts.values() for vm in told.get("vms") or ()]
    return {vm["uuid"] for vm in vms if any(one["name"] == name for one in vm.get("snapshots") or ())}
