#!/usr/bin/python
# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell the snapshots of many VMs at once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_snapshot_info
short_description: Show snapshots and backing chains of KVM virtual machines
version_added: 0.1.0
description:
  - Shows for each VM of a hypervisor its snapshots, the backing chain of every disk, whether its memory can be saved,
    and whether a guest agent is connected.
  - Compares what libvirt says with what the image files say. Broken chains are reported, and the task does not fail for them.
  - Says one word for each VM, RV(vms[].look) - whether there is something to act on, something to look at, or nothing.
  - If one VM cannot be read, the others are shown all the same. The task fails at the end, with every VM's result in it.
author:
  - The limiquantix.kvm founders (@limiquantix)
extends_documentation_fragment:
  - limiquantix.kvm.hypervisor
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    support: full
    platforms: linux
options:
  vms:
    description:
      - The VMs, as names, UUIDs, shell globs such as V(web-*), or V(!pattern) to leave some out.
      - The default is all VMs of the host. A host may have none. V([]) selects none.
      - An entry that is exactly the name of a VM selects that VM, even with C(*), C(?) or C([) in it.
      - The task fails if no VM of the host has a given name or UUID, unless O(missing=skip).
    type: list
    elements: str
    aliases: [vm]
  names:
    description:
      - Names or shell globs of the snapshots to return. The default is all.
      - Chains, missing files and problems are always those of the whole VM.
    type: list
    elements: str
  labels:
    description:
      - Only snapshots that carry all these labels are returned. The default is all. V({}) is refused.
    type: dict
notes:
  - The module changes nothing and disturbs no guest.
  - With O(uri=qemu:///system) it needs C(become=true), to read the image files and the records of this collection.
  - A snapshot's overlay takes what the guest has written since. The image under it holds the disk as it was at the snapshot.
  - As long as a VM has snapshots, libvirt refuses its live migration, and C(virsh undefine) without C(--snapshots-metadata).
  - With O(backend=qx_node) the result has the VMs, whether they run, and the names of their snapshots. What qx-node does not
    tell is V(null), such as C(filesystems), C(look), C(memory), C(notes), C(problems), C(missing_files), C(unknown_overlays),
    C(orphans), C(kept) and C(definition_changed), and C(chains) is empty.
seealso:
  - module: limiquantix.kvm.vm_snapshot
  - module: limiquantix.kvm.vm_snapshot_prune
"""

EXAMPLES = r"""
- name: Read all about the snapshots of this host
  limiquantix.kvm.vm_snapshot_info:
  register: snapshots

- name: Say which VMs have snapshots
  ansible.builtin.debug:
    msg: "{{ item.vm }}: {{ item.snapshots | map(attribute='name') | join(', ') }}"
  loop: "{{ snapshots.vms | selectattr('snapshots') }}"
  loop_control:
    label: "{{ item.vm }}"

- name: Draw the tree of each VM
  ansible.builtin.debug:
    msg: |-
      {{ item.vm }}
      {% for node in item.tree %}
      {{ '  ' * (node.depth + 1) }}{{ node.name }}{{ ' (current)' if node.current else '' }}
      {% endfor %}
  loop: "{{ snapshots.vms }}"
  loop_control:
    label: "{{ item.vm }}"

- name: Show only snapshots of web servers whose name begins with pre-
  limiquantix.kvm.vm_snapshot_info:
    vms: web-*
    names: pre-*

- name: Show the snapshots of a change
  limiquantix.kvm.vm_snapshot_info:
    labels:
      change: CHG0042

- name: List the VMs that somebody must act on, and why
  ansible.builtin.debug:
    msg: "{{ item.vm }}: {{ item.problems | default([item.msg], true) | join(' ') }}"
  loop: "{{ snapshots.vms | selectattr('look', 'eq', 'act') }}"
  loop_control:
    label: "{{ item.vm }}"

- name: List the VMs on which a run is at work, or was interrupted
  ansible.builtin.debug:
    msg: "{{ item.vm }}: {{ item.msg }}"
  loop: "{{ snapshots.vms | selectattr('operation') }}"
  loop_control:
    label: "{{ item.vm }}"

- name: List the file systems with less than a tenth free
  ansible.builtin.debug:
    msg: "{{ item.path }}: {{ item.free | human_readable }} free, for {{ item.vms | join(', ') }}"
  loop: "{{ snapshots.filesystems | rejectattr('free', 'none') }}"
  loop_control:
    label: "{{ item.path }}"
  when: item.free * 10 < item.total

- name: Ask qx-node on all hypervisors, from the controller
  limiquantix.kvm.vm_snapshot_info:
    backend: qx_node
    url: "https://{{ inventory_hostname }}:8443"
  delegate_to: localhost

- name: Stop if something is wrong with a chain
  ansible.builtin.assert:
    that:
      - item.problems == []
      - item.missing_files == []
      - item.unknown_overlays == []
    fail_msg: "{{ item.vm }}: {{ item.msg }}"
  loop: "{{ snapshots.vms }}"
  loop_control:
    label: "{{ item.vm }}"
"""

RETURN = r"""
msg:
  description: The VMs and snapshots in one line.
  returned: always
  type: str
  sample: "3 VMs, 4 snapshots. Act on web01 (1 missing file). Look at db01 (1 unknown overlay)"
error_code:
  description: A stable name of what went wrong. V(several) if VMs could not be read for different reasons.
  returned: failure
  type: str
  sample: vm_not_found
details:
  description: The values in the message of an error that concerns the whole task, such as paths and numbers of bytes.
  returned: when there are any
  type: dict
missing:
  description:
    - The names and UUIDs in O(vms) that no VM of this host has. With O(missing=skip), also VMs that went away before their turn.
    - Also returned if the whole task fails with C(error_code=vm_not_found).
  returned: always
  type: list
  elements: str
  sample: [web02]
filesystems:
  description:
    - The file systems of the host that hold images of the selected VMs, sorted by path, each once.
    - Images on block devices are on none.
    - V(null) if the whole task fails, and with O(backend=qx_node), which does not tell.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: Where it is mounted.
      type: str
      sample: /var/lib/libvirt/images
    total:
      description: Its size in bytes. V(null) if it does not answer.
      type: int
    free:
      description: What is free of it for everybody, in bytes. V(null) if it does not answer.
      type: int
    vms:
      description: The VMs with an image, an overlay or a memory file on it.
      type: list
      elements: str
    written_by:
      description:
        - Those of the VMs that write to it, because the active image of one of their disks lies there. They fill it, and if it
          is full, they stop.
        - A VM that is off is one of them, because it writes as soon as it starts.
      type: list
      elements: str
vms:
  description: One entry for each selected VM.
  returned: unless the task as a whole is refused
  type: list
  elements: dict
  contains:
    vm:
      description: The VM's name.
      type: str
      sample: web01
    uuid:
      description: The VM's UUID.
      type: str
    failed:
      description: Whether this VM could not be read. What is not known about it is V(null) or empty.
      type: bool
    error_code:
      description: Why it failed, V(null) where it did not.
      type: str
    details:
      description: The values in the error's message.
      type: dict
    msg:
      description:
        - The VM in one line - C(look), power, number of snapshots, deepest chain, what is at work, number of findings.
        - If it could not be read, why.
      type: str
      sample: "ok: running, 3 snapshots, deepest chain 4 layers. Removing snapshot 'pre-patch', 42 %"
    look:
      description:
        - One word for the VM, the worst that applies.
        - V(act) - data is at risk, or tasks fail until somebody acts. There are C(problems) or C(missing_files), a run was
          interrupted, or the VM could not be read.
        - V(look) - there is something to know, in C(unknown_overlays), C(kept) or C(notes), or a merge goes on without a task
          (C(operation)). There is no hurry.
        - V(ok) - nothing of that was found.
        - V(null) - qx-node does not tell what is on the disks.
      type: str
      sample: ok
    state:
      description: V(running), V(paused), V(shutoff), V(crashed), V(pmsuspended) or V(unknown).
      type: str
    persistent:
      description: Whether the VM is defined in libvirt, so that it is still there after it was shut off.
      type: bool
    guest_agent:
      description: Whether a guest agent is connected. It is not asked, so it may still not answer. V(false) for a VM that is off.
      type: bool
    memory:
      description: Whether the memory can be saved in a snapshot.
      type: dict
      contains:
        can_be_saved:
          description: Whether it can be saved. For a VM that is not running, whether it can be saved when the VM runs.
          type: bool
        blockers:
          description: Why it cannot be saved.
          type: list
          elements: str
          sample: ["the CPU feature invtsc is required and no TSC frequency is set"]
        bytes:
          description: The size of the memory.
          type: int
    operation:
      description:
        - What a run of this collection has begun on the VM and not ended. V(null) if there is nothing.
        - If it was interrupted, the next run of M(limiquantix.kvm.vm_snapshot) or M(limiquantix.kvm.vm_snapshot_prune) on the VM
          finishes or undoes it.
        - If it is neither running nor interrupted, QEMU goes on with the merge of a layer for which no task waits.
      type: dict
      contains:
        kind:
          description: V(take), V(revert) or V(remove).
          type: str
        snapshot:
          description: The snapshot's name. Of several that are removed at once the first.
          type: str
        snapshots:
          description: The names of all snapshots that it is about. There are several if their layers are merged at once.
          type: list
          elements: str
          sample: [before-update]
        started_at:
          description: When it began, in UTC.
          type: str
          sample: "2026-11-23T13:05:42+00:00"
        running:
          description: Whether a run is at work on it at this moment.
          type: bool
        percent:
          description: How much of a layer is merged. V(null) if that is not known.
          type: int
          sample: 42
        seconds_left:
          description:
            - How long the rest of that layer takes at the pace so far. V(null) if that is not known, such as when QEMU goes on
              without a task.
          type: int
          sample: 180
        interrupted:
          description: Whether no run is at work on it, and it waits for one.
          type: bool
    snapshots:
      description: The snapshots, a parent before its children, siblings in the order they were taken.
      type: list
      elements: dict
      contains:
        name:
          description: Its name.
          type: str
        description:
          description: Its description.
          type: str
        created_at:
          description: When it was taken, in UTC.
          type: str
          sample: "2026-11-23T13:05:42+00:00"
        parent:
          description: The snapshot it is based on, V(null) for a root.
          type: str
        current:
          description: Whether it is the newest snapshot that what the VM has now is based on. One of a VM at most is.
          type: bool
        state:
          description: The power of the VM when it was taken. V(disk-snapshot) means that the VM ran and its memory was not saved.
          type: str
        kind:
          description: V(external) if it is kept in overlays, V(internal) if inside the images, V(mixed) if in both.
          type: str
        include_memory:
          description: Whether it holds the memory.
          type: bool
        quiesced:
          description: Whether the guest's file systems were frozen. V(null) for snapshots that others took.
          type: bool
        disks:
          description: The disks in it, each with the overlay that takes what the guest has written since.
          type: list
          elements: dict
          contains:
            target:
              description: The disk's target.
              type: str
            file:
              description: The overlay's path. V(null) for an internal snapshot.
              type: str
            format:
              description: The overlay's format.
              type: str
            size:
              description: Bytes that it occupies now. V(null) if the file is gone.
              type: int
            base:
              description: The frozen image under the overlay, with the disk as it was then. V(null) for an internal snapshot.
              type: str
        left_out:
          description:
            - What is not in it, and why - disks, UEFI variables, a TPM, shared folders, devices of the host, persistent memory
              (NVDIMM), and drives that the definition passes to QEMU directly.
          type: list
          elements: dict
          contains:
            target:
              description: The disk's target, V(nvram), V(tpm), the tag of a shared folder, or the name of the device.
              type: str
            reason:
              description: Why it is not in the snapshot.
              type: str
        memory_file:
          description: The file with the memory, V(null) if there is none.
          type: str
        nvram:
          description:
            - The copy of the UEFI variables that belongs to the snapshot. A revert puts it back.
            - V(null) for a VM without UEFI variables, for a snapshot with memory, which has them in it, and if they could not be
              copied, as C(left_out) says then.
          type: str
          sample: /var/lib/libvirt/qemu/nvram/web01.nvram.pre-patch.vars
        tpm:
          description:
            - The copy of the state of the VM's TPM that belongs to the snapshot. A revert puts it back.
            - V(null) for a VM without a TPM, for a snapshot with memory, which has it in it, and if it could not be copied, as
              C(left_out) says then.
          type: str
          sample: /var/lib/libvirt/swtpm/web01.tpm.pre-patch.permall
        missing_files:
          description: Files of the snapshot that are gone.
          type: list
          elements: str
        owned:
          description: Whether this collection took it.
          type: bool
        protected:
          description: Whether it is protected. A task with O(backend=libvirt) does not remove it then.
          type: bool
        labels:
          description: Its labels.
          type: dict
        expires:
          description: When it expires, in UTC. V(null) if never. It stays after that until somebody prunes.
          type: str
          sample: "2026-12-07T13:05:42+00:00"
        past:
          description:
            - Whether the snapshot's images, its memory file and its copies (C(nvram), C(tpm)) are as they were when it was taken.
            - V(unchanged) - each has the size and the time of its last write that were recorded on the host. V(changed) - others
              wrote to one of them, so nobody knows what the snapshot holds now. V(unproven) - there is no such record, or there
              cannot be one, as for a block device.
          type: str
          sample: unchanged
        past_reasons:
          description: Why it is V(changed) or V(unproven), one sentence for each reason.
          type: list
          elements: str
    tree:
      description:
        - The same snapshots as a tree, one node for each, in the order in which the tree is drawn.
        - If O(names) or O(labels) leaves out a snapshot's parent, the snapshot is drawn below its nearest ancestor that is shown.
      type: list
      elements: dict
      contains:
        name:
          description: Its name.
          type: str
        depth:
          description: How many nodes are above it, V(0) for a root.
          type: int
        current:
          description: Whether it is the newest snapshot that what the VM has now is based on. One of a VM at most is.
          type: bool
        include_memory:
          description: Whether it holds the memory.
          type: bool
        children:
          description: The names of the nodes right below it, in the order they were taken.
          type: list
          elements: str
    chains:
      description: The backing chain of each disk that is a file or block device of this host, except cdroms and floppies.
      type: list
      elements: dict
      contains:
        target:
          description: The disk's target.
          type: str
        depth:
          description: The number of layers (images), including the lowest one. If it is not C(complete), there may be more.
          type: int
        complete:
          description:
            - Whether the chain could be read to its end. If V(false), C(problems) says which layer cannot be read, and nobody
              knows what is below it.
            - What is no file of this host, such as an NBD export, is the last layer of a complete chain.
          type: bool
        size:
          description: Bytes that all layers of C(layers) occupy. Those whose size is V(null) do not count.
          type: int
        layers:
          description: The layers, the active one first, as far down as they can be read.
          type: list
          elements: dict
          contains:
            file:
              description: Its path.
              type: str
            format:
              description: Its format.
              type: str
            size:
              description: Bytes that it occupies.
              type: int
            virtual_size:
              description: The size of the disk that the guest sees.
              type: int
            snapshot:
              description: The snapshot whose overlay it is. It took what the guest wrote since that snapshot. V(null) if none.
              type: str
    unknown_overlays:
      description:
        - Overlays that no snapshot of the VM names.
        - Those that are also in C(chains) are in use, such as what C(virsh snapshot-create --no-metadata) or
          C(virsh snapshot-delete --metadata) left. They hold data of the VM. Do not delete them.
        - The others are based on an image of the VM, and no VM and no snapshot of the host uses them. Those that this
          collection made are also in C(orphans).
        - The image of a VM that is itself an overlay, on a template or on another VM's image, is not listed.
      type: list
      elements: str
    orphans:
      description:
        - Those of C(unknown_overlays) that this collection made and that nothing uses - no VM, snapshot or other image of the
          host names them. Also copies of UEFI variables and of TPMs whose snapshots others removed.
        - M(limiquantix.kvm.vm_snapshot_prune) with O(limiquantix.kvm.vm_snapshot_prune#module:orphans=true) deletes them.
      type: list
      elements: str
    missing_files:
      description: Overlays and memory files of snapshots that are gone.
      type: list
      elements: dict
      contains:
        snapshot:
          description: The snapshot's name.
          type: str
        file:
          description: The path of what is missing.
          type: str
    problems:
      description:
        - What is wrong, one sentence for each problem - a layer cannot be read, libvirt and the files say different things, a
          running VM's definition has another file for the next start, this VM or another one is defined to write to a frozen
          image, others wrote to an image or memory file of a snapshot, or an I/O error has paused the VM.
      type: list
      elements: str
    kept:
      description:
        - Overlays that the VM does not need any more. They are kept because somebody may need their data.
        - To delete those of a disk that was detached or put on another image, use
          O(limiquantix.kvm.vm_snapshot_prune#module:detached=true).
      type: list
      elements: dict
      contains:
        file:
          description: The path of the overlay.
          type: str
        why:
          description: V(detached), V(shared) (on a file system that other hosts may use) or V(other).
          type: str
        reason:
          description: Why it is kept, as a sentence.
          type: str
        target:
          description: The disk that it was made for, V(null) if that is not known.
          type: str
        last_written:
          description: When it was last written to, in UTC.
          type: str
        snapshot:
          description: The snapshot that still names it, V(null) if none does.
          type: str
        bring_back:
          description: The command that attaches a detached disk to the VM again, with the overlay's data.
          type: str
        shared:
          description: Whether it is on a file system that other hosts may use.
          type: bool
    definition_changed:
      description:
        - The targets of disks that the VM is defined on with an image that one of its snapshots has frozen, or with an older
          overlay. Somebody has probably put back an older definition, or merged overlays with another tool. C(problems) says
          where the newer data may be.
        - Until somebody repairs this, taking, reverting and removing fail with C(error_code=definition_changed).
      type: list
      elements: str
    notes:
      description: What you should know about the VM's disks although nothing is wrong with them, one sentence for each.
      type: list
      elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.open import (
    hypervisor_arguments,
    hypervisor_requirements,
    open_hypervisor,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.other_python import go_where_libraries_are
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.labels import label_filter
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.filesystems import filesystems
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.read_vms import gather
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.result import result
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


def arguments() -> dict[str, Any]:
    """Return the module's options."""
    return {
        **hypervisor_arguments(),
        "vms": {"type": "list", "elements": "str", "aliases": ["vm"]},
        "names": {"type": "list", "elements": "str"},
        "labels": {"type": "dict"},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=arguments(),
        required_if=hypervisor_requirements(),
        supports_check_mode=True,
    )
    params = module.params
    go_where_libraries_are(params)
    try:
        labels = label_filter(params["labels"])
        with open_hypervisor(params) as hypervisor:
            limits = (params["parallel"], params["timeout"])
            vms = gather(hypervisor, params["vms"], params["names"], *limits, missing=params["missing"], labels=labels)
            rooms = filesystems(hypervisor, vms)
    except KvmError as error:
        missing = error.details.get("names", [])
        module.fail_json(changed=False, vms=[], filesystems=None, missing=missing, **error.to_failure())
    found = result(vms, rooms)
    if found.pop("failed", False):
        module.fail_json(**found)
    module.exit_json(**found)


if __name__ == "__main__":
    main()
