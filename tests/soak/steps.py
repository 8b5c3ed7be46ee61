# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random work in a world that is not alone: the collection's, the guest's, other tools', and everybody else's (people.py)."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from contract.world import Driver

from .model import DISKS, LEFT_OUT, Choice, choice_of
from .people import People, pick

MOST_SNAPSHOTS = 6
OURS = [*(5 * ["take"]), *(4 * ["revert"]), *(4 * ["remove"]), "remove_subtree", *(2 * ["prune"])]
OTHERS = [
    *(5 * ["write"]),
    *(2 * ["write_other"]),
    *(3 * ["power"]),
    *("take_by_virsh", "take_without_metadata", "backup", "backup_to_the_base", "pull", "copy", "start_copy"),
    *("detach", "detach", "attach", "attach_new", "lend", "old_definition", "rescue", "rescue_writes", "resize"),
    *("rename", "create_again", "clone", "clone_in_pool", "clone_of_user", "lone_clone", "drop_other"),
    *("write_frozen", "commit_by_hand", "rebase_by_hand", "restore_frozen", "move", "copy_away"),
    "restart_libvirtd",
]
# Nobody can say what whose disk holds after these: they write below it.
_SPOIL = ("rescue_writes", "write_frozen", "commit_by_hand", "backup_to_the_base")
_WORK = [step for step in (*OURS, *OURS, *OTHERS) if step not in LEFT_OUT]


class Steps(People):
    """All that can be done."""

    # Ours

    def take(self, choice: Choice) -> None:
        """Take a snapshot; what it was defined as before may be put back later."""
        name, saved = self.new_name("ours"), self.ask("definition", vm=self.vm)["xml"]
        self.task("take", name)
        if self.plain:
            self.saved = saved
            self.taken(name, proven=True)
        else:  # it went on with the older images, and those are what it holds
            found = self.survey()
            held = {target: found["contents"][path] for target, (path, _kind) in found["live"].items()}
            self.taken(name, proven=True, content=held)

    def revert(self, choice: Choice) -> None:
        """Go back."""
        name = self._snapshot(choice)
        done = self.task("revert", name, power=choice.power)
        if not done:
            return
        past = self.snapshots[name]
        self.must(not past.spoilt or done["notes"], f"UNTOLD: reverted to what others have changed: {done}")
        self.must(set(past.content) <= set(self.main), f"reverted disks that it has not: {done}")
        if self.standing.pop("old definition", None):  # nobody can say whether that was meant: what was newest stays
            for disk in self.main.values():
                self.others[self.new_name("left")] = replace(disk, content=list(disk.content), vm="")
        for target, content in past.content.items():
            self.main[target].content = list(content)
        self.on = self.on if choice.power == "restore" else choice.power == "running"

    def remove(self, choice: Choice, **options: Any) -> None:
        """Remove a snapshot."""
        done = self.task("remove", self._snapshot(choice), **options)
        for name in done["removed"]:
            del self.snapshots[name]

    def remove_subtree(self, choice: Choice) -> None:
        """Remove one with all that are based on it."""
        self.remove(choice, children=True)

    def prune(self, choice: Choice) -> None:
        """Remove what is many, and overlays that nothing uses."""
        done = self.task("prune", keep_last=2 + choice.any % 3, orphans=True)
        for name in done["removed"]:
            del self.snapshots[name]

    def _snapshot(self, choice: Choice) -> str:
        return sorted(self.snapshots)[choice.any % len(self.snapshots)]

    # The guest's, and everyday work

    def write(self, choice: Choice) -> None:
        """The guest writes."""
        if self.plain:
            disk = pick(self.main, choice)
            self.tell(f"{choice.pattern} is written to {disk.target} at {choice.region}")
            self.ask("write", vm=self.vm, target=disk.target, region=choice.region, pattern=choice.pattern)
            disk.content[choice.region] = choice.pattern

    def write_other(self, choice: Choice) -> None:
        """Somebody writes to a disk of their own."""
        if self.others:
            disk = pick(self.others, choice)
            if self.write_image(disk, choice):
                disk.content[choice.region] = choice.pattern

    def power(self, choice: Choice) -> None:
        """It is started, or its plug is pulled."""
        if self.on:
            self.off()
        else:
            self.start()

    def restart_libvirtd(self, choice: Choice) -> None:
        """The daemon is updated."""
        self.ask("restart_libvirtd")

    # Other tools

    def take_by_virsh(self, choice: Choice) -> None:
        """A snapshot of somebody else."""
        name = self.new_name("virsh")
        if self._snapshot_by_virsh(name):
            self.taken(name, proven=False)

    def take_without_metadata(self, choice: Choice) -> None:
        """One that libvirt forgets: a layer that nothing names."""
        self._snapshot_by_virsh(self.new_name("backup"), "--no-metadata")

    def _snapshot_by_virsh(self, name: str, *words: str) -> bool:
        specs = [word for one in self.main for word in ("--diskspec", f"{one},file={self.folder}/{one}-{name}")]
        return self.plain and self.virsh("snapshot-create-as", self.vm, name, "--disk-only", "--atomic", *words, *specs)

    def backup(self, choice: Choice) -> None:
        """What a careful backup does: its own overlay, and only that one is committed."""
        self._backup(choice, "--shallow")

    def backup_to_the_base(self, choice: Choice) -> None:
        """What many scripts do: a commit without a word on how far down, which is the very lowest image."""
        self._backup(choice)

    def _backup(self, choice: Choice, *words: str) -> None:
        if self.start() and self._snapshot_by_virsh(self.new_name("backup"), "--no-metadata"):
            self.write(choice)
            for target in self.main:
                self.virsh("blockcommit", self.vm, target, "--active", "--pivot", *words)

    def pull(self, choice: Choice) -> None:
        """All below the active image is taken into it."""
        if self.plain and self.start():
            self.virsh("blockpull", self.vm, pick(self.main, choice).target, "--wait")

    def copy(self, choice: Choice) -> None:
        """A disk is copied to another file while the VM runs, which goes on there."""
        self._copy(choice, "--pivot")

    def start_copy(self, choice: Choice) -> None:
        """The same, and nobody has ended it yet."""
        if self._copy(choice):
            self.standing["job"] = pick(self.main, choice).target

    def _copy(self, choice: Choice, *words: str) -> bool:
        if not self.plain or "job" in self.standing or not self.start():
            return False
        target = pick(self.main, choice).target
        path = f"{self.folder}/{target}-{self.new_name('copy')}"
        copy = ("--transient-job", "--format", "qcow2", "--wait")
        return self.virsh("blockcopy", self.vm, target, path, *copy, *words)


class BesideOthers:
    """Random steps of all that there are."""

    def __init__(self, driver: Driver, chance: Random) -> None:
        self.world = Steps(driver)
        self.story = self.world.story
        self._chance = chance

    def fresh(self) -> None:
        """Make it all anew."""
        self.world.fresh(DISKS[self._chance.choice(sorted(DISKS))])

    def step(self) -> str:
        """Do one thing, look after it, and tell what it was."""
        work, world = self._chance.choice(_WORK), self.world
        if work in ("revert", "remove", "remove_subtree") and not world.snapshots:
            work = "take"
        if work in ("take", "take_by_virsh") and len(world.snapshots) >= MOST_SNAPSHOTS:
            work = "remove"
        getattr(world, work)(choice_of(self._chance))
        world.seen(by_others=work not in OURS, spoils=work in _SPOIL)
        return work

    def teardown(self) -> None:
        """Leave nothing of it."""
        self.world.ask("unmake", vm="soak")
