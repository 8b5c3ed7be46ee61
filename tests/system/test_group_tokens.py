# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A group is one moment: guests on all hosts pass a growing number on, and no snapshot has it where the guest before lacks it.

The guests write; the test only carries the number, once it is on the disk of one, to the next. The hosts switch their disks one
after the other, further apart than the number takes from a guest to the next: that this is one moment all the same is the hold's
work alone. `make group` tries 200 times, and that many times at most until it fails without the hold.
"""

from __future__ import annotations

import itertools
import json
import os
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Optional

import pytest
from contract.libvirt_world import LibvirtWorld
from lab import ssh
from lab.api import host_named, reset_vm
from shares import NAMES

from .guest import IMAGES, wait_for
from .planted import Planted

pytestmark = pytest.mark.fleet
_ALL = "LIMIQUANTIX_KVM_GROUP" in os.environ
_TRIES = 200 if _ALL else 2
_VM, _PER_CHAIN = "web01", 10  # it has an agent
_MOMENTS = {"begin": 3.0, "release": 6.0, "hard_end": 10.0}
_FIRST_CUT, _APART = 3.6, 0.4  # seconds: when the first host switches, and how much later each next one does
# What is suspended and resumed is nothing then: a guest runs on while its disk is switched.
_WITHOUT_HOLD = "hold._RUNNING = -1"
# The number is written over in place, so that it is on the disk with the sync, and not only in ext4's journal.
_CARRIER = """
import json, sys, time, libvirt, libvirt_qemu
libvirt.registerErrorHandler(lambda *_: None, None)
domain = libvirt.open("qemu:///system").lookupByName(sys.argv[1])
WRITE = "printf %012d {} | busybox dd of=/data/token conv=notrunc 2>/dev/null && busybox sync"
def ask(what, **arguments):
    asked = json.dumps({"execute": what, "arguments": arguments})
    return json.loads(libvirt_qemu.qemuAgentCommand(domain, asked, 20, 0))["return"]
def write(number):
    pid = ask("guest-exec", path="/bin/busybox", arg=["sh", "-c", WRITE.format(number)])["pid"]
    while not (ended := ask("guest-exec-status", pid=pid))["exited"]:
        time.sleep(0.005)
    return ended["exitcode"] == 0
for line in sys.stdin:
    done = False
    while not done:
        try:
            done = write(int(line))
        except libvirt.libvirtError:  # it is suspended: the same number once more
            time.sleep(0.01)
    print(flush=True)
"""


class Guests:
    """One VM on each host, among which the number goes round."""

    def __init__(self, hosts: list[Planted]) -> None:
        self._hosts = hosts
        self._pool = ThreadPoolExecutor(len(hosts))
        self._numbers = itertools.count(1)
        self._last = 0
        self._stop = threading.Event()
        self._round: Optional[threading.Thread] = None

    def each(self, do: Callable[[Planted], Any]) -> list[Any]:
        """Do it on all hosts at once."""
        return list(self._pool.map(do, self._hosts))

    def start(self) -> None:
        """Have the number go round, from where it is."""
        self._stop.clear()
        self._round = threading.Thread(target=self._go_round, daemon=True)
        self._round.start()
        self.wait_for_rounds(2)

    def stop(self) -> None:
        self._stop.set()
        if self._round:
            self._round.join(60)

    def wait_for_rounds(self, rounds: int) -> None:
        enough = self._last + rounds * len(self._hosts)
        wait_for("the number's round", lambda: self._last >= enough, 120)

    def _go_round(self) -> None:
        code = f"exec python3 -c {shlex.quote(_CARRIER)} {_VM}"
        carriers = [
            subprocess.Popen(
                [*ssh.command(one.host.name), code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
            )
            for one in self._hosts
        ]
        try:
            while not self._stop.is_set():
                number = next(self._numbers)
                carrier = carriers[number % len(carriers)]
                assert carrier.stdin
                assert carrier.stdout
                carrier.stdin.write(f"{number}\n")
                assert carrier.stdout.readline(), "a carrier died"
                self._last = number
        finally:
            for carrier in carriers:
                carrier.kill()
                carrier.wait()

    def images(self) -> list[str]:
        return self.each(
            lambda one: one.host.run(f"virsh domblklist {_VM} | awk '$1 == \"vda\" {{print $2}}'").stdout.strip()
        )

    def numbers_in(self, images: list[str]) -> list[int]:
        """Return the number that each image holds, with all that backs it."""
        raw = f"{IMAGES}/{_VM}.look"

        def read(one: Planted) -> int:
            image = images[self._hosts.index(one)]
            shown = one.host.run(
                f"qemu-img convert -U -f qcow2 -O raw {image} {raw} && debugfs -R 'cat /token' {raw} 2>/dev/null; rm -f {raw}"
            )
            return int(shown.stdout)

        return self.each(read)

    def reset(self) -> None:
        """Make the VMs pristine, and write the number that goes on from there."""
        self.each(lambda one: reset_vm(one.host, _VM))

    def take(self, name: str, fault: str) -> list[dict[str, Any]]:
        """Take a snapshot of all of them at one moment; the lab's hosts have one kernel, and so one clock."""
        moment = float(self._hosts[0].run_python("import time; print(time.clock_gettime(time.CLOCK_BOOTTIME))"))
        asked = {"name": name, "step": "take", "since": moment, "quiesce": "never", **_MOMENTS}
        cuts = {one: _FIRST_CUT + _APART * number for number, one in enumerate(self._hosts)}
        return self.each(lambda one: one.group(fault, _VM, cut=cuts[one], **asked))


