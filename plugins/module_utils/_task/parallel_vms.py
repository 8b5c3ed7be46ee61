# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work on many VMs at once: a bounded number of threads, one connection each, no VM able to hold up the rest."""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Callable, Generic, TypeVar, Union

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

# Work keeps its own deadline and reports on it; only a call that never comes back is given up on after this long.
_GRACE = 15.0


class Fleet:
    """Threads' connections to one hypervisor, kept open between two rounds of work."""

    def __init__(self, hypervisor: Hypervisor, parallel: int, timeout: float) -> None:
        self._first = hypervisor
        self._idle: list[Hypervisor] = [hypervisor]
        self._parallel = parallel
        self._timeout = timeout
        self._guard = threading.Lock()

    def each(self, items: Sequence[Item], work: Callable[[Hypervisor, Item], Answer]) -> list[Union[Answer, KvmError]]:
        """Return the work's answer, or its error, for every item, in the items' order. Never raises for one item."""
        return _Round(self, items, work).run(min(self._parallel, len(items)), self._timeout + _GRACE)

    def borrow(self) -> Hypervisor:
        """Return an idle connection, or open one more."""
        with self._guard:
            if self._idle:
                return self._idle.pop()
        return self._first.another()

    def give_back(self, hypervisor: Hypervisor) -> None:
        """Keep a connection for the next borrower."""
        with self._guard:
            self._idle.append(hypervisor)

    def close(self) -> None:
        """Close every connection that was opened here and is not stuck in a call."""
        for hypervisor in self._idle:
            if hypervisor is not self._first:
                hypervisor.close()


class _Round(Generic[Item, Answer]):
    def __init__(self, fleet: Fleet, items: Sequence[Item], work: Callable[[Hypervisor, Item], Answer]) -> None:
        self._fleet = fleet
        self._items = items
        self._work = work
        self._waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[int, Union[Answer, KvmError]]] = queue.SimpleQueue()
        self._started: dict[int, float] = {}

    def run(self, threads: int, limit: float) -> list[Union[Answer, KvmError]]:
        for index in range(len(self._items)):
            self._waiting.put(index)
        for _number in range(threads):
            self._start_thread()
        answers: dict[int, Union[Answer, KvmError]] = {}
        while len(answers) < len(self._items):
            try:
                index, answer = self._done.get(timeout=0.5)
                answers.setdefault(index, answer)
            except queue.Empty:
                for index in self._stuck(answers, limit):
                    answers[index] = _stuck_error(limit)
                    self._start_thread()
        return [answers[index] for index in range(len(self._items))]

    def _stuck(self, answers: dict[int, Union[Answer, KvmError]], limit: float) -> list[int]:
        now = time.monotonic()
        return [index for index, start in list(self._started.items()) if index not in answers and now - start > limit]

    def _start_thread(self) -> None:
        # A daemon: a thread that hangs in a call to libvirt must not keep the module from reporting.
        threading.Thread(target=self._run_thread, daemon=True).start()

    def _run_thread(self) -> None:
        while True:
            try:
                index = self._waiting.get_nowait()
            except queue.Empty:
                return
            self._started[index] = time.monotonic()
            self._done.put((index, self._answer(self._items[index])))

    def _answer(self, item: Item) -> Union[Answer, KvmError]:
        # The connection is given back before the answer is told: whoever waits for the last one may borrow at once.
        try:
            hypervisor = self._fleet.borrow()
            try:
                answer: Union[Answer, KvmError] = self._work(hypervisor, item)
            except KvmError as error:
                answer = error
            if not (isinstance(answer, KvmError) and answer.error_code == "connection_lost"):
                self._fleet.give_back(hypervisor)
            return answer
        except KvmError as error:
            return error
        except Exception:  # noqa: BLE001 - a bug of ours in one VM's work must not hide what happened to the others
            return _bug(traceback.format_exc())


def _stuck_error(limit: float) -> KvmError:
    return KvmError(
        "timeout",
        f"The hypervisor has not answered for {limit:.0f} seconds, and nobody knows what it did since.",
        "Look at libvirt's daemon, or qx-node, on the host and with vm_snapshot_info, then run the task again: it looks at "
        "what is there first.",
    )


def _bug(trace: str) -> KvmError:
    return KvmError(
        "internal_error",
        f"A bug in limiquantix.kvm: {trace.strip().splitlines()[-1]}.",
        "Report it with the details. Look at the VM with vm_snapshot_info before the next run.",
        traceback=trace,
    )
