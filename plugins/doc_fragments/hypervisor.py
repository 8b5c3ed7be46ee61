# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of C(_arguments.py), documented once."""

from __future__ import annotations


class ModuleDocFragment:
    """What every module that talks to a hypervisor has in common."""

    DOCUMENTATION = r"""
options:
  backend:
    description:
      - How the hypervisor is reached.
      - V(libvirt) uses the libvirt of the managed host, which needs its C(python3-libvirt) and C(python3-lxml).
      - V(mock) uses a hypervisor that lives in the file O(mock_path) - for rehearsals, and for machines without KVM.
    type: str
    choices: [libvirt, mock]
    default: libvirt
  uri:
    description:
      - The libvirt URI, V(qemu:///system) or V(qemu:///session). Used by O(backend=libvirt).
      - URIs of other hosts are refused, because the module compares what libvirt says with the image files.
    type: str
    default: qemu:///system
  mock_path:
    description:
      - The JSON file that holds the state of the mock hypervisor. Required by O(backend=mock).
    type: path
  parallel:
    description:
      - How many VMs are handled at once, each over a connection of its own.
    type: int
    default: 4
  timeout:
    description:
      - Seconds for one VM, everything included - also the time it waits for another run on the same VM.
    type: int
    default: 600
attributes:
  check_mode:
    description: Can run in check mode and predict what would change, without changing it.
  diff_mode:
    description: Returns what has changed, or would in check mode, as a tree of snapshots before and after, for each VM.
  platform:
    description: The operating systems the module can run on.
    support: full
    platforms: linux
"""
