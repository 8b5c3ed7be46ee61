# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mock's VMs as the XML that libvirt would show, so that the very rules of the libvirt backend judge them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import AGENT_CHANNEL


def vm_element(vm: Mapping[str, Any]) -> Any:
    """Return the ``<domain>`` of a VM of the state file; only what decides about snapshots is in it."""
    root = Element("domain")
    SubElement(root, "uuid").text = vm.get("uuid")
    operating_system = SubElement(root, "os")
    if vm.get("firmware") == "efi":
        SubElement(operating_system, "loader", type="pflash")
        SubElement(operating_system, "nvram").text = vm.get("nvram")
    _cpu(root, vm.get("cpu", {}))
    devices = SubElement(root, "devices")
    for disk in vm["disks"]:
        _disk(devices, disk)
    for kind in vm.get("host_devices", []):
        SubElement(devices, "hostdev", type=str(kind))
    for filesystem in vm.get("filesystems", []):
        element = SubElement(devices, "filesystem")
        SubElement(element, "driver", type="virtiofs" if filesystem["type"] == "virtiofs" else "path")
        SubElement(element, "target", dir=filesystem.get("target", "share"))
    if vm["agent"] != "none":
        state = "connected" if vm["state"] in ("running", "paused") else "disconnected"
        SubElement(SubElement(devices, "channel"), "target", name=AGENT_CHANNEL, state=state)
    if vm.get("tpm"):
        SubElement(SubElement(devices, "tpm"), "backend", type="emulator")
    return root


def _cpu(root: Element, cpu: Mapping[str, Any]) -> None:
    element = SubElement(root, "cpu", mode=cpu.get("mode", "host-model"))
    if "migratable" in cpu:
        element.set("migratable", "on" if cpu["migratable"] else "off")
    if "invtsc" in cpu:
        SubElement(element, "feature", name="invtsc", policy="require" if cpu["invtsc"] else "disable")
    if "tsc_frequency" in cpu:
        SubElement(SubElement(root, "clock"), "timer", name="tsc", frequency=str(cpu["tsc_frequency"]))


def _disk(devices: Element, disk: Mapping[str, Any]) -> None:
    kind = disk.get("type", "file")
    element = SubElement(devices, "disk", device=disk.get("device", "disk"), type=kind)
    SubElement(element, "driver", type=disk["format"])
    SubElement(element, "target", dev=disk["target"])
    if disk.get("source"):
        attribute = {"file": "file", "block": "dev"}.get(kind, "name")
        SubElement(element, "source", {attribute: disk["source"]})
    if disk.get("snapshot"):
        element.set("snapshot", disk["snapshot"])
    for flag in ("readonly", "shareable", "transient"):
        if disk.get(flag):
            SubElement(element, flag)
