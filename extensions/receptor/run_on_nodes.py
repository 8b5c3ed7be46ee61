# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a playbook over a fleet through several execution nodes of receptor, each with its part of the hosts.

    python3 run_on_nodes.py DIR --playbook limiquantix.kvm.snapshot --node exec-1=site_a --node exec-2=site_b

DIR is what ansible-runner calls a private data directory. At the end there is a line for each host: done, failed, unreachable, or
unknown because its node was lost. Then run it again with the same name.
Exit status: 0 if every host is done, 1 if not, 2 if nothing was sent to any node.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from threading import Thread
from typing import NamedTuple, Optional

import ansible_runner
from node_part import COLOR, Part, reachable
from receptorctl.socket_interface import ReceptorControl

# Also where a playbook of your own imports them: Ansible tells the names of the plays.
GROUP_PLAYS = {
    "Snapshot a group of VMs at one moment",
    "Revert a group of VMs to one moment",
    "Remove the snapshot of a group of VMs",
}


class RefusedError(Exception):
    """Nothing was sent to any node."""


class Meant(NamedTuple):
    hosts: set[str]
    plays: set[str]
    last_task: str


class Job:
    """What is run: a copy of the folder without the results of earlier runs, which ansible-runner 2.4.3 would send too.

    What it is given as cmdline it writes into the folder. So there is a second copy, to be asked which hosts are meant.
    """

    def __init__(self, folder: Path, playbook: str, cmdline: str, copies: Path) -> None:
        self._playbook, self._sent, self._asked = playbook, copies / "sent", copies / "asked"
        results = folder / "artifacts"
        shutil.copytree(
            folder, self._sent, symlinks=True, ignore=lambda at, names: names if Path(at) == results else []
        )
        file = self._sent / "env/cmdline"
        # Both: a --check that stands in the folder must not get lost.
        options = f"{file.read_text('utf-8') if file.exists() else ''} {cmdline}".strip()
        self.check = not {"--check", "-C"}.isdisjoint(shlex.split(options))
        if options:
            file.parent.mkdir(exist_ok=True)
            file.write_text(options, "utf-8")
        shutil.copytree(self._sent, self._asked, symlinks=True)
        (self._asked / "env").mkdir(exist_ok=True)
        (self._asked / "env/cmdline").write_text(f"{options} --list-hosts --list-tasks".strip(), "utf-8")

    def meant(self, limit: Optional[str] = None) -> Meant:
        """Return what the playbook would work at, as Ansible itself says."""
        words = [sys.executable, "-m", "ansible_runner", "run", str(self._asked), "--playbook", self._playbook]
        words += ["--limit", limit] if limit else []
        listed = subprocess.run(words, check=False, capture_output=True, text=True)
        said = COLOR.sub("", listed.stdout + listed.stderr)
        if listed.returncode:
            raise RefusedError(f"{limit or self._playbook}: {' '.join(said.split())[-300:]}")
        tasks = re.findall(r"^ {6}(.*?)\tTAGS:", said, re.MULTILINE)
        return Meant(
            hosts=set(re.findall(r"^ {6}(\S+)$", said, re.MULTILINE)),
            plays=set(re.findall(r"^  play #\d+ \(.*\): (.*?)\tTAGS:", said, re.MULTILINE)),
            last_task=tasks[-1] if tasks else "",
        )

    def send(self, address: str, node: str, limit: str) -> str:
        """Give a node its part; return the name of receptor's work unit."""
        options = {"private_data_dir": str(self._sent), "playbook": self._playbook, "limit": limit}
        with TemporaryFile() as payload:
            ansible_runner.run(streamer="transmit", _output=payload, **options)
            payload.seek(0)
            unit = ReceptorControl(address).submit_work("ansible-runner", payload, node=node, signwork=True)
        return str(unit["unitid"])


