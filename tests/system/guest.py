# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest wrote and where it lies, seen from outside: through QEMU's monitor, the image files and ext4 itself."""

from __future__ import annotations

import re
import time
from typing import Callable

from lab.api import Host

IMAGES = "/var/lib/libvirt/images"


def wait_for(what: str, condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until a condition holds; fail saying what did not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds:g} seconds"
        time.sleep(0.2)


def write(host: Host, vm: str, disk_index: int, pattern: int, size: str = "64k") -> None:
    """Write a pattern at the start of a running VM's disk, at the top of its chain, as a guest would."""
    log = f"/var/log/libvirt/qemu/{vm}.log"
    device = f"/machine/peripheral/virtio-disk{disk_index}/virtio-backend"
    before = host.run(f"grep -c ops/sec {log}", check=False).stdout
    host.virsh("qemu-monitor-command", vm, "--hmp", f'qemu-io -d {device} "write -P {pattern} 0 {size}"')
    wait_for("QEMU's answer", lambda: host.run(f"grep -c ops/sec {log}", check=False).stdout != before)
    # Until a flush the overlay's tables are in QEMU's cache only, and a reader of the file misses the data.
    host.virsh("qemu-monitor-command", vm, "--hmp", f'qemu-io -d {device} "flush"')


def holds(host: Host, file: str, image_format: str, pattern: int, size: str = "64k") -> bool:
    """Whether an image, with all that backs it, has the pattern."""
    said = host.run(["qemu-io", "-U", "-r", "-f", image_format, "-c", f"read -P {pattern} 0 {size}", file], check=False)
    assert "ops/sec" in said.stdout, said.stdout + said.stderr
    return "Pattern verification failed" not in said.stdout


def needs_recovery(host: Host, file: str) -> bool:
    """Whether the ext4 in an image would have to replay its journal: the mark of a crash-consistent copy."""
    raw = f"{IMAGES}/look.raw"
    features = host.run(
        f"qemu-img convert -U -f qcow2 -O raw '{file}' {raw} && dumpe2fs -h {raw} 2>/dev/null; rm -f {raw}"
    ).stdout
    assert "Filesystem features" in features, features
    return "needs_recovery" in features


def sequence(host: Host, vm: str) -> int:
    """Return the number the guest's writer reported last."""
    numbers = re.findall(r"writer seq=(\d+)", host.run(f"tail -n 3 /var/log/lab/{vm}.log").stdout)
    return int(numbers[-1]) if numbers else -1


def is_writing(host: Host, vm: str, seconds: float = 20) -> bool:
    """Whether the guest's writer gets on: its file system is not frozen and it is not paused."""
    before, end = sequence(host, vm), time.monotonic() + seconds
    while time.monotonic() < end:
        if sequence(host, vm) > before:
            return True
        time.sleep(0.3)
    return False


def files_of(host: Host, vm: str) -> set[str]:
    """Return the names of the files beside the VM's disks that carry its name."""
    return set(host.run(f"cd {IMAGES} && ls -d {vm}[.-]*").stdout.split())
