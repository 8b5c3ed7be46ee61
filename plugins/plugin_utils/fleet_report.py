# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What vm_snapshot_info told on every host, made into one document: what needs a hand, and all that is known.

Pure: no file, no clock. What a host does not tell is null or not there, and nothing is concluded from that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.times import recorded
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.merge import as_time

ACT, WORK, LOOK, OK = "act", "work", "look", "ok"
DEEP = 20  # layers; a policy of some hourly, daily and weekly snapshots stays below
_NEARLY_FULL = ((5, ACT), (10, LOOK))  # per cent free
_UNTOLD = (
    "Whether these VMs need a hand is not known: qx-node does not look at their images (snapshot_backend=libvirt does)"
)
_RUNS = ("running", "paused", "pmsuspended")
DOING = {"take": "Taking", "revert": "Reverting to", "remove": "Removing"}

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """Something that needs a hand (act), goes on (work) or is to be known (look), and where.

    ``vm`` is None for a whole host, and ``host`` too for what no host has.
    """

    word: str
    kind: str
    host: Optional[str]
    vm: Optional[str]
    text: str


def document(found: Mapping[str, Entry], now: datetime) -> dict[str, Any]:
    """Return the report on a fleet: ``found`` has by host what vm_snapshot_info returned there, or nothing."""
    hosts = [_host(name, found[name] or {}) for name in sorted(found)]
    runs = _running(hosts)
    findings = _sorted([*_findings(hosts, now, runs), *_twice(runs), *_absent(found, hosts), *_empty(found, hosts)])
    return {
        "made_at": now.isoformat(timespec="seconds"),
        **_counts(hosts, findings),
        "findings": [asdict(one) for one in findings],
        "hosts": hosts,
    }


def as_text(report: Mapping[str, Any]) -> str:
    r"""Return the report as JSON that may stand anywhere: in a file, in a script element of a page, or in a template.

    Whoever names a VM ``</script>`` or ``{{ x }}`` has written text and nothing else.
    """
    text = json.dumps(report, separators=(",", ":"))
    for character in "<>&":  # outside of strings JSON has none of them
        text = text.replace(character, f"\\u{ord(character):04x}")
    for opening in ("{{", "{%", "{#"):  # nor two of these in a row
        text = text.replace(opening, "".join(f"\\u{ord(character):04x}" for character in opening))
    return text


def _host(name: str, found: Entry) -> dict[str, Any]:
    vms = found.get("vms")
    # A task that was refused as a whole, such as for a library that the host lacks, has no VMs but an error.
    known = vms is not None and not (found.get("error_code") and not vms)
    return {
        "host": name,
        "known": known,
        "error_code": found.get("error_code"),
        "msg": str(found.get("msg") or "The host was not asked."),
        "filesystems": found.get("filesystems") if known else None,
        "vms": vms if known else [],
    }


def _findings(
    hosts: list[dict[str, Any]], now: datetime, runs: Mapping[str, list[tuple[str, str]]]
) -> Iterator[Finding]:
    for host in hosts:
        name = host["host"]
        if not host["known"]:
            yield Finding(ACT, "unknown", name, None, host["msg"])
        for filesystem in host["filesystems"] or ():
            yield from (Finding(word, "room", name, None, text) for word, text in _room(filesystem))
        for vm in host["vms"]:
            places = [] if vm["state"] in _RUNS else [where for where, _vm in runs.get(vm["uuid"], ())]
            told = _moved(vm, places) if places and not vm["failed"] else _of_vm(vm, now)
            yield from (Finding(word, kind, name, vm["vm"], text) for word, kind, text in told)
        untold = [vm["vm"] for vm in host["vms"] if _is_untold(vm)]
        if untold:
            yield Finding(LOOK, "untold", name, None, f"{_UNTOLD}: {_some(untold)}.")


def _is_untold(vm: Entry) -> bool:
    """Whether the VM was read and yet nobody says how it is: qx-node does not look at images and files."""
    return not vm["failed"] and vm["look"] is None


def _room(filesystem: Entry) -> Iterator[tuple[str, str]]:
    path, total, free, writers = (filesystem[key] for key in ("path", "total", "free", "written_by"))
    if total is None or free is None:
        yield ACT, f"{path} does not answer. On it are {_some(filesystem['vms'])}."
        return
    share = 100 * free / total if total else 100
    stop = f"If it is full, these VMs stop: {_some(writers)}." if writers else "No VM writes to it now."
    for limit, word in _NEARLY_FULL:
        if share < limit:
            yield word, f"{path} has {size(free)} free of {size(total)} ({share:.0f} %). {stop}"
            return


