"""A control group for each host, above the groups its systemd makes.

Without it `systemd-nspawn --keep-unit` puts every host into our own group, and the hosts' systemds share one tree: each sees the
others' `machine-qemu-1-web01.scope` as its own, never empty, and fails to end it with "Input/output error".
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from .commands import LabError

# Takes a number of groups and that many folders, enters them, and becomes the command that follows.
ENTER = 'count=$1; shift; while [ "$count" -gt 0 ]; do echo $$ >"$1/cgroup.procs"; shift; count=$((count - 1)); done; exec "$@"'


def _folders(name: str) -> list[Path]:
    """In cgroup v2 and, on a machine that still has v1, in the tree of the name systemd: the two that nspawn writes to."""
    found = []
    for line in Path("/proc/mounts").read_text().splitlines():
        _device, where, kind, options = line.split()[:4]
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(where, f"lqlab-{name}"))
    return found


def inside(name: str, command: list[str]) -> list[str]:
    """The command that runs `command` in a new group of the host's own."""
    folders = _folders(name)
    for folder in folders:
        folder.mkdir(exist_ok=True)
    return ["sh", "-c", ENTER, "enter", str(len(folders)), *map(str, folders), *command]


def remove(name: str) -> None:
    """The groups are empty when the last process has been reaped, a moment after it ended."""
    deadline = time.monotonic() + 5
    for folder in _folders(name):
        while folder.exists():
            try:
                for path, _folders_in_it, _files in os.walk(folder, topdown=False):
                    os.rmdir(path)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise LabError(f"the control group {folder} is not empty: {error}") from error
                time.sleep(0.05)
