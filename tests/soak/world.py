# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM that is not alone: what everybody's disks must hold, and which refusals are right, whoever did what in between.

Three rules, after each step: no byte written last to any disk of anybody is lost; a revert gives what was, or is refused for
the right reason; and it is alive: a task is refused for a reason that stands, and when one has done as it says, it goes.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Optional

from contract.world import Driver


@dataclass(frozen=True)
class Refusal:
    """For what a code may be said (one of these must stand), and what its message tells to do, a method of `People`."""

    reasons: tuple[str, ...]
    remedy: str


# The one table of codes. What can stand: "old definition" (the VM is defined on older images), "rescue" (another VM is
# defined to write to a frozen image), "job" (a copy of a disk runs), "frozen active" (the VM itself writes to an image that
# a snapshot calls frozen, or to one below it, since others have merged down to that); and of the snapshot that is meant
# "other disks" (the VM has not the ones it had then) and "past written" (others wrote to its images).
REFUSALS = {
    "block_job_active": Refusal(("job",), "abort_job"),
    "chain_mismatch": Refusal(("old definition",), "define_newest"),
    "definition_changed": Refusal(("old definition", "frozen active"), "say_which_is_newest"),
    "disks_changed": Refusal(("other disks",), "put_disks_back"),
    "file_in_use": Refusal(("rescue",), "undefine_rescue"),
    "frozen_image_written": Refusal(("rescue",), "undefine_rescue"),
    "snapshot_changed": Refusal(("past written",), "accept"),
    "snapshot_damaged": Refusal(("past written", "frozen active"), "accept"),
}

Content = list[int]  # the byte of each place, then the virtual size
ROOT = "/var/lib/libvirt/images/soak"
REFUSED: Counter[str] = Counter()
MOST_REFUSALS = 8


@dataclass
class Disk:
    """Somebody's disk: the file that takes what is written to it, and what it must hold. ``vm`` "" is nobody's, lying about."""

    file: str
    format: str
    content: Content
    vm: str = ""
    target: str = "vda"


@dataclass
class Past:
    """A snapshot: what its disks held, and in which files.

    ``proven``: we took it, and our record is there; ``written``: others wrote to its images; ``spoilt``: it holds other data now.
    """

    content: dict[str, Content]
    files: dict[str, list[str]] = field(default_factory=dict)
    proven: bool = True
    written: bool = False
    spoilt: bool = False


