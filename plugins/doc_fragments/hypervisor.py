# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of C(_hypervisor/open.py), documented once."""

from __future__ import annotations


class ModuleDocFragment:
    """What every module that talks to a hypervisor has in common."""

    DOCUMENTATION = r"""
requirements:
  - Python 3.9 or newer where the module runs
  - for O(backend=libvirt), on the hypervisor - C(python3-libvirt) and C(python3-lxml) (C(py3-libvirt) and C(py3-lxml) on
    Alpine), and C(qemu-img). If the Python that Ansible has chosen lacks them, the module runs under one that has them
options:
  backend:
    description:
      - How the hypervisor is reached.
      - V(libvirt) uses the libvirt of the managed host. The host needs C(python3-libvirt) and C(python3-lxml).
      - V(mock) simulates a hypervisor in the file O(mock_path), for rehearsals and for machines without KVM.
      - V(qx_node) uses the HTTP API of the node agent (qx-node) at O(url), from the host itself or from elsewhere, such as with
        C(delegate_to=localhost). Options for what qx-node cannot do are refused with C(error_code=not_supported), and result
        keys for what it does not tell are V(null).
      - With V(qx_node), nothing stops two users, two controllers, or a task with V(libvirt) from changing a VM at the same time,
        because qx-node has no locks. Run such tasks as one user on one machine; they wait for each other.
    type: str
    choices: [libvirt, mock, qx_node]
    default: libvirt
  uri:
    description:
      - The libvirt URI, V(qemu:///system) or V(qemu:///session). Used with O(backend=libvirt).
      - URIs of other hosts are refused, because the module compares what libvirt says with the image files on this host.
    type: str
    default: qemu:///system
  mock_path:
    description:
      - The JSON file with the simulated hypervisor and its VMs. Required with O(backend=mock). It needs no image files.
      - Give an absolute path. With C(connection=local), a relative one begins in the directory of the playbook.
      - 'The least that it can hold: C({"vms": [{"name": "web01", "disks": [{"target": "vda", "source": "/vm/web01.qcow2"}]}]}).'
    type: path
  url:
    description:
      - The address of qx-node, such as V(https://host:8443). Required with O(backend=qx_node).
      - It must not have a user or password in it. C(/api/v1) is added if it is missing.
      - This option and those from O(validate_certs) to O(http_timeout) are used with O(backend=qx_node) only.
      - If the task does not give it, the environment variable E(LIMIQUANTIX_KVM_URL) does.
    type: str
  validate_certs:
    description:
      - Whether to check qx-node's certificate. With V(false), the module trusts anybody who answers at O(url).
    type: bool
    default: true
  ca_path:
    description:
      - A file with the trusted CA certificates, in PEM format. By default the machine's own are trusted.
      - If the task does not give it, the environment variable E(LIMIQUANTIX_KVM_CA_PATH) does.
    type: path
  client_cert:
    description:
      - A file with the client certificate that qx-node, or the proxy in front of it, asks for, in PEM format.
      - If the task does not give it, the environment variable E(LIMIQUANTIX_KVM_CLIENT_CERT) does.
    type: path
  client_key:
    description:
      - A file with the key of O(client_cert), if it is not in the same file.
      - If the task does not give it, the environment variable E(LIMIQUANTIX_KVM_CLIENT_KEY) does.
    type: path
  token:
    description:
      - Sent as a bearer token in the header C(Authorization), for a proxy in front of qx-node. qx-node itself asks for none.
      - Sent only over https, or to the machine on which the module runs. Redirects are never followed.
      - If the task does not give it, the environment variable E(LIMIQUANTIX_KVM_TOKEN) does.
    type: str
  http_timeout:
    description:
      - How many seconds qx-node may take to answer a question.
      - It is not the limit of a request that changes a VM, which qx-node answers when the change is done. That limit is what is
        left of O(timeout), less the time for looking at the result (twice O(http_timeout), and half of it at most).
    type: int
    default: 30
  missing:
    description:
      - What to do about a name or UUID in C(vms) that no VM of this host has.
      - V(fail) fails with C(error_code=vm_not_found), before anything is changed.
      - V(skip) names it in C(missing) of the result and goes on with the other VMs, as with a VM that goes away meanwhile.
      - A glob or V(!pattern) that matches no VM is never an error, nor is a host without VMs, because a play asks many hosts
        for the same VMs.
    type: str
    choices: [fail, skip]
    default: fail
  parallel:
    description:
      - How many VMs to handle at the same time, each over its own connection.
    type: int
    default: 4
  timeout:
    description:
      - How many seconds one VM may take, including the time that it waits for another run on the same VM.
    type: int
    default: 600
notes:
  - The guides lie in C(docs/docsite/rst) of the installed collection, and C(ansible-galaxy collection list limiquantix.kvm) says
    where that is. C(guide_first_steps.rst) leads to the first snapshot, C(guide_errors.rst) lists every C(error_code).
  - The environment variables that give O(url), O(token), O(ca_path), O(client_cert) and O(client_key) are those of the machine
    where the module runs. That is the managed host, whose environment knows nothing of the controller's. With
    C(delegate_to=localhost) it is the controller or, in AWX, the execution environment, and the variables of AWX's credentials
    are there.
  - For a managed host, pass them on with C(environment) of the play. Other users of the host can read those values in its list
    of processes, so give the O(token) as an option instead, such as with C(module_defaults), from a lookup of the variable.
attributes:
  action_group:
    description: Use C(group/limiquantix.kvm.vm_snapshot) in C(module_defaults) to set options for all modules of this group.
    support: full
    membership:
      - limiquantix.kvm.vm_snapshot
  check_mode:
    description: Can run in check mode, and then predicts what would change and changes nothing.
  diff_mode:
    description: Returns the tree of snapshots before and after, for each VM that changed or, in check mode, would change.
  platform:
    description: The operating systems the module can run on.
    support: full
    platforms: linux
"""
