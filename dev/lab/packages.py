"""Debian packages: what this machine needs, and where it gets Debian from."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .commands import LabError, run
from .paths import SOURCES

NEEDED = ("mmdebstrap", "systemd-container", "iproute2", "openssh-client", "cpio", "qemu-utils", "e2fsprogs")
NEEDED_FOR_METAL = ("qemu-system-x86",)
APT_GET = (str(SOURCES / "apt_get"), "-q")


def missing(needed: Sequence[str] = NEEDED) -> list[str]:
    """A package counts as there only when dpkg has it fully installed."""
    answer = run(["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *needed], check=False)
    return [name for name in needed if f"{name} installed" not in answer.stdout.splitlines()]


def install_missing(*more: str) -> None:
    names = missing((*NEEDED, *more))
    if not names:
        return
    print(f"installing {' '.join(names)}", flush=True)
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    install = [*APT_GET, "install", "--yes", "--no-install-recommends", *names]
    try:
        run(install)
    except LabError:
        # The package lists of a fresh or long unused machine are absent or name files the archive no longer has.
        run([*APT_GET, "update"])
        run(install)


def uninstallable() -> list[str]:
    """Those of the missing packages that apt knows no candidate for."""
    return [name for name in missing() if not run(["apt-cache", "madison", name], check=False).stdout.strip()]


def debian_mirror() -> list[str]:
    """The Debian archive this machine itself uses; nothing on another system: mmdebstrap then takes its default."""
    form = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"
    targets = run(["apt-get", "indextargets", "--format", form, "Created-By: Packages"], check=False).stdout
    for line in targets.splitlines():
        origin, label, address = line.split("|", 2)
        if origin == label == "Debian":
            return [address]
    return []
