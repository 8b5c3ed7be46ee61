# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Domain XML as virt-install, OpenStack, Proxmox' and people's own hands write it."""

from __future__ import annotations


def domain(devices: str = "", around: str = "") -> str:
    """Return a domain with these devices and with these elements beside ``<devices>``."""
    return f"""<domain type='kvm' id='3'>
  <name>web01</name>
  <uuid>0b7b9a2e-8d1c-4f43-9d61-2f6f0f7bb4f1</uuid>
  <memory unit='KiB'>2097152</memory>
  {around or "<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>"}
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    {devices}
  </devices>
</domain>"""


def disk(target: str = "vda", extra: str = "", source: str | None = None, **attributes: str) -> str:
    """Return a disk: a qcow2 file unless something else is said."""
    words = {"type": "file", "device": "disk", **attributes}
    named = source if source is not None else f"<source file='/vm/{target}.qcow2' index='1'/>"
    return f"""<disk {" ".join(f"{key}='{value}'" for key, value in words.items())}>
      <driver name='qemu' type='qcow2' cache='none' discard='unmap'/>
      {named}
      {extra}
      <target dev='{target}' bus='virtio'/>
      <alias name='virtio-disk0'/>
    </disk>"""
