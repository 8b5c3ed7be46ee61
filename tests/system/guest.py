# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest wrote and where it lies, seen from outside: through QEMU's monitor, the image files and ext4 itself."""

from __future__ import annotations

import json
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


def in_guest(host: Host, vm: str, script: str) -> None:
    """Run a shell line in the guest through its agent, without waiting for it."""
    arguments = {"path": "/bin/busybox", "arg": ["sh", "-c", script]}
    host.virsh("qemu-agent-command", vm, json.dumps({"execute": "guest-exec", "arguments": arguments}))


def at_nudges(host: Host, vm: str, *lines: str) -> None:
    """Have a pristine guest run the first line of shell at the first nudge, the second at the second; $agent is its agent.

    A nudge is a non-maskable interrupt: it reaches a guest also when its agent stands still, and nothing else there causes
    one. So the agent has answered before it is stopped, and whoever nudges knows when it has, however slow the machine is.
    """
    script = "agent=$(pidof qemu-ga)"
    for number, line in enumerate(lines, 1):
        told = f"until grep -q 'NMI: *{number} ' /proc/interrupts; do sleep 0.1; done"
        script += f"; {told}; {line}; echo nudge {number} is done >/dev/console"
    in_guest(host, vm, script)


def nudge(vm: str, number: int) -> str:
    """Return the command for the host's shell that nudges the guest and waits until it has run its line."""
    done = f'until grep -q "nudge {number} is done" /var/log/lab/{vm}.log; do sleep 0.1; done'
    return f"virsh inject-nmi {vm} >&2 && timeout 60 sh -c '{done}'"


def freeze_status(host: Host, vm: str) -> str:
    """Return frozen or thawed, by the word of the agent, which it gives in its turn; nothing where it does not answer."""
    status = json.dumps({"execute": "guest-fsfreeze-status"})
    said = host.run(["virsh", "qemu-agent-command", vm, status, "--timeout", "5"], check=False)
    return "" if said.returncode else str(json.loads(said.stdout)["return"])


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