def divide(job: Job, wanted: Sequence[str], address: str) -> list[Part]:
    """Return each node's part; refuse what is not each host on one node that receptor reaches."""
    limits = dict(one.partition("=")[::2] for one in wanted)
    if len(limits) < len(wanted) or not all(limits.values()):
        raise RefusedError("each --node is NODE=PATTERN, and each node is named once: exec-1=site_a:site_b")
    try:
        known = reachable(address)
    except (OSError, RuntimeError, ValueError) as error:
        raise RefusedError(f"no answer from receptor at {address}: {error}") from error
    if unknown := sorted(set(limits) - known):
        raise RefusedError(f"receptor does not reach {', '.join(unknown)}. It reaches {', '.join(sorted(known))}")
    with ThreadPoolExecutor() as pool:
        every, *each = pool.map(job.meant, (None, *limits.values()))
    if len(limits) > 1 and (group := sorted(every.plays & GROUP_PLAYS)):
        raise RefusedError(
            f"{group[0]}: the members of a group are never split. Give one --node, with all hosts of the group"
        )
    nodes_of = {host: [node for node, own in zip(limits, each) if host in own.hosts] for host in sorted(every.hosts)}
    if twice := [f"{host} ({', '.join(nodes)})" for host, nodes in nodes_of.items() if len(nodes) > 1]:
        raise RefusedError(f"a host belongs to one node, and these have more: {', '.join(twice)}")
    if without := [host for host, nodes in nodes_of.items() if not nodes]:
        raise RefusedError(f"no --node has {', '.join(without)}")
    return [
        Part(node, limit, own.hosts, every.last_task, job.check) for (node, limit), own in zip(limits.items(), each)
    ]


def work(parts: list[Part], job: Job, address: str, results: Path, patience: float) -> None:
    threads = {
        part: Thread(target=part.run, args=(partial(job.send, address), address, results / part.node), daemon=True)
        for part in parts
    }
    try:
        for thread in threads.values():
            thread.start()
        while waited := [part for part, thread in threads.items() if thread.is_alive()]:
            threads[waited[0]].join(1)
            try:
                nodes = reachable(address)
            except (OSError, RuntimeError, ValueError):
                nodes = set()
            for part in waited:
                part.watch(nodes, patience)
    except KeyboardInterrupt:
        for part in parts:
            part.give_up("the run was ended from outside")
        for thread in threads.values():
            thread.join(10)
    finally:
        for part in parts:
            part.release(address)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="ansible-runner's private data directory")
    parser.add_argument("--playbook", required=True, help="as ansible-runner takes it: limiquantix.kvm.snapshot")
    parser.add_argument("--node", action="append", required=True, metavar="NODE=PATTERN", help="a node and its hosts")
    parser.add_argument(
        "--socket", default="/run/receptor.sock", help="of receptor on this machine; default: %(default)s"
    )
    parser.add_argument("--cmdline", default="", help="more for ansible-playbook: '--check --diff'")
    parser.add_argument("--lost-after", type=float, default=60, help="seconds; default: %(default)s")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results = options.folder / "artifacts" / time.strftime("%Y%m%dT%H%M%S")
    with TemporaryDirectory() as folder:
        try:
            job = Job(options.folder.resolve(), options.playbook, options.cmdline, Path(folder))
            parts = divide(job, options.node, options.socket)
        except (RefusedError, OSError) as refusal:
            print(f"Nothing was sent to any node. {refusal}", file=sys.stderr)
            return 2
        work(parts, job, options.socket, results, options.lost_after)
    became = {host: part.became(host) for part in parts for host in part.hosts}
    print(f"What each node said lies in {results}")
    for host, (word, why) in sorted(became.items()):
        print(f"{host}: {word}{f': {why}' if why else ''}")
    totals = Counter(word for word, _why in became.values())
    print(f"{len(became)} hosts: {', '.join(f'{number} {word}' for word, number in sorted(totals.items()))}")
    return 0 if set(totals) <= {"done"} else 1


if __name__ == "__main__":
    sys.exit(main())
