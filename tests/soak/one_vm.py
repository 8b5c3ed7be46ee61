# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One VM of a hypervisor, worked on by on_host.py there: by the module, by virsh, by its guest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contract.libvirt_world import LibvirtWorld
from contract.world import Driver
from lab import ssh
from lab.api import Host

# What runs there: on_host.py and others.py, with all that the two import of these.
_THERE = (
    *("here.py", "faults.py", "contents.py", "kept_copies.py", "on_host.py"),
    *("survey.py", "tasks.py", "by_hand.py", "others.py"),
)
TWO_DISKS = {"vda": "qcow2", "vdb": "raw"}
_REGIONS = 3


@contextmanager
def working_on(host: Host) -> Iterator[Driver]:
    """Give what works there, to be asked for the calls of on_host.py."""
    world = LibvirtWorld(host)
    try:
        for name in _THERE:
            host.put(f"{world.home}/{name}", Path(__file__).with_name(name).read_text(encoding="utf-8"))
        command = f"PYTHONPATH={world.home} exec python3 {world.home}/others.py"
        driver = Driver([*ssh.command(host.name), command], {})
        try:
            yield driver
        finally:
            driver.end()
    finally:
        world.close()


class OneVm:
    """A VM of a name; every state it ever is in holds something else."""

    def __init__(self, driver: Driver, name: str) -> None:
        self._driver = driver
        self.name = name
        self._disks: list[str] = []
        self._written = 0

    def ask(self, call: str, **arguments: Any) -> dict[str, Any]:
        """Have a call of on_host.py made, and return its answer."""
        self._driver.send(call, **arguments)
        answer = self._driver.answer()
        assert "broken" not in answer, (call, arguments, answer["broken"])
        return answer

    def fresh(self, on: bool, disks: Mapping[str, str]) -> None:
        """Make it anew, with something on its disks."""
        self.ask("reset", vm=self.name, formats=disks)
        self._disks, self._written = list(disks), 0
        if on:
            self.power(on=True)
        self.write()

    def write(self) -> None:
        """Write what was never written to one place of every disk, as the guest would."""
        self._written += 1
        for target in self._disks:
            region = self._written % _REGIONS
            self.ask("write", vm=self.name, target=target, region=region, pattern=self._written)

    def power(self, on: bool) -> None:
        """Start it, or pull its plug."""
        self.ask("power", vm=self.name, on=on)

    def module(self, name: str, state: str = "present", **options: Any) -> dict[str, Any]:
        """Do what vm_snapshot does, and return its result."""
        return self.ask("module", vm=self.name, name=name, state=state, **options)

    def virsh(self, command: str, *words: str) -> dict[str, Any]:
        """Run a command of virsh for it: whether that went well, what it said, and whether libvirtd outlived it."""
        return self.ask("native", words=[command, self.name, *words])

    def look(self) -> dict[str, Any]:
        """Return all there is to see of it."""
        return self.ask("look", vm=self.name)

    def keep(self) -> list[str]:
        """Shut it off and keep it, for `again`; return the names of its snapshots."""
        names: list[str] = self.ask("keep", vm=self.name)["names"]
        return names

    def again(self, on: bool) -> None:
        """Make it as it was when it was kept."""
        self.ask("again", vm=self.name, on=on)

    def remove(self) -> None:
        """Remove it with all that is there of it."""
        self.ask("remove", vm=self.name)
