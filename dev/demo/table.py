"""The demo's tables: what was taken, reverted and removed where, and what was refused and why. 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Callable

WIDTH = 100
WHO = ("HOST", "LIBVIRT", "VM", "STATE")
TO_THE_RIGHT = "OVERLAYS"


def taken(results: Sequence[dict[str, Any]]) -> list[str]:
    """Return the lines of a table of the snapshots that there are now."""
    return _table((*WHO, "SNAPSHOT", "KIND", "QUIESCED", TO_THE_RIGHT), results, _snapshot_cells)


def reverted(results: Sequence[dict[str, Any]]) -> list[str]:
    """Return the lines of a table of what VMs went back to."""
    return _table((*WHO, "REVERTED TO", "THROWN AWAY"), results, _reverted_cells)


def removed(results: Sequence[dict[str, Any]]) -> list[str]:
    """Return the lines of a table of what went."""
    return _table((*WHO, "REMOVED", "FILES THAT WENT"), results, _removed_cells)


def _table(
    header: Sequence[str],
    results: Sequence[dict[str, Any]],
    cells: Callable[[dict[str, Any]], Sequence[str]],
) -> list[str]:
    """Draw a row for each VM, in groups by host."""
    groups = [[(result["host"], result["libvirt"], vm["vm"], *cells(vm)) for vm in result["vms"]] for result in results]
    rows = [header, *(row for group in groups for row in group)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    right = header.index(TO_THE_RIGHT) if TO_THE_RIGHT in header else -1
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [_line(header, widths, right)]
    for group in groups:
        lines.append(rule)
        for number, row in enumerate(group):
            # Host and libvirt once a group: the eye finds the groups by that.
            lines.append(_line(row if number == 0 else ("", "", *row[2:]), widths, right))
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


def _snapshot_cells(vm: dict[str, Any]) -> tuple[str, ...]:
    snapshot = vm["snapshot"]
    if not snapshot:
        return ("", "none", "see below" if vm["failed"] else "", "", "")
    return (
        # What a disk-only snapshot of a running VM holds is its disks; libvirt's word for that is not the VM's state.
        {"disk-snapshot": "running", "shutoff": "shut off"}.get(snapshot["state"], snapshot["state"]),
        snapshot["name"],
        "with memory" if snapshot["include_memory"] else "disk-only",
        "yes" if vm["quiesced"] else _why_not(vm["notes"]),
        size(sum(disk["size"] or 0 for disk in snapshot["disks"])),
    )


def _reverted_cells(vm: dict[str, Any]) -> tuple[str, ...]:
    return (_state(vm), vm["snapshot"]["name"] if vm["snapshot"] else "no, see below", _files(vm))


def _removed_cells(vm: dict[str, Any]) -> tuple[str, ...]:
    return (_state(vm), ", ".join(vm["removed"]) or "nothing" + (", see below" if vm["failed"] else ""), _files(vm))


def _state(vm: dict[str, Any]) -> str:
    return "shut off" if vm["power"] == "shutoff" else str(vm["power"] or "")


def _files(vm: dict[str, Any]) -> str:
    names = [file.rpartition("/")[2] for file in vm["files_removed"]]
    return ", ".join(names[:1]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _why_not(notes: Iterable[str]) -> str:
    reasons = (note.partition("not quiesced: ")[2].partition(",")[0].removesuffix(" answers") for note in notes)
    return next((f"no: {reason}" for reason in reasons if reason), "no")


def _line(cells: Sequence[str], widths: Sequence[int], right: int) -> str:
    padded = (
        cell.rjust(width) if column == right else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths))
    )
    return "  ".join(padded).rstrip()
