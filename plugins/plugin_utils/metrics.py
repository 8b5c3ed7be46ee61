# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What vm_snapshot_info told of one host, as Prometheus reads it. What is not known has no sample: a zero would be a lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Optional

Entry = Mapping[str, Any]
Sample = tuple[str, dict[str, str], Optional[float]]

# Each metric with its help. Everything is a gauge; units are base units and end the name, as Prometheus advises.
_HELP = {
    "vm_readable": "Whether the VM could be read.",
    "vm_snapshots": "Snapshots of the VM.",
    "vm_snapshot_oldest_timestamp_seconds": "When the oldest snapshot of the VM was taken.",
    "vm_chain_layers": "Layers of the backing chain of a disk, the lowest one too. None if a layer cannot be read.",
    "vm_overlay_bytes": "Bytes that the overlays of the VM's snapshots occupy.",
    "vm_problems": "Problems and missing files of the VM, for somebody to act on.",
    "vm_orphan_overlays": "Overlays that nothing on the host uses.",
    "vm_kept_overlays": "Overlays that the VM does not need any more and that are kept.",
    "vm_operation_interrupted": "Whether a run on the VM was interrupted and nobody has finished or undone it yet.",
    "image_filesystem_size_bytes": "Size of a file system with images.",
    "image_filesystem_free_bytes": "Free bytes of a file system with images.",
    "last_success_timestamp_seconds": "When the snapshots of this host were last read.",
}


def metrics(found: Entry, now: datetime) -> str:
    """Return the text for node_exporter; ``found`` is what vm_snapshot_info returned."""
    samples: dict[str, list[str]] = {name: [] for name in _HELP}
    for name, labels, value in _samples(found, now):
        if value is not None:
            samples[name].append(f"limiquantix_kvm_{name}{_labels(labels)} {value:.17g}")
    lines = (line for name, told in samples.items() if told for line in (*_head(name), *told))
    return "".join(f"{line}\n" for line in lines)


def _head(name: str) -> tuple[str, str]:
    return f"# HELP limiquantix_kvm_{name} {_HELP[name]}", f"# TYPE limiquantix_kvm_{name} gauge"


def _samples(found: Entry, now: datetime) -> Iterator[Sample]:
    for vm in found["vms"]:
        yield from _of_vm(vm)
    for filesystem in found["filesystems"] or ():
        labels = {"path": filesystem["path"]}
        yield "image_filesystem_size_bytes", labels, filesystem["total"]
        yield "image_filesystem_free_bytes", labels, filesystem["free"]
    # Of a host on which no VM could be read, nobody has read the snapshots.
    is_read = not found["vms"] or any(not vm["failed"] for vm in found["vms"])
    yield "last_success_timestamp_seconds", {}, now.timestamp() if is_read else None


def _of_vm(vm: Entry) -> Iterator[Sample]:
    labels = {"vm": vm["vm"]}
    yield "vm_readable", labels, int(not vm["failed"])
    if vm["failed"]:
        return
    snapshots, chains = vm["snapshots"], vm["chains"]
    yield "vm_snapshots", labels, len(snapshots)
    dates = [datetime.fromisoformat(one["created_at"]).timestamp() for one in snapshots if one["created_at"]]
    yield "vm_snapshot_oldest_timestamp_seconds", labels, min(dates) if dates else None
    for chain in chains:
        yield "vm_chain_layers", {**labels, "disk": chain["target"]}, chain["depth"] if chain["complete"] else None
    overlays = [layer["size"] for chain in chains for layer in chain["layers"] if layer["snapshot"] is not None]
    told = vm["problems"] is not None
    summed = told and None not in overlays and all(chain["complete"] for chain in chains)
    yield "vm_overlay_bytes", labels, sum(overlays) if summed else None
    yield "vm_problems", labels, len(vm["problems"]) + len(vm["missing_files"]) if told else None
    yield "vm_orphan_overlays", labels, len(vm["orphans"]) if told else None
    yield "vm_kept_overlays", labels, len(vm["kept"]) if told else None
    yield (
        "vm_operation_interrupted",
        labels,
        int(bool(vm["operation"] and vm["operation"]["interrupted"])) if told else None,
    )


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}" if labels else ""


def _escaped(value: str) -> str:
    return str(value).replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
