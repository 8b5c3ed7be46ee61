# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hypervisor's side of the measuring: the collection's module_utils and on_host/ are put there for the while."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import hosts, ssh
from lab.api import Host

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = "ansible_collections/limiquantix/kvm"
FLEET_SIZE = 20


@dataclass(frozen=True)
class Remote:
    """A host with our scripts in ``folder``."""

    host: Host
    folder: str

    def ask(self, script: str, *words: str) -> dict[str, Any]:
        """Run a script of on_host/ to its end and return what it says.

        One whose bench was interrupted goes on over there: the next waits for it, else what is cleared away would come again.
        """
        alone = ["flock", "--close", "/var/lib/libvirt/images"]
        path = f"PYTHONPATH={self.folder}:/opt/lab"
        done = self.host.run([*alone, "env", path, "python3", "-m", f"bench.on_host.{script}", *words], timeout=1200)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def seconds(self, *words: str) -> float:
        """Run measure.py and return the time it took by its own clock."""
        return float(self.ask("measure", *words)["seconds"])


@contextmanager
def uploaded(host: Host) -> Iterator[Remote]:
    """Bring our scripts there for the while."""
    folder = host.run("mktemp -d /root/bench.XXXXXX").stdout.strip()
    try:
        _upload(host, folder)
        yield Remote(host, folder)
    finally:
        host.run(["rm", "-rf", folder])


@contextmanager
def with_fleet(remote: Remote) -> Iterator[None]:
    """Start the fleet; afterwards nothing of it is left on the host."""
    try:
        hosts.on_host(remote.host.spec, "fleet", str(FLEET_SIZE))
        remote.ask("measure", "restore")
        yield
    finally:
        hosts.on_host(remote.host.spec, "fleet", "0")


def _upload(host: Host, folder: str) -> None:
    pack = ["tar", "-C", str(ROOT), "--exclude=__pycache__"]
    pack += ["--transform", f"s,^plugins,{COLLECTION}/plugins,", "--transform", "s,^dev/,,"]
    packed = subprocess.run([*pack, "-c", "plugins", "dev/bench/on_host"], check=True, stdout=subprocess.PIPE)
    subprocess.run([*ssh.command(host.name), "tar", "-C", folder, "-x"], input=packed.stdout, check=True)
