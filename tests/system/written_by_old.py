# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a hypervisor beside the code of an earlier release, which takes snapshots of a VM that is off and dies in a removal.

    written_by_old.py VM HOW_MANY

The snapshots are s1, s2, …, in two branches, and the disk holds the number of each as a byte.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import driver
from lxml import etree

from ansible_collections.limiquantix.kvm.plugins.module_utils._backend.libvirt import _remove

_WHERE = {"backend": "libvirt", "uri": "qemu:///system"}


def _write(vm: str, byte: int) -> None:
    """Fill the beginning of the VM's disk."""
    xml = subprocess.run(["virsh", "dumpxml", vm], check=True, capture_output=True).stdout
    file = etree.fromstring(xml).find("devices/disk/source").get("file")
    words = ["qemu-io", "-f", "qcow2", "-c", f"write -P {byte} 0 64k", file]
    subprocess.run(words, check=True, capture_output=True)


def _done(result: dict[str, Any]) -> None:
    assert not result.get("failed"), result


def _die(*_ignored: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Do it; the process ends with the kill."""
    vm, how_many = sys.argv[1], int(sys.argv[2])
    for number in range(1, how_many + 1):
        if number == how_many // 2 + 1:
            _done(driver.revert(_WHERE, [vm], False, {}, name=f"s{how_many // 4}"))
        _write(vm, number)
        _done(driver.snapshot(_WHERE, [vm], False, {}, name=f"s{number}", quiesce="never"))
    _write(vm, how_many + 1)
    _remove.Removal._forget = _die
    driver.remove(_WHERE, [vm], False, {}, name=f"s{how_many - 1}")


if __name__ == "__main__":
    main()
