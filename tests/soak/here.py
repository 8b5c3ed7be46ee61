# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a hypervisor: what all that works there needs, its libvirt and its programs."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
from typing import Any

ROOT = "/var/lib/libvirt/images/soak"
REGIONS, REGION, APART = 3, 64 << 10, 1 << 20  # how many places of a disk are written, how long and how far apart
SIZE = 4 << 20
_CONNECTION: list[Any] = []


def command(*words: str, check: bool = True) -> str:
    """Run a program and return what it said."""
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(words)}: {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def virsh(*words: str, check: bool = True) -> str:
    """Run virsh; a daemon that has just been restarted gets a moment."""
    return command("virsh", "-c", "qemu:///system", *words, check=check)


def _domain(vm: str) -> Any:
    return _CONNECTION[0].lookupByName(vm)


def remove(vm: str) -> dict[str, Any]:
    """Remove a VM with all that is there of it."""
    uuid = virsh("domuuid", vm, check=False).strip()
    virsh("destroy", vm, check=False)
    virsh("undefine", vm, "--snapshots-metadata", check=False)
    if os.path.islink(f"{ROOT}/{vm}"):  # of storage that was moved
        os.unlink(f"{ROOT}/{vm}")
    shutil.rmtree(f"{ROOT}/{vm}", ignore_errors=True)
    for memory in glob.glob(f"{ROOT}/{vm}.*.memory"):
        os.unlink(memory)
    for suffix in ("json", "lock", "percent"):
        if uuid and os.path.exists(f"/var/lib/limiquantix-kvm/{uuid}.{suffix}"):
            os.unlink(f"/var/lib/limiquantix-kvm/{uuid}.{suffix}")
    return {}
