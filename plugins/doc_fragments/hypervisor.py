# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of C(_hypervisor/open.py), documented once."""

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
      - V(qx_node) uses the HTTP API of the agent qx-node at O(url), from the host itself or from anywhere, such as with
        C(delegate_to=localhost). What the agent cannot do or does not tell is refused with C(error_code=not_supported) where
        it is asked for, and V(null) in results.
      - Runs of V(qx_node) exclude each other for one user on one machine only, since the agent has no locks.
    type: str
    choices: [libvirt, mock, qx_node]
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
  url:
    description:
      - The agent's address, such as V(https://host:8443). Required by O(backend=qx_node), which alone uses it and the next six.
      - Without user and password. C(/api/v1) is added where it is not there.
    type: str
  validate_certs:
    description:
      - Whether the agent's certificate must be trusted. Without it, anybody who answers at O(url) is believed.
    type: bool
    default: true
  ca_path:
    description:
      - A file with the certificates that are trusted, in PEM format. The default is what the machine trusts.
    type: path
  client_cert:
    description:
      - A file with the certificate that the agent, or the proxy in front of it, wants to see, in PEM format.
    type: path
  client_key:
    description:
      - A file with the key of O(client_cert), where it is not in the same one.
    type: path
  token:
    description:
      - Sent as a bearer token in the header C(Authorization), for a proxy in front of the agent, which asks for nothing itself.
      - Only over https, or to this very machine. A redirect is never followed.
    type: str
  http_timeout:
    description:
      - Seconds the agent may take to answer a question.
      - What changes a VM is answered only when it is done, so that may take as long as O(timeout) allows.
    type: int
    default: 30
  missing:
    description:
      - What to do about a name or UUID in C(vms) that no VM of this host has. A glob or V(!pattern) that matches nothing is never
        an error, nor is a host without VMs, because a play over many hosts asks each of them for the same.
      - V(fail) fails with C(error_code=vm_not_found), before anything is changed.
      - V(skip) names it in C(missing) of the result and goes on with the others, as with a VM that goes away meanwhile.
    type: str
    choices: [fail, skip]
    default: fail
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
