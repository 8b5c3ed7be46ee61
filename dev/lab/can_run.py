"""Whether this machine can run the lab; asked by tests that must either run for real or say why they do not."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from . import cgroups, packages
from .commands import run


def obstacle() -> Optional[str]:
    """One line naming the first thing in the way; None when nothing is."""
    return next(_obstacles(), None)


def _obstacles() -> Iterator[str]:
    if os.geteuid() != 0:
        yield "needs root"
    if platform.machine() != "x86_64":
        yield f"needs an x86_64 machine, this is {platform.machine()}"
    if not shutil.which("apt-get"):
        yield "needs Debian or Ubuntu: there is no apt-get"
    if names := packages.uninstallable():
        yield f"apt knows no package {', '.join(names)} (apt-get update may help)"
    if "overlay" not in Path("/proc/filesystems").read_text() and run(["modprobe", "overlay"], check=False).returncode:
        yield "the kernel has no overlay file system"
    if run(["unshare", "--net", "true"], check=False).returncode:
        yield "may not make network namespaces"
    if run(["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=False).returncode:
        yield "may not mount"
    if shutil.which("systemd-nspawn"):
        yield from _nspawn_obstacle()


def _nspawn_obstacle() -> Iterator[str]:
    """A container on this machine's own files, with nothing in it but `true`."""
    probe = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--volatile=yes", "--directory=/"]
    done = run(cgroups.inside("probe", [*probe, "/bin/true"]), check=False, timeout=60)
    cgroups.remove("probe")
    if done.returncode:
        yield f"systemd-nspawn does not work here: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
