# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bare Debian in a root of its own, in which a stranger works: a copy of a cached image, entered with systemd-nspawn.

It shares this machine's network, which reaches the lab's hosts and Debian's mirror, and nothing else. What pip asks for comes
from wheels that this machine has fetched as its own pip is configured.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Optional

from lab import cgroups, lifecycle
from lab.builds import cached, recipe_hash
from lab.commands import run_or_die_with_us
from lab.packages import debian_mirror

from .artifact import ROOT

USER = "anna"
HOME = f"/home/{USER}"
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
_PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64", "manylinux_2_34_x86_64")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")


def bare_image(suite: str) -> Path:
    """Return the folder with what every Debian has, and nothing more: no Python, no SSH."""

    def build(folder: Path) -> None:
        command = ["mmdebstrap", "--quiet", "--variant=minbase", '--aptopt=Acquire::Check-Valid-Until "false"']
        run_or_die_with_us([*command, suite, str(folder), *debian_mirror()])

    with lifecycle.alone():
        return cached(f"bare-{suite}", recipe_hash([suite], []), build)


def fetch_wheels(suite: str, folder: Path) -> None:
    """Fetch the newest ansible-core that this Debian's Python can run, as `make env` pins it, with all that it needs."""
    newest = PYTHONS[suite] != "3.11"
    marker = 'python_version >= "3.12"' if newest else 'python_version < "3.12"'
    pins = (ROOT / "dev/requirements/ansible.txt").read_text("utf-8")
    pinned = re.search(rf"^(ansible-core==\S+) ; {re.escape(marker)}$", pins, re.MULTILINE)
    assert pinned, pins
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder), "--only-binary=:all:"]
    command += ["--implementation", "cp", "--python-version", PYTHONS[suite]]
    command += [word for platform in _PLATFORMS for word in ("--platform", platform)]
    subprocess.run([*command, pinned[1]], check=True, capture_output=True)


class Debian:
    """One root folder, that of a machine which nobody has set up."""

    def __init__(self, suite: str, root: Path, wheels: Path) -> None:
        self.root = root
        self._group = f"walk-{suite}"
        subprocess.run(["cp", "--archive", "--reflink=auto", f"{bare_image(suite)}/.", root], check=True)
        fetch_wheels(suite, wheels)
        self._wheels = wheels
        self.run(f"useradd --create-home --shell /bin/bash {USER}", "root")

    def run(self, commands: str, user: str = USER, status: Optional[int] = 0, stdin: str = "") -> str:
        """Run lines of shell until one fails, and return all that was to be seen."""
        words = [
            *["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--as-pid2", "--pipe"],
            f"--directory={self.root}",
        ]
        words += ["--resolv-conf=copy-host", "--timezone=off", "--link-journal=no", f"--bind-ro={self._wheels}:/wheels"]
        words += [f"--user={user}", f"--chdir={HOME if user == USER else '/'}", "--setenv=LANG=C.UTF-8"]
        words += ["--setenv=PIP_NO_INDEX=1", "--setenv=PIP_FIND_LINKS=/wheels", "--setenv=ANSIBLE_NOCOLOR=1"]
        words += [f"--setenv={name}={os.environ[name]}" for name in _PROXIES if name in os.environ]
        done = subprocess.run(
            cgroups.inside(self._group, [*words, "bash", "-ec", commands]),
            check=False,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        assert status is None or done.returncode == status, done.stdout
        return done.stdout

    def put(self, name: str, text: str) -> None:
        """Write a file into the user's home, which only the user can read."""
        path = f"{HOME}/{name}"
        self.run(f"umask 077; mkdir -p $(dirname {path}); cat > {path}", stdin=text)

    def close(self) -> None:
        cgroups.remove(self._group)