def _of_vm(vm: Entry, now: datetime) -> Iterator[tuple[str, str, str]]:
    if vm["failed"]:
        yield ACT, "unread", vm["msg"]
        return
    yield from ((ACT, "problem", text) for text in vm["problems"] or ())
    for gone in vm["missing_files"] or ():
        yield ACT, "missing", f"{gone['file']} of snapshot {gone['snapshot']} is gone."
    if vm["operation"]:
        yield _operation(vm["operation"])
    yield from _of_snapshots(vm["snapshots"], now)
    yield from _of_storage(vm)
    yield from ((LOOK, "note", text) for text in vm["notes"] or ())


def _moved(vm: Entry, places: list[str]) -> Iterator[tuple[str, str, str]]:
    """Tell of a VM that is off here and runs elsewhere, as a migration may leave it; nothing here is advised to be changed."""
    yield (
        LOOK,
        "moved",
        f"It is off here and runs on {' and '.join(places)}, as a migration may leave it. What this host tells of its files "
        "and snapshots may be out of date, and the other host may need the files: do not start it here, and keep all its files.",
    )
    yield from ((ACT, "problem", text) for text in vm["problems"] or ())
    if vm["operation"] and vm["operation"]["interrupted"]:
        text = f"{_begun(vm['operation'])} was interrupted on this host. It waits, as the VM runs elsewhere."
        yield ACT, "interrupted", text
    elif vm["operation"]:
        yield _operation(vm["operation"])


def _begun(operation: Entry) -> str:
    return f"{_doing(operation)}, begun at {when(operation['started_at'])},"


def _doing(operation: Entry) -> str:
    return f"{DOING.get(operation['kind'], operation['kind'])} snapshot {operation['snapshot']}"


def _operation(operation: Entry) -> tuple[str, str, str]:
    if operation["interrupted"]:
        return (
            ACT,
            "interrupted",
            f"{_begun(operation)} was interrupted. The next run of vm_snapshot or "
            "vm_snapshot_prune on this VM finishes or undoes it.",
        )
    percent = "" if operation["percent"] is None else f", {operation['percent']} % of a layer"
    left = "" if operation["seconds_left"] is None else f", about {as_time(operation['seconds_left'])} left of it"
    return WORK, "running", f"{_doing(operation)}{percent}{left}, since {when(operation['started_at'])}"


def _of_snapshots(snapshots: list[Entry], now: datetime) -> Iterator[tuple[str, str, str]]:
    unproven = [one for one in snapshots if one.get("past") == "unproven"]
    if unproven:
        reason = next((f" {_sentence(text)}" for one in unproven for text in one["past_reasons"] or ()), "")
        yield LOOK, "unproven", f"Nobody can prove that these snapshots are as they were: {_names(unproven)}.{reason}"
    expired = [one for one in snapshots if _is_past(one.get("expires"), now)]
    if expired:
        yield LOOK, "expired", f"Expired: {_names(expired)}."


def _of_storage(vm: Entry) -> Iterator[tuple[str, str, str]]:
    for kept in vm["kept"] or ():
        back = f" To have its data back at the next start of the VM: {kept['bring_back']}" if kept["bring_back"] else ""
        yield LOOK, "kept", f"{kept['file']} is kept: {_sentence(kept['reason'])}{back}"
    orphans = vm["orphans"] or []
    if orphans:
        yield (
            LOOK,
            "orphan",
            f"Nothing on this host uses {', '.join(orphans)}. If no other host does either, vm_snapshot_prune with orphans: "
            "true deletes that.",
        )
    strange = [file for file in vm["unknown_overlays"] or () if file not in orphans]
    if strange:
        what = ", ".join(strange)
        yield (
            LOOK,
            "strange",
            f"No snapshot names {what}. If it is in a chain, it holds data of the VM. If not, a VM that moved to "
            "another host may be on it. Keep what you do not know.",
        )
    for chain in vm["chains"]:
        if chain["depth"] >= DEEP:
            number = f"{'' if chain['complete'] else 'at least '}{chain['depth']}"
            yield LOOK, "deep", f"Disk {chain['target']} has {number} layers. Remove snapshots that nobody needs."