@pytest.fixture
def guests() -> Iterator[Guests]:
    hosts = [host for name in NAMES if (host := host_named(name))]
    if len(hosts) < len(NAMES):
        pytest.skip(f"{', '.join(NAMES)} are not all up; start them with: dev/lab/lab up")
    worlds = [LibvirtWorld(host) for host in hosts]
    planted = [Planted(world) for world in worlds]
    made = Guests(planted)
    yield made
    made.stop()
    made.reset()
    for one in (*planted, *worlds):
        one.close()


def is_proven(results: list[dict[str, Any]]) -> bool:
    """Whether the stamps say what the playbook calls consistent: all were held before any was switched, until all were."""
    stamps = [one for result in results for one in result["group"]["members"].values()]
    return (
        len(stamps) == len(results)
        and not any(one["disturbed"] for one in stamps)
        and max(one["held"] for one in stamps) <= min(one["switched_from"] for one in stamps)
        and max(one["switched_to"] for one in stamps) <= min(one["released"] for one in stamps)
    )


def is_one_moment(numbers: list[int]) -> bool:
    """Whether there was a moment at which the guests had these numbers: the last ones, each passed on by the one before."""
    return max(numbers) - min(numbers) == len(numbers) - 1


def tries(guests: Guests, fault: str) -> Iterator[tuple[int, list[int]]]:
    """Give the numbers in each group of snapshots that is said to be of one moment; it goes on and on."""
    for attempt in itertools.count():
        if attempt % _PER_CHAIN == 0:
            guests.stop()
            guests.reset()
            guests.start()
        images = guests.images()
        guests.wait_for_rounds(1)
        if is_proven(guests.take(f"s{attempt}", fault)):
            yield attempt, guests.numbers_in(images)


def test_what_a_group_holds_was_so_at_one_moment(guests: Guests) -> None:
    for done, (attempt, numbers) in enumerate(itertools.islice(tries(guests, ""), _TRIES)):
        assert is_one_moment(numbers), f"try {attempt}: {numbers}"
        if done % 20 == 0:
            guests.stop()
            name = f"s{attempt}"
            results = guests.each(lambda one, name=name: one.revert("", _VM, name))
            assert not any(result.get("failed") for result in results), json.dumps(results)
            assert guests.numbers_in(guests.images()) == numbers
            print(f"{done + 1} groups were of one moment, the last one of {numbers}", flush=True)
            guests.start()


@pytest.mark.skipif(not _ALL, reason="make group")
def test_without_the_hold_it_was_not(guests: Guests) -> None:
    tried = itertools.islice(tries(guests, _WITHOUT_HOLD), _TRIES)
    found = next((number for number, (_attempt, numbers) in enumerate(tried, 1) if not is_one_moment(numbers)), None)
    assert found, "the other test is blind"
    print(f"without a hold try {found} was of no one moment")
