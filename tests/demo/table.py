"""The demo's table: which snapshot was taken where, and below it what was refused and why. 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

WIDTH = 100
HEADER = ("HOST", "LIBVIRT", "VM", "STATE", "SNAPSHOT", "KIND", "QUIESCED", "OVERLAYS")
RIGHT = HEADER.index("OVERLAYS")


def table(results: Sequence[dict[str, Any]]) -> list[str]:
    """Return the lines of a table with a row for each VM, in groups by host."""
    groups = [[_cells(result, vm) for vm in result["vms"]] for result in results]
    rows = [HEADER, *(row for group in groups for row in group)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [_line(HEADER, widths)]
    for group in groups:
        lines.append(rule)
        for number, row in enumerate(group):
            # Host and libvirt once a group: the eye finds the groups by that.
            lines.append(_line(row if number == 0 else ("", "", *row[2:]), widths))
    return lines


def refusals(results: Sequence[dict[str, Any]]) -> list[str]:
    """Return why VMs were refused, each reason once with the hosts it was heard from."""
    hosts_of: dict[tuple[str, str, str], list[str]] = {}
    for result in results:
        for vm in failed(result):
            hosts_of.setdefault((vm["vm"], vm["error_code"], vm["msg"]), []).append(result["host"])
    lines = []
    for (name, code, msg), hosts in hosts_of.items():
        lines.append(f"{name} on {', '.join(hosts)}: {code}")
        lines += textwrap.wrap(msg, WIDTH, initial_indent="    ", subsequent_indent="    ", break_long_words=False)
    return lines


def failed(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the VMs of a host's result that failed."""
    return [vm for vm in result["vms"] if vm["failed"]]


def size(count: int) -> str:
    """Write bytes as a person would say them."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _cells(result: dict[str, Any], vm: dict[str, Any]) -> tuple[str, ...]:
    who = (result["host"], result["libvirt"], vm["vm"])
    snapshot = vm["snapshot"]
    if not snapshot:
        return (*who, "", "none", "see below" if vm["failed"] else "", "", "")
    return (
        *who,
        # What a disk-only snapshot of a running VM holds is its disks; libvirt's word for that is not the VM's state.
        {"disk-snapshot": "running", "shutoff": "shut off"}.get(snapshot["state"], snapshot["state"]),
        snapshot["name"],
        "with memory" if snapshot["include_memory"] else "disk-only",
        "yes" if vm["quiesced"] else _why_not(vm["notes"]),
        size(sum(disk["size"] or 0 for disk in snapshot["disks"])),
    )


def _why_not(notes: Iterable[str]) -> str:
    reasons = (note.partition("not quiesced: ")[2].partition(",")[0].removesuffix(" answers") for note in notes)
    return next((f"no: {reason}" for reason in reasons if reason), "no")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        cell.rjust(width) if column == RIGHT else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths))
    )
    return "  ".join(padded).rstrip()
