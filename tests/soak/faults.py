# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a hypervisor: faults that are planted at a step of the collection's code there."""

from __future__ import annotations

import glob
import importlib
import os
import signal
import subprocess
import time
from functools import partial
from typing import Any, Callable

from here import command, virsh

_BACKEND = "ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt"


def plant(step: str, fault: str) -> None:
    """Have a fault happen once, just before the backend calls something."""
    module_name, _colon, path = step.partition(":")
    names = path.split(".")
    owner = importlib.import_module(f"{_BACKEND}.{module_name}")
    for name in names[:-1]:
        owner = getattr(owner, name)
    original = getattr(owner, names[-1])
    happened: list[bool] = []

    def planted(*args: Any, **kwargs: Any) -> Any:
        if not happened:
            happened.append(True)
            FAULTS[fault]()
        return original(*args, **kwargs)

    setattr(owner, names[-1], planted)


def _kill_qemu() -> None:
    for pid_file in glob.glob("/run/libvirt/qemu/soak.pid"):
        with open(pid_file, encoding="utf-8") as file:
            os.kill(int(file.read()), signal.SIGKILL)
    end = time.monotonic() + 10
    while virsh("domstate", "soak", check=False).strip() == "running" and time.monotonic() < end:
        time.sleep(0.05)


def _kill_libvirtd() -> None:
    command("pkill", "-KILL", "-x", "libvirtd", check=False)


def _kill_libvirtd_after(milliseconds: int) -> None:
    line = f"sleep {milliseconds / 1000:.3f}; pkill -KILL -x libvirtd"
    subprocess.Popen(["sh", "-c", line], start_new_session=True)


FAULTS: dict[str, Callable[[], None]] = {
    "module": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "libvirtd": _kill_libvirtd,
    **{f"libvirtd after {ms} ms": partial(_kill_libvirtd_after, ms) for ms in range(500)},
    "qemu": _kill_qemu,
    "none": lambda: None,
}
