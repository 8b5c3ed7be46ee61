# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many VMs on one host: a snapshot of each of them beside bare libvirt, and a removal beside others that it does not concern."""

from __future__ import annotations

from dataclasses import dataclass

from .remote import Remote
from .report import Block, Difference, Ratio
from .rounds import Samples


@dataclass(frozen=True)
class Size:
    """How many VMs get a snapshot each, few and many; of the others how many VMs and images; MiB in the overlay that goes."""

    few: int
    off: int
    others: int
    images: int
    mib: int

    def __str__(self) -> str:
        return f"{self.few} and {self.off} VMs that are off, {self.mib} MiB beside {self.others} VMs and {self.images} images"


FULL = Size(few=20, off=300, others=500, images=2000, mib=1024)
QUICK = Size(few=5, off=20, others=20, images=80, mib=64)

_WORKS = {"few ": ("take", "info", "remove"), "": ("take", "remove")}
_EMPTY, _BESIDE = "on the host without them", "beside other VMs"
CROWD = {
    "few take module": "a snapshot of each of a few VMs: `vm_snapshot`",
    "few take bare": "the same: bare libvirt-python, four threads",
    "few info module": "read them: `vm_snapshot_info`",
    "few info bare": "the same: what libvirt alone tells, four threads",
    "few remove module": "remove it from each, nothing written: `vm_snapshot`",
    "few remove bare": "the same: bare libvirt-python and `qemu-img commit`, four threads",
    "take module": "a snapshot of each of many VMs: `vm_snapshot`",
    "take bare": "the same: bare libvirt-python, four threads",
    "remove module": "remove it from each, nothing written: `vm_snapshot`",
    "remove bare": "the same: bare libvirt-python and `qemu-img commit`, four threads",
    "running written beside": f"remove a running VM's snapshot, its overlay written to, {_BESIDE}",
    "running written alone": f"the same {_EMPTY}",
    "running empty beside": f"remove a running VM's snapshot, nothing written, {_BESIDE}",
    "running empty alone": f"the same {_EMPTY}",
    "off empty beside": f"remove with the VM off, nothing written, {_BESIDE}",
    "off empty alone": f"the same {_EMPTY}",
}
CROWD_RATIOS = (
    Ratio("a few VMs: a snapshot of each ÷ bare libvirt-python", "few take module", "few take bare", 1.3),
    Ratio("a few VMs: read them ÷ what libvirt alone tells", "few info module", "few info bare"),
    Ratio("a few VMs: remove it from each ÷ bare", "few remove module", "few remove bare", 1.3),
    Ratio("a snapshot of each VM ÷ bare libvirt-python", "take module", "take bare", 2.0),
    Ratio("remove it from each ÷ bare libvirt-python and `qemu-img`", "remove module", "remove bare", 2.0),
    Ratio("remove, running, beside others ÷ without them", "running written beside", "running written alone", 1.1),
    Difference(
        "seconds more beside others, running, nothing written", "running empty beside", "running empty alone", 1.0
    ),
    Difference("seconds more beside others, off, nothing written", "off empty beside", "off empty alone", 1.0),
)
CROWD_BLOCK = Block("bench-crowd", "many VMs", CROWD, CROWD_RATIOS)
METHOD = (
    "Own work on the host, without Ansible's: opening connections counts, imports do not. Both ways to take and remove a "
    "snapshot of each VM take turns on the same VMs, four at once. The bare one looks the VM up, takes, and does nothing else; "
    "or it runs `qemu-img commit -d`, defines the VM on its first image, and deletes libvirt's snapshot and the file. The "
    "others are off, with four disks each that are based on one template. The VM whose snapshot is removed beside them has "
    "its images in their directory; it is made anew each time, and its files written out to the disk before."
)


def crowd_rounds(remote: Remote, rounds: int, size: Size, samples: Samples) -> None:
    """Both parts; the host is without all of this before and after."""
    try:
        _clear(remote)
        _each(remote, rounds, size.few, "few ", samples)
        _each(remote, rounds, size.off, "", samples)
        _beside(remote, rounds, size, samples)
    finally:
        _clear(remote)


def _clear(remote: Remote) -> None:
    try:
        remote.ask("life", "clear")
    finally:
        remote.ask("crowd", "clear")


def _each(remote: Remote, rounds: int, count: int, what: str, samples: Samples) -> None:
    """Snapshots of so many VMs, all taken and all removed; which way comes first changes from round to round."""
    remote.ask("crowd", "off", str(count))
    for number in range(rounds):
        print(f"{count} VMs that are off {number + 1} of {rounds}, seconds", flush=True)
        for how in ("module", "bare")[:: -1 if number % 2 else 1]:
            for work in _WORKS[what]:
                samples.add(f"{what}{work} {how}", float(remote.ask("crowd", work, how)["seconds"]))


def _beside(remote: Remote, rounds: int, size: Size, samples: Samples) -> None:
    """One VM's snapshot removed with and without the others, who stay from the end of a round to the next one's start."""
    remote.ask("crowd", "clear")
    for number in range(rounds):
        print(f"beside {size.others} VMs {number + 1} of {rounds}, seconds", flush=True)
        if number % 2 == 0:
            _removals(remote, "alone", size, samples)
            remote.ask("crowd", "others", str(size.others), str(size.images))
            _removals(remote, "beside", size, samples)
        else:
            _removals(remote, "beside", size, samples)
            remote.ask("crowd", "clear")
            _removals(remote, "alone", size, samples)


def _removals(remote: Remote, where: str, size: Size, samples: Samples) -> None:
    for power, written, mib in (("running", "written", size.mib), ("running", "empty", 0), ("off", "empty", 0)):
        answer = remote.ask("life", f"removal_{power}", "module", str(mib))
        samples.add(f"{power} {written} {where}", float(answer["seconds"]))