def _running(hosts: list[dict[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    """Return by UUID where VMs run, host and name; one that is paused may be coming in by a migration."""
    runs: dict[str, list[tuple[str, str]]] = {}
    for host in hosts:
        for vm in host["vms"]:
            if vm["uuid"] and vm["state"] in _RUNS:
                runs.setdefault(vm["uuid"], []).append((host["host"], vm["vm"]))
    return runs


def _twice(runs: Mapping[str, list[tuple[str, str]]]) -> Iterator[Finding]:
    """Give VMs that run on two hosts: one may be moving, or both write to the same disks."""
    for places in runs.values():
        if len(places) > 1:
            where = " and ".join(host for host, _vm in places)
            first, vm = places[0]
            yield Finding(
                ACT,
                "twice",
                first,
                vm,
                f"It runs on {where}. If it is moving from one to the other (live migration), leave it alone, and make the "
                "report again when that has ended. If not, both may write to the same disks, which destroys the data. Then find "
                "out which one has the newest data before you stop the other one.",
            )


def nowhere(found: Mapping[str, Entry]) -> list[str]:
    """Return what was asked for by name or UUID and is on no host: a slip, or a VM of a host that does not answer."""
    vms = [vm for entry in found.values() for vm in entry.get("vms") or ()]
    there = {word for vm in vms for word in (vm["vm"], str(vm["uuid"]).lower())}
    asked = {name for entry in found.values() for name in entry.get("missing") or ()}
    return sorted(name for name in asked if name not in there and name.lower() not in there)


def _absent(found: Mapping[str, Entry], hosts: list[dict[str, Any]]) -> Iterator[Finding]:
    """Tell of the names that were asked for and that no host has."""
    unknown = sum(not host["known"] for host in hosts)
    where = f"No host that could be read has it, and {unknown} could not be read." if unknown else "No host has it."
    for name in nowhere(found):
        yield Finding(ACT, "absent", None, name, f"{where} Correct the name in snapshot_vms, or look where the VM is.")


def _empty(found: Mapping[str, Entry], hosts: list[dict[str, Any]]) -> Iterator[Finding]:
    """Tell that no VM was found at all: nothing needs a hand then because nothing was looked at."""
    known = [host for host in hosts if host["known"]]
    if known and not any(host["vms"] for host in known) and not nowhere(found):
        text = "No host that could be read has a VM that is meant. Correct snapshot_vms, or see whether snapshot_uri is right."
        yield Finding(LOOK, "none", None, None, text)


def _counts(hosts: list[dict[str, Any]], findings: list[Finding]) -> dict[str, Any]:
    words = [one.word for one in findings]
    number = {word: words.count(word) for word in (ACT, WORK, LOOK)}
    number["unknown_hosts"] = sum(not host["known"] for host in hosts)
    number["unknown_vms"] = sum(vm["failed"] or _is_untold(vm) for host in hosts for vm in host["vms"])
    number["hosts"] = len(hosts)
    number["vms"] = sum(len(host["vms"]) for host in hosts)
    number["snapshots"] = sum(len(vm["snapshots"]) for host in hosts for vm in host["vms"])
    return {"word": next((word for word in (ACT, LOOK) if number[word]), OK), "line": line(number), "counts": number}


def line(number: Mapping[str, int]) -> str:
    """Return the report in one line: does anything need a hand?"""
    if number[ACT]:
        said = f"{number[ACT]} {'thing needs' if number[ACT] == 1 else 'things need'} a hand"
    else:
        said = "Nothing needs a hand"
    if number[LOOK]:
        said += f", {number[LOOK]} to look at"
    if number[WORK]:
        said += f", {number[WORK]} at work"
    told = ", ".join(
        f"{number[key]} {key[: None if number[key] != 1 else -1]}" for key in ("hosts", "vms", "snapshots")
    )
    unknown = "".join(
        f", {number[key]} of the {what} unknown"
        for key, what in (("unknown_hosts", "hosts"), ("unknown_vms", "VMs"))
        if number[key]
    )
    return f"{said}. {told.replace('vm', 'VM')}{unknown}."


def _sorted(findings: list[Finding]) -> list[Finding]:
    order = (ACT, WORK, LOOK)
    return sorted(findings, key=lambda one: order.index(one.word))


def _is_past(expires: Any, now: datetime) -> bool:
    """Whether a time is over; not where there is none, or none that can be read."""
    end = recorded(str(expires).replace("Z", "+00:00"))
    return end is not None and end <= now


def size(number: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"


def when(date: str) -> str:
    """Return a time of a result as people read it."""
    return date.replace("T", " ").replace("+00:00", " UTC")


def _names(snapshots: list[Entry]) -> str:
    return _some([one["name"] for one in snapshots])


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
