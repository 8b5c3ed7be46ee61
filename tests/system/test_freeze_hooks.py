# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hook of guide_freeze_hooks.rst in a real guest: it runs around the snapshot, and nobody is told a lie if it fails."""

from __future__ import annotations

import base64

from lab.api import Host

from .ansible_run import run_module
from .conftest import Fresh
from .guest import in_guest, is_writing, wait_for
from .guide_blocks import blocks

VM = "web01"
_PORT = "/dev/virtio-ports/org.qemu.guest_agent.0"
HOOK = next(block.text for block in blocks("guide_freeze_hooks") if "case" in block.text)


def console(host: Host) -> str:
    return host.run(f"cat /var/log/lab/{VM}.log").stdout


def give_hook(host: Host, before_freeze: str) -> None:
    """Put the hook into the guest and have its agent know it, as the service of the guide does."""
    scripts = {
        "fsfreeze-hook": HOOK,
        "before-freeze": f"#!/bin/sh\necho hook: freeze >/dev/console\n{before_freeze}\n",
        "after-thaw": "#!/bin/sh\necho hook: thaw >/dev/console\n",
    }
    lines = ["mkdir -p /etc/qemu"]
    for name, text in scripts.items():
        packed = base64.b64encode(text.encode()).decode()
        lines.append(f"echo {packed} | base64 -d >/etc/qemu/{name}; chmod 755 /etc/qemu/{name}")
    lines.append("killall qemu-ga; while pidof qemu-ga; do :; done")
    lines.append(f"qemu-ga -m virtio-serial -p {_PORT} -d -F/etc/qemu/fsfreeze-hook; echo hook: ready >/dev/console")
    in_guest(host, VM, "; ".join(lines).replace("killall", "/bin/busybox killall"))
    wait_for("the guest agent with its hook", lambda: "hook: ready" in console(host))


def test_the_hook_runs_around_the_snapshot(host: Host, fresh: Fresh) -> None:
    fresh(VM)
    give_hook(host, "exit 0")
    result = run_module(host, "vm_snapshot", {"vm": VM, "name": "hooked", "quiesce": "required"})
    assert not result["failed"], result["msg"]
    assert result["vms"][0]["quiesced"] is True
    wait_for("the hook's end", lambda: "hook: thaw" in console(host))
    said = [line.strip() for line in console(host).splitlines() if "hook: " in line]
    assert [line[line.index("hook: ") :] for line in said] == ["hook: ready", "hook: freeze", "hook: thaw"]
    assert is_writing(host, VM)


def test_a_hook_that_fails_lets_no_quiesced_snapshot_be_taken(host: Host, fresh: Fresh) -> None:
    fresh(VM)
    give_hook(host, "exit 1")
    refused = run_module(host, "vm_snapshot", {"vm": VM, "name": "hooked", "quiesce": "required"})
    assert refused["vms"][0]["error_code"] == "quiesce_failed", refused["msg"]
    assert host.virsh("snapshot-list", VM, "--name").split() == []
    taken = run_module(host, "vm_snapshot", {"vm": VM, "name": "hooked", "quiesce": "auto"})
    assert (taken["failed"], taken["vms"][0]["quiesced"]) == (False, False), taken["msg"]
    assert any("not quiesced" in note for note in taken["vms"][0]["notes"])
    assert is_writing(host, VM)
