# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a hypervisor and does what the model's rules say: the module's work, the user's, and looking at all of it.

A JSON line each way. What is seen is read by other means than the collection's: virsh's XML, qemu-img and qemu-io.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any, Callable

import libvirt
from contents import _WHERE, _disks, look, write
from faults import plant
from here import _CONNECTION, ROOT, SIZE, _domain, command, remove, virsh
from kept_copies import again, keep
from lxml import etree

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.open import open_hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.action import Action
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import Wording, outcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.remove import Absent, named
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.revert import Reverted
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.run import Limits, run
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.take import Present
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import RevertRequest, SnapshotRequest

_DISK = """
    <disk type='file' device='disk'>
      <driver name='qemu' type='{format}'/>
      <source file='{path}'/>
      <target dev='{target}' bus='virtio'/>
      <serial>{target}</serial>
    </disk>"""
_DOMAIN = """
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>16</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <loader readonly='yes' type='rom'>/opt/guest/halt.rom</loader>
  </os>
  <features><acpi/></features>
  <devices>{disks}
    <memballoon model='none'/>
  </devices>
</domain>"""


def reset(vm: str, formats: dict[str, str]) -> dict[str, Any]:
    """Make a VM anew, shut off, with a disk for each target, all zeros."""
    remove(vm)
    directory = f"{ROOT}/{vm}"
    os.makedirs(directory)
    disks = ""
    for target, image_format in formats.items():
        path = f"{directory}/{target}.{image_format}"
        command("qemu-img", "create", "-q", "-f", image_format, path, str(SIZE))
        disks += _DISK.format(format=image_format, path=path, target=target)
    with open(f"{directory}.xml", "w", encoding="utf-8") as file:
        file.write(_DOMAIN.format(name=vm, disks=disks))
    virsh("define", f"{directory}.xml")
    return {}


def module(
    *,
    name: str,
    state: str = "present",
    power: str = "restore",
    children: bool = False,
    include_memory: bool = False,
    vm: str = "soak",
) -> dict[str, Any]:
    """Do what vm_snapshot does with these options."""
    actions: dict[str, Callable[[], Action[Any, Any]]] = {
        "present": lambda: Present(SnapshotRequest(name, include_memory=include_memory, quiesce="never")),
        "reverted": lambda: Reverted(RevertRequest(name, power)),
        "absent": lambda: Absent(named(name, children)),
    }
    try:
        with open_hypervisor(_WHERE) as hypervisor:
            done = run(hypervisor, [vm], actions[state](), Limits(1, 120), check_mode=False)
    except KvmError as error:
        return {"failed": True, "vms": [], **error.to_failure()}
    return outcome(Wording(name, state), done, check_mode=False)


def spoilt(step: str, fault: str, options: dict[str, Any]) -> dict[str, Any]:
    """Do what vm_snapshot does in a process of its own, and have something killed just before one of its steps.

    ``step`` is a name inside the libvirt backend, as its user sees it (`operations.remove:forget`).
    """
    line = json.dumps({"call": "module", "where": None, "plant": [step, fault], **options})
    done = subprocess.run(
        [sys.executable, __file__], check=False, input=line + "\n", capture_output=True, text=True, timeout=120
    )
    assert "Traceback" not in done.stderr, done.stderr
    result = json.loads(done.stdout) if done.stdout.strip() else {}
    return {"killed": done.returncode == -signal.SIGKILL, "result": result}


def power(vm: str, on: bool) -> dict[str, Any]:
    """Start a VM, or pull its plug."""
    virsh("start" if on else "destroy", vm)
    return {}


def is_on(vm: str) -> dict[str, Any]:
    """Tell whether a VM runs, by libvirt's word."""
    return {"on": bool(_domain(vm).isActive())}


def end_process(pid: int) -> dict[str, Any]:
    """End a VM's own QEMU, of which libvirt does not know."""
    with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
        assert "guest=soak" in file.read()
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < end, "it does not end"
        time.sleep(0.05)
    return {}


def restart_libvirtd() -> dict[str, Any]:
    """Restart the daemon, and wait until it answers."""
    command("systemctl", "reset-failed", "libvirtd", check=False)
    command("systemctl", "restart", "libvirtd")
    end = time.monotonic() + 20
    while not virsh("uri", check=False).strip():
        assert time.monotonic() < end, "libvirtd did not come back"
        time.sleep(0.05)
    _CONNECTION[0] = libvirt.open("qemu:///system")
    return {}


def native(words: list[str]) -> dict[str, Any]:
    """Run virsh, and tell what it said and whether libvirtd has outlived that."""
    before = _libvirtd()
    done = subprocess.run(
        ["virsh", "-c", "qemu:///system", *words], check=False, capture_output=True, text=True, timeout=120
    )
    crashed = "End of file" in done.stderr or _libvirtd() != before
    if crashed:
        restart_libvirtd()
    return {"ok": done.returncode == 0, "said": done.stdout + done.stderr, "crashed": crashed}


def _libvirtd() -> str:
    # Not by its name, which children have too for a moment.
    return command("systemctl", "show", "--property=MainPID", "libvirtd").strip()


def virsh_take(vm: str, name: str) -> dict[str, Any]:
    """Take a snapshot as a user of virsh would, of all disks."""
    virsh("snapshot-create-as", vm, name, "--disk-only", "--atomic", *_diskspecs(vm, name))
    return {}


def _diskspecs(vm: str, name: str) -> list[str]:
    # A raw disk's default name would be that of the image itself with another ending: two snapshots would meet.
    words = []
    for target, _path, _format in _disks(etree.fromstring(_domain(vm).XMLDesc(0))):
        words += ["--diskspec", f"{target},file={ROOT}/{vm}/{target}-{name}"]
    return words


CALLS: dict[str, Callable[..., dict[str, Any]]] = {
    call.__name__: call
    for call in (
        *(reset, remove, module, spoilt, power, is_on, end_process, restart_libvirtd),
        *(native, keep, again, virsh_take, write, look),
    )
}


def main() -> None:
    """Answer until the end of the input."""
    libvirt.registerErrorHandler(lambda *_ignored: None, None)
    _CONNECTION.append(libvirt.open("qemu:///system"))
    for line in sys.stdin:
        asked = json.loads(line)
        asked.pop("where")
        if "plant" in asked:
            plant(*asked.pop("plant"))
        try:
            answer = CALLS[asked.pop("call")](**asked)
        except AssertionError as error:
            answer = {"broken": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
