# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps a VM's memory from being saved, read from its XML before anything is tried.

An attempt that libvirt refuses pauses the guest for a moment, and QEMU's own list (``query-migrate``) taints the
domain, so this list is ours: QEMU's ``migrate_add_blocker`` calls and ``qemuMigrationSrcIsAllowed`` of libvirt 7 to 12.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VirtualMachine

# What libvirt says, with an error code that says less, where a VM's memory cannot be saved.
MEMORY_HINTS = ("cannot migrate domain", "invtsc", "migration is")

# QEMU adds a blocker when it opens a writable image of these formats.
_UNMIGRATABLE_FORMATS = ("vmdk", "vdi", "vhdx", "vpc", "qed", "qcow", "parallels", "vvfat")


def memory_blockers(domain: Any) -> tuple[str, ...]:
    """Return every blocker, each a phrase that names the device; empty where the memory can be saved."""
    return (*_cpu(domain), *_security(domain), *_devices(domain), *_disks(domain))


def _cpu(domain: Any) -> list[str]:
    cpu = domain.find("cpu")
    if cpu is None:
        return []
    blockers = []
    invtsc = _policy(cpu, "invtsc")
    frequency = domain.find("clock/timer[@name='tsc'][@frequency]") is not None
    if invtsc in ("require", "force") and not frequency:
        blockers.append("the CPU feature invtsc is required and no TSC frequency is set")
    elif cpu.get("migratable") == "off" and invtsc not in ("disable", "forbid") and not frequency:
        # Only host-passthrough and maximum know the attribute; it lets the host's invtsc through.
        blockers.append("the CPU is migratable='off', which passes invtsc through, and no TSC frequency is set")
    if domain.find("features/hyperv[@mode='passthrough']") is not None:
        blockers.append("Hyper-V enlightenments are in passthrough mode")
    return blockers


def _policy(cpu: Any, name: str) -> str:
    feature = cpu.find(f"feature[@name='{name}']")
    return "" if feature is None else str(feature.get("policy", "require"))


def _security(domain: Any) -> list[str]:
    launch = domain.find("launchSecurity")
    return [] if launch is None else [f"the guest's memory is encrypted (launchSecurity {launch.get('type')})"]


def _devices(domain: Any) -> list[str]:
    devices = domain.find("devices")
    if devices is None:
        return []
    blockers = [
        f"a host device of type {element.get('type')} is assigned"
        for element in devices.iterfind("hostdev")
        if element.get("type") != "usb"
    ]
    blockers += ["a host network device is assigned"] * len(devices.findall("interface[@type='hostdev']"))
    blockers += ["a vDPA network device is assigned"] * len(devices.findall("interface[@type='vdpa']"))
    blockers += [_filesystem(element) for element in devices.iterfind("filesystem")]
    blockers += [
        f"shared memory {element.get('name')} is attached"
        for element in devices.iterfind("shmem")
        if element.get("role") != "master"
    ]
    if devices.find("video/model/acceleration[@accel3d='yes']") is not None:
        blockers.append("the video device has 3D acceleration (virgl)")
    if devices.find("crypto") is not None:
        blockers.append("a virtio-crypto device is attached")
    if devices.find("iommu[@model='amd']") is not None:
        blockers.append("an AMD IOMMU is emulated")
    return blockers


def _filesystem(element: Any) -> str:
    driver = element.find("driver")
    kind = "virtiofs" if driver is not None and driver.get("type") == "virtiofs" else "9p"
    target = element.find("target")
    name = "" if target is None else f" {target.get('dir')}"
    return f"the {kind} file system{name} is attached"


def _disks(domain: Any) -> list[str]:
    blockers = []
    for element in domain.iterfind("devices/disk"):
        target = element.find("target")
        name = target.get("dev")
        driver = element.find("driver")
        image_format = "" if driver is None else driver.get("type", "")
        if element.find("transient") is not None:
            blockers.append(f"disk {name} is transient")
        if element.get("type") == "vhostuser":
            blockers.append(f"disk {name} is a vhost-user device")
        if target.get("bus") == "nvme":
            blockers.append(f"disk {name} is on an emulated NVMe controller")
        if image_format in _UNMIGRATABLE_FORMATS and element.find("readonly") is None:
            blockers.append(f"disk {name} has the image format {image_format}")
    return blockers


def resolve_memory(vm: VirtualMachine, request: SnapshotRequest) -> tuple[SnapshotRequest, tuple[str, ...]]:
    """Return the request as this VM can have it, with notes on what differs; raise ``memory_blocked``."""
    if request.disk_only:
        return request, ()
    if not vm.active:
        return replace(request, include_memory=False), (f"{vm.name} is {vm.power} and has no memory to save",)
    if not vm.memory_blockers:
        return request, ()
    if request.on_memory_blocked == "disk_only":
        return replace(request, include_memory=False), ("memory left out: " + "; ".join(vm.memory_blockers),)
    raise memory_blocked(vm.name, vm.memory_blockers)


def memory_blocked(
    name: str, blockers: tuple[str, ...], afterwards: str = "The VM was not touched.", *, foreseen: bool = True
) -> KvmError:
    """Return the error that names every blocker and the ways out; ``on_memory_blocked`` is one where it can be ``foreseen``."""
    or_else = ", or on_memory_blocked: disk_only" if foreseen else ""
    ways = [f"take a disk-only snapshot (include_memory: false{or_else})"]
    if any("invtsc" in blocker for blocker in blockers):
        ways.append(
            "give the VM a TSC frequency (<clock><timer name='tsc' frequency='HZ'/></clock>, then power it off and on)"
        )
        ways.append("or disable its CPU feature invtsc")
    return KvmError(
        "memory_blocked",
        f"The memory of {name} cannot be saved: {'; '.join(blockers)}.",
        f"{afterwards} Ways out: {'; '.join(ways)}.",
        blockers=list(blockers),
    )


def memory_timeout(name: str, seconds: float) -> KvmError:
    """Return the error of memory that was not saved in time."""
    return KvmError(
        "timeout",
        f"The memory of {name} was not saved within {seconds:g} seconds, and saving was aborted.",
        "The VM goes on as before, and no snapshot was taken. Give a longer timeout, or take a disk-only snapshot.",
    )