class World:
    """The VM, the others, and what is known of them."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.story: list[str] = []
        self.vm = "soak"
        self.folder = f"{ROOT}/soak"
        self.on = False
        self.main: dict[str, Disk] = {}
        self.others: dict[str, Disk] = {}
        self.snapshots: dict[str, Past] = {}
        self.standing: dict[str, Any] = {}
        self.rescued = ""  # the image that "rescue" is on
        self.stamps: dict[str, list[int]] = {}
        self.chains: dict[str, list[list[str]]] = {}

    def ask(self, call: str, **arguments: Any) -> dict[str, Any]:
        """Have a call of on_host.py or others.py made."""
        self._driver.send(call, **arguments)
        answer = self._driver.answer()
        self.must("broken" not in answer, f"{call}: {answer.get('broken')}")
        return answer

    def tell(self, line: str) -> None:
        """Note what happens, for whoever reads of a failure."""
        self.story.append(line)

    def must(self, truth: Any, what: Any) -> None:
        """Fail unless it is true; the test tells what led there."""
        if not truth:
            raise AssertionError(str(what))

    def fresh(self, formats: dict[str, str]) -> None:
        """Make it all anew."""
        self.ask("world", vm=self.vm, formats=formats)
        size = 4 << 20
        for target, kind in formats.items():
            self.main[target] = Disk(f"{self.folder}/{target}.{kind}", kind, [0, 0, 0, size], self.vm, target)
        self.tell(f"a VM {self.vm} with {formats}")
        self.seen(by_others=True)

    def taken(self, name: str, proven: bool, content: Optional[dict[str, Content]] = None) -> None:
        """Note a snapshot that was just taken of everything."""
        held = content or {target: disk.content for target, disk in self.main.items()}
        self.snapshots[name] = Past(copy.deepcopy(held), proven=proven)

    # Looking after a step

    def survey(self) -> dict[str, Any]:
        """See everything."""
        disks = [*self.main.values(), *self.others.values()]
        return self.ask("survey", vm=self.vm, files=[[disk.file, disk.format] for disk in disks])

    def seen(self, by_others: bool = False, spoils: bool = False) -> dict[str, Any]:
        """Look at everything after a step: all is as it must be, and what others did to the past is how it is now.

        ``spoils``: it was a step of which nobody can say what disks hold now.
        """
        found = self.survey()
        if "old definition" not in self.standing:
            self.must(set(found["live"]) == set(self.main), f"it has disks {found['live']}")
            for target, (path, kind) in found["live"].items():
                self.main[target].file, self.main[target].format = path, kind
        self.must(not found["damage"], found["damage"])
        self._disks(found["contents"], spoils, by_others)
        self.must(set(found["snapshots"]) == set(self.snapshots), f"it has snapshots {sorted(found['snapshots'])}")
        for name, past in self.snapshots.items():
            self._past(name, past, found, by_others)
        self.must(found["state"] == ("running" if self.on else "shut off"), found["state"])
        self.stamps, self.chains = found["stamps"], found["chains"]
        self._info_says_it(found["info"])
        return found

    def _disks(self, contents: dict[str, Content], spoils: bool, by_others: bool) -> None:
        for disk in [*self.main.values(), *self.others.values()]:
            there = contents.get(disk.file)
            if there and (spoils or (by_others and self._is_written_below(disk))):
                disk.content = there
            self.must(there == disk.content, f"LOST: {disk} now holds {there}")

    def _is_written_below(self, disk: Disk) -> bool:
        """Whether the VM itself writes to what somebody's disk is based on, since others have merged down to that."""
        below = {layer for layer, _kind in self.chains.get(disk.file, ())[1:]}
        return any(main.file in below for main in self.main.values())

    def _past(self, name: str, past: Past, found: dict[str, Any], by_others: bool) -> None:
        past.files = found["snapshots"][name]
        held = {target: found["contents"].get(path) for target, (path, _kind) in past.files.items()}
        if not by_others:
            self.must(held == past.content, f"SPOILT: snapshot {name} held {past.content}, now {held}")
            return
        layers = [layer for path, _kind in past.files.values() for layer, _format in found["chains"][path]]
        if self.stamps and any(
            layer in self.stamps and self.stamps[layer] != found["stamps"][layer] for layer in layers
        ):
            past.written = True
        if held != past.content:
            self.tell(f"  (snapshot {name} held {past.content}, others made it {held})")
            past.spoilt, past.content = True, held

    def _info_says_it(self, info: dict[str, Any]) -> None:
        """One word says whether somebody must act; it must not say so of a VM that nobody mistreated."""
        self.must(not info["failed"], info["msg"])
        spoilt = [name for name, past in self.snapshots.items() if past.spoilt and past.proven]
        states = [path for past in self.snapshots.values() for path, _kind in past.files.values()]
        frozen = {layer for path in states for layer, _format in self.chains[path]}
        if spoilt or "old definition" in self.standing or (self.rescued in frozen and "rescue" in self.standing):
            self.must(info["look"] == "act", f"UNTOLD: {spoilt} spoilt, {set(self.standing)} stand: {info}")
        elif not self.reasons() and not any(past.written for past in self.snapshots.values()):
            self.must(info["look"] != "act", f"CRYING WOLF: {info}")

    # A task of ours

    def task(self, kind: str, name: str = "", **options: Any) -> dict[str, Any]:
        """Do it. Where it is refused, for a reason that stands, do as the refusal says, until it goes.

        Nothing is returned where that was to forget the very snapshot that the VM was to be reverted to.
        """
        told: list[str] = []
        while True:
            self.tell(f"our {kind} {name} {options or ''}")
            answer = self.ask("task", vm=self.vm, kind=kind, name=name, **options)
            done, code = answer["done"], answer["done"]["error_code"]
            self.must(answer["told"]["error_code"] == code, f"CHECK MODE LIES: {answer['told']}, the run: {done}")
            if not code:
                self.tell(f"  {done['msg']} {done['notes'] or ''}; files removed: {done.get('files_removed')}")
                return dict(done)
            self.tell(f"  refused: {code}: {done['msg']}")
            self.must(not answer["changed"], f"REFUSED, AND CHANGED {answer['changed']}")
            why = self.reasons(kind, name)
            right = code in REFUSALS and why & set(REFUSALS[code].reasons)
            self.must(right, f"NOT ALIVE: refused, and what stands is {why or 'nothing'}: {done}")
            self.must(len(told) < MOST_REFUSALS, f"NOT ALIVE: as often as one obeys, it is refused: {told}")
            told.append(code)
            REFUSED[code] += 1
            options.update(self.obey(REFUSALS[code].remedy, name, done.get("details", {})))
            if kind == "revert" and name not in self.snapshots:
                return {}

    def reasons(self, kind: str = "", name: str = "") -> set[str]:
        """Return what stands for which a task may be refused."""
        found = set(self.standing)
        active = {disk.file for disk in self.main.values()}
        frozen = [path for past in self.snapshots.values() for path, _kind in past.files.values()]
        if any(layer in active for path in frozen for layer, _kind in self.chains[path]):
            found.add("frozen active")
        past = self.snapshots.get(name)
        if kind == "revert" and past:
            other = set(past.content) != set(self.main) or any(self.elsewhere(past, target) for target in past.content)
            found |= {"other disks"} if other else set()
            found |= {"past written"} if past.written or past.spoilt else set()
        return found

    def elsewhere(self, past: Past, target: str) -> bool:
        """Whether a disk goes back to another lowest image than it did then: it was copied, or all was pulled into it."""
        now, then = self.chains[self.main[target].file], self.chains[past.files[target][0]]
        return now[-1][0] != then[-1][0]

    def obey(self, remedy: str, name: str, details: dict[str, Any]) -> dict[str, Any]:
        """Do what a refusal says; return options that the task gets now."""
        raise NotImplementedError
