# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbers for people: a table for the terminal and one for the guide."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Optional

Values = Mapping[str, Sequence[float]]

# What is called how, in order.
SECONDS = {
    "task ping": "task: `ping`, for scale",
    "task vm_snapshot": "task: `vm_snapshot`",
    "task shell": "task: `shell`, a for-loop over `virsh`",
    "task loop": "task: `loop:` of `command: virsh …`",
    "inside module": "`vm_snapshot`'s own work, on the host: the first snapshot",
    "inside bare": "a bare libvirt-python script, four threads",
    "inside module 10": "`vm_snapshot`'s own work, 10 snapshots each before",
    "inside bare 10": "the bare script, 10 snapshots each before",
    "task info 1": "task: `vm_snapshot_info`, 1 snapshot each",
    "task info 10": "task: `vm_snapshot_info`, 10 snapshots each",
    "inside info 1": "`vm_snapshot_info`'s own work, 1 snapshot each",
    "inside info 10": "`vm_snapshot_info`'s own work, 10 snapshots each",
}
GAPS = {
    "gap usual": "no snapshot",
    "gap module": "`vm_snapshot` with `quiesce: required`",
    "gap virsh": "`virsh snapshot-create-as --quiesce --disk-only`",
}


@dataclass(frozen=True)
class Ratio:
    """Two medians, and the most their ratio is to be (None: it is only reported).

    ``empty`` are both again where there is nothing to do: what the first takes longer then is taken off before.
    """

    what: str
    over: str
    under: str
    goal: Optional[float] = None
    below: bool = False
    empty: Optional[tuple[str, str]] = None

    def value(self, values: Values) -> float:
        return (median(values[self.over]) - self.constant(values)) / median(values[self.under])

    def constant(self, values: Values) -> float:
        return median(values[self.empty[0]]) - median(values[self.empty[1]]) if self.empty else 0.0

    def verdict(self, values: Values) -> str:
        if self.goal is None:
            return ""
        value = self.value(values)
        met = value < self.goal if self.below else value <= self.goal
        sign = "<" if self.below else "≤"
        return f"{sign} {self.goal:g}: {'met' if met else 'NOT met'}"


class Difference(Ratio):
    """By how many seconds the first median is the greater one, and the most it is to be."""

    def value(self, values: Values) -> float:
        return median(values[self.over]) - median(values[self.under])


RATIOS = (
    Ratio("`vm_snapshot` ÷ `loop:` of `command: virsh …`", "task vm_snapshot", "task loop", 0.35),
    Ratio("`vm_snapshot` ÷ one `shell` task", "task vm_snapshot", "task shell", 1.0, below=True),
    Ratio("`vm_snapshot`'s own work ÷ bare libvirt-python", "inside module", "inside bare", 1.3),
    Ratio("the same, 10 snapshots each before", "inside module 10", "inside bare 10"),
    Ratio("`vm_snapshot_info` task, 10 ÷ 1 snapshots each", "task info 10", "task info 1"),
    Ratio("`vm_snapshot_info`'s own work, 10 ÷ 1", "inside info 10", "inside info 1"),
)

# The agent and its role: see agent.py.
AGENT = {
    "role ping": "task: `ping` of all hosts, for scale",
    "role again": "role `qx_node` on all hosts, nothing to change",
    "role down": "the agent's API does not answer during an upgrade",
    "agent module": "twenty VMs through the agent, task: `vm_snapshot`",
    "agent shell": "the same, task: `shell`, a for-loop over `curl`",
    "agent own": "`vm_snapshot`'s own work, without Ansible's",
    "agent curl": "the loop over `curl`, without Ansible",
}
AGENT_RATIOS = (
    Ratio("role `qx_node`, nothing to change ÷ `ping` of the same hosts", "role again", "role ping", 4.0),
    Ratio("seconds without the agent's API during an upgrade", "role down", "one second", 2.0, below=True),
    Ratio("`vm_snapshot` through the agent ÷ `shell` task with a loop over `curl`", "agent module", "agent shell", 1.2),
    Ratio("`vm_snapshot`'s own work through the agent ÷ the loop over `curl` alone", "agent own", "agent curl", 1.2),
)

# Removing and reverting: see life.py.
LIFE = {
    "removal_running module 2048": "remove a running VM's snapshot, 2 GiB in its overlay: `vm_snapshot`",
    "removal_running virsh 2048": "the same: `virsh blockcommit --active --pivot`",
    "removal_off module 1024": "remove with the VM off, 1 GiB: `vm_snapshot`",
    "removal_off bare 1024": "the same: `qemu-img commit` and `rm`",
    "removal_off module 0": "remove with the VM off, nothing written: `vm_snapshot`",
    "removal_off bare 0": "the same: `qemu-img commit` and `rm`",
    "revert_off module 1024": "revert a VM that is off, 1 GiB thrown away: `vm_snapshot`",
    "revert_off bare 1024": "the same: `qemu-img create` and `rm`",
    "revert_off module 0": "revert a VM that is off, next to nothing thrown away: `vm_snapshot`",
    "revert_off bare 0": "the same: `qemu-img create` and `rm`",
    "tree info 10": "`vm_snapshot_info` of a tree of 10 snapshots",
    "tree info 100": "of a tree of 100",
    "tree revert 10": "revert to one of 10",
    "tree revert 100": "to one of 100",
    "tree remove 10": "remove one of 10",
    "tree remove 100": "one of 100",
}
LIFE_RATIOS = (
    Ratio(
        "remove, running, 2 GiB ÷ `virsh blockcommit --active --pivot`",
        "removal_running module 2048",
        "removal_running virsh 2048",
        1.15,
    ),
    Ratio(
        "remove, off, 1 GiB, less {:.2f} s ÷ `qemu-img commit`, `rm`",
        "removal_off module 1024",
        "removal_off bare 1024",
        1.3,
        empty=("removal_off module 0", "removal_off bare 0"),
    ),
    Ratio(
        "revert, off, 1 GiB, less {:.2f} s ÷ `qemu-img create`, `rm`",
        "revert_off module 1024",
        "revert_off bare 1024",
        1.3,
        empty=("revert_off module 0", "revert_off bare 0"),
    ),
    Ratio("`vm_snapshot_info`, 100 ÷ 10 snapshots", "tree info 100", "tree info 10", 10.0),
    Ratio("revert to one of 100 ÷ of 10 snapshots", "tree revert 100", "tree revert 10", 10.0),
    Ratio("remove one of 100 ÷ of 10 snapshots", "tree remove 100", "tree remove 10", 10.0),
)


