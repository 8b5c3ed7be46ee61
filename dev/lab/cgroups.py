"""A control group for each host, above the groups its systemd makes, in a tree of version 2.

Without a group of its own `systemd-nspawn --keep-unit` puts every host into ours, and the hosts' systemds share one tree: each
sees the others' `machine-qemu-1-web01.scope` as its own, never empty, and fails to end it with "Input/output error".
systemd of Debian 14 (262) refuses version 1, which this machine may still have: each host sees version 2 alone, which those
of Debian 11 and later work with too.
"""

from __future__ import annotations

import time

from .commands import LabError, run

_VERSION_2 = "umount --recursive --lazy /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup"
# Takes the folder of a group below the tree, enters it, and becomes the command that follows.
_ENTER = f'set -e; {_VERSION_2}; cd /sys/fs/cgroup; mkdir -p "$1"; echo $$ >"$1/cgroup.procs"; cd /; shift; exec "$@"'
_REMOVE = f'{_VERSION_2}; cd /sys/fs/cgroup; [ ! -d "$1" ] || find "$1" -depth -type d -exec rmdir {{}} +'
_ALONE = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]


def _folder(name: str) -> str:
    return f"lqlab-{name}"


def inside(name: str, command: list[str]) -> list[str]:
    """The command that runs `command` in a new group of the host's own."""
    return [*_ALONE, _ENTER, "enter", _folder(name), *command]


def remove(name: str) -> None:
    """The groups are empty when the last process has been reaped, a moment after it ended."""
    deadline = time.monotonic() + 5
    while (done := run([*_ALONE, _REMOVE, "remove", _folder(name)], check=False)).returncode:
        if time.monotonic() > deadline:
            raise LabError(f"the control group {_folder(name)} is not empty: {done.stderr}")
        time.sleep(0.05)
