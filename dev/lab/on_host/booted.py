"""Guests that have booted: each is waited for once, and kept to go on from there."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any, Optional

import libvirt
import libvirt_qemu
from domains import Vm

SECONDS_TO_BOOT = 120
# Of each real guest what it was when it was first ready. From there a reset goes on, at a quarter of what booting costs.
BOOTED = Path("/var/lib/lab-booted")


def find(connection: Any, name: str) -> Optional[Any]:
    return next((domain for domain in connection.listAllDomains() if domain.name() == name), None)


def keep_booted(connection: Any, vm: Vm) -> None:
    """Keep a running guest's definition, memory and disk; it goes on."""
    folder = BOOTED / vm.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    domain = connection.lookupByName(vm.name)
    (folder / "domain.xml").write_text(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    domain.save(str(folder / "memory"))
    shutil.copy(vm.disks[0].path(vm.name), folder / "disk")
    connection.restore(str(folder / "memory"))
    (folder / "made-from.xml").write_text(vm.xml())  # the mark that all is there


def go_on(connection: Any, vm: Vm) -> bool:
    """Whether the guest goes on from where it was kept."""
    folder = BOOTED / vm.name
    mark = folder / "made-from.xml"
    if not mark.exists() or mark.read_text() != vm.xml():
        return False
    shutil.copy(folder / "disk", vm.disks[0].path(vm.name))
    connection.defineXML((folder / "domain.xml").read_text())
    connection.restore(str(folder / "memory"))
    return True


def wait_ready(connection: Any, vm: Vm) -> None:
    """Until the guest writes and its agent answers."""
    deadline = time.monotonic() + SECONDS_TO_BOOT
    while not (writes(vm) and (not vm.agent or agent_answers(connection, vm))):
        if time.monotonic() > deadline:
            raise SystemExit(f"{vm.name} is not ready after {SECONDS_TO_BOOT} s; see {vm.log}")
        time.sleep(0.2)


def writes(vm: Vm) -> bool:
    return vm.log.exists() and "writer seq=" in vm.log.read_text(errors="replace")


def agent_answers(connection: Any, vm: Vm) -> bool:
    try:
        libvirt_qemu.qemuAgentCommand(find(connection, vm.name), '{"execute": "guest-ping"}', 2, 0)
    except libvirt.libvirtError:
        return False
    return True


def wait_all_ready(connection: Any, vms: list[Vm]) -> None:
    for vm in vms:
        if vm.guest and vm.running:
            wait_ready(connection, vm)