def terminal(values: Values, setting: str) -> str:
    """Return the tables as text."""
    lines = ["", setting, "", f"{'seconds':<58}{'median':>8}{'range':>16}"]
    for name, what in SECONDS.items():
        lines.append(f"{_plain(what):<58}{median(values[name]):>8.2f}{_range(values[name]):>16}")
    lines += ["", f"{'longest gap between two writes of a guest, ms':<58}{'median':>8}{'worst':>16}"]
    for name, what in GAPS.items():
        lines.append(f"{_plain(what):<58}{median(values[name]):>8.0f}{max(values[name]):>16.0f}")
    lines += ["", f"{'ratio of the medians':<58}{'':>8}{'goal':>16}"]
    for ratio in RATIOS:
        lines.append(f"{_plain(ratio.what):<58}{ratio.value(values):>8.2f}{ratio.verdict(values):>16}")
    return "\n".join(lines)


def rst(values: Values, setting: str, method: str) -> str:
    """Return the same for the guide."""
    ratios = [(one.what, f"{one.value(values):.2f}", one.verdict(values)) for one in RATIOS]
    seconds = [(what, f"{median(values[name]):.2f} s", _range(values[name])) for name, what in SECONDS.items()]
    gaps = [(what, f"{median(values[name]):.0f} ms", f"{max(values[name]):.0f} ms") for name, what in GAPS.items()]
    tables = (
        rst_table(("ratio", "measured", "goal"), ratios),
        rst_table(("twenty VMs", "median", "range"), seconds),
        rst_table(("longest gap between two writes, seen in one guest", "median", "worst"), gaps),
    )
    return "\n\n".join((setting, *tables, method))


def rst_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as the guides have it."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (head, *rows):
        marks = ("   * -", *["     -"] * len(row))
        lines += [f"{mark} {cell}".rstrip() for mark, cell in zip(marks, row)]
    return "\n".join(lines)


@dataclass(frozen=True)
class Block:
    """A part of the guide: what is called how, in order, and the ratios."""

    marker: str
    what: str
    names: Mapping[str, str]
    ratios: Sequence[Ratio]

    def terminal(self, values: Values, setting: str) -> str:
        """Return the tables as text."""
        lines = ["", setting, "", f"{'seconds':<78}{'median':>8}{'range':>16}"]
        for name, what in self.names.items():
            lines.append(f"{_plain(what):<78}{median(values[name]):>8.2f}{_range(values[name]):>16}")
        lines += ["", f"{'ratio of the medians':<78}{'':>8}{'goal':>16}"]
        for one in self.ratios:
            lines.append(f"{_plain(_named(one, values)):<78}{one.value(values):>8.2f}{one.verdict(values):>16}")
        return "\n".join(lines)

    def rst(self, values: Values, setting: str, method: str) -> str:
        """Return the same for the guide."""
        ratios = [(_named(one, values), f"{one.value(values):.2f}", one.verdict(values)) for one in self.ratios]
        seconds = [(what, f"{median(values[name]):.2f} s", _range(values[name])) for name, what in self.names.items()]
        tables = (
            rst_table(("ratio", "measured", "goal"), ratios),
            rst_table((self.what, "median", "range"), seconds),
        )
        return "\n\n".join((setting, *tables, method))


LIFE_BLOCK = Block("bench-life", "one VM", LIFE, LIFE_RATIOS)
AGENT_BLOCK = Block("bench-agent", "the agent", AGENT, AGENT_RATIOS)


def _named(ratio: Ratio, values: Values) -> str:
    return ratio.what.format(ratio.constant(values))


def write_guide(guide: Path, text: str, block: str = "bench") -> None:
    """Put the text between the guide's markers of a block; what is between single backquotes is code."""
    code = re.sub("`([^`]+)`", r"``\1``", text)
    before = guide.read_text("utf-8")
    marked = re.compile(rf"(?<=^\.\. {block}:start\n).*?(?=^\.\. {block}:end$)", re.DOTALL | re.MULTILINE)
    if not marked.search(before):
        raise SystemExit(f"{guide} has no lines .. {block}:start and .. {block}:end")
    guide.write_text(marked.sub(lambda _block: f"\n{code}\n\n", before), "utf-8")


def _plain(text: str) -> str:
    return text.replace("`", "")


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"
