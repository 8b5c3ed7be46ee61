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
  - Shows for each VM of a hypervisor its snapshots, the backing chain of every disk, whether its memory could be saved,
    and whether a guest agent answers.
  - Compares what libvirt says with what the image files say. What is broken is reported, and is no failure of the task.
  - Says one word for each VM, C(look) - whether there is something to act on, something to look at, or nothing.
  - One VM that cannot be read does not hide the others. The task fails at the end then, with every VM's result in it.
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
      - The default is all VMs of the host, and none there is no error. With V([]) none are meant.
      - A VM whose very name has C(*), C(?) or C([) in it is meant as it is written.
      - A name or UUID that no VM of the host has is an error, unless O(missing=skip).
    type: list
    elements: str
    aliases: [vm]
  names:
    description:
      - Names or shell globs of the snapshots to return. The default is all.
      - Chains, missing files and other trouble are always those of the whole VM.
    type: list
    elements: str
notes:
  - Nothing is changed, and no guest is disturbed.
  - The image files are read, which needs C(become=true) or an equal user where they are private.
  - A snapshot's overlay takes what the guest has written since. What the snapshot holds is the file below that.
  - Snapshots of a VM block its live migration and its C(virsh undefine), as long as there are any.
  - With O(backend=qx_node) there are states of VMs, and snapshots by name. What the agent does not tell is V(null), such as
    C(look), C(memory), C(notes), C(problems), C(missing_files), C(unknown_overlays), C(orphans), C(kept) and
    C(definition_changed), and C(chains) is empty.
seealso:
  - module: limiquantix.kvm.vm_snapshot
  - module: limiquantix.kvm.vm_snapshot_prune
"""

EXAMPLES = r"""
- name: Everything about the snapshots of this host
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

- name: Only snapshots whose name begins with pre-, of web servers
  limiquantix.kvm.vm_snapshot_info:
    vms: web-*
    names: pre-*

- name: Say which VMs somebody must act on, and why
  ansible.builtin.debug:
    msg: "{{ item.vm }}: {{ item.problems | default([item.msg], true) | join(' ') }}"
  loop: "{{ snapshots.vms | selectattr('look', 'eq', 'act') }}"
  loop_control:
    label: "{{ item.vm }}"

- name: Say where a run is at work, or was interrupted
  ansible.builtin.debug:
    msg: "{{ item.vm }}: {{ item.msg }}"
  loop: "{{ snapshots.vms | selectattr('operation') }}"
  loop_control:
    label: "{{ item.vm }}"

- name: Ask the agents of all hypervisors, from the controller
  limiquantix.kvm.vm_snapshot_info:
    backend: qx_node
    url: "https://{{ inventory_hostname }}:8443"
  delegate_to: localhost

- name: Refuse to go on where something is wrong with a chain
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
  description: What is there, in one line.
  returned: always
  type: str
  sample: "3 VMs, 4 snapshots. Act on web01 (1 missing file). Look at db01 (1 unknown overlay)"
error_code:
  description: A stable name of what went wrong. V(several) when VMs could not be read for different reasons.
  returned: failure
  type: str
  sample: vm_not_found
details:
  description: Values behind the message of an error that concerns the whole task.
  returned: when there are any
  type: dict
missing:
  description:
    - The names and UUIDs that no VM of this host has, as they stand in O(vms), and VMs that went away before their turn.
    - After C(error_code=vm_not_found) of the whole task too.
  returned: always
  type: list
  elements: str
  sample: [web02]
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
      description: Whether this VM could not be read. What is not known of it then is V(null) or empty.
      type: bool
    error_code:
      description: Why it failed, V(null) where it did not.
      type: str
    details:
      description: Values behind the error.
      type: dict
    msg:
      description: The VM in one line, C(look) first and what was found counted, or why it could not be read.
      type: str
      sample: "ok: running, 3 snapshots, deepest chain 4 layers. Removing snapshot 'pre-patch', 42 %"
    look:
      description:
        - One word for the VM, the worst that holds.
        - V(act) - data is at risk, or a task would be refused until somebody has acted. There are C(problems) or
          C(missing_files), a run was interrupted, or the VM could not be read.
        - V(look) - there is something to know, in C(unknown_overlays) or C(notes).
        - V(ok) - nothing of that was found.
        - V(null) - the hypervisor does not tell.
      type: str
      sample: ok
    state:
      description: V(running), V(paused), V(shutoff), V(crashed), V(pmsuspended) or V(unknown).
      type: str
    persistent:
      description: Whether the VM is defined, so that it outlives its shutdown.
      type: bool
    guest_agent:
      description: Whether a guest agent is connected. V(false) for a VM that is not running.
      type: bool
    memory:
      description: What a snapshot with memory would meet.
      type: dict
      contains:
        can_be_saved:
          description: Whether nothing stands against it. Of a VM that is not running - whether that is so once it runs.
          type: bool
        blockers:
          description: What stands against it.
          type: list
          elements: str
          sample: ["the CPU feature invtsc is required and no TSC frequency is set"]
        bytes:
          description: The size of the memory.
          type: int
    operation:
      description:
        - What a run of this collection began on the VM and has not ended, V(null) where there is nothing.
        - One that was interrupted is finished or undone by the next run of M(limiquantix.kvm.vm_snapshot) on the VM, whatever
          its O(limiquantix.kvm.vm_snapshot#module:state), and by M(limiquantix.kvm.vm_snapshot_prune).
      type: dict
      contains:
        kind:
          description: V(take), V(revert) or V(remove).
          type: str
        snapshot:
          description: The snapshot's name.
          type: str
        started_at:
          description: When it began, in UTC.
          type: str
          sample: "2026-11-23T13:05:42+00:00"
        running:
          description: Whether a run is at work on it at this moment.
          type: bool
        percent:
          description: How far merging a layer has got, V(null) where that is not known.
          type: int
          sample: 42
        interrupted:
          description: Whether no run is at work on it.
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
          description: Whether the VM's present is based on it.
          type: bool
        state:
          description: The state of the VM that it holds, V(disk-snapshot) for the disks of a VM that was running.
          type: str
        kind:
          description: V(external) for overlays, V(internal) for what is kept inside the images, or V(mixed).
          type: str
        include_memory:
          description: Whether it holds the memory.
          type: bool
        quiesced:
          description: Whether the guest's file systems were frozen. V(null) of snapshots that others took.
          type: bool
        disks:
          description: The disks in it, with the overlay that takes the writes made since.
          type: list
          elements: dict
          contains:
            target:
              description: The disk's target.
              type: str
            file:
              description: The overlay's path, V(null) of an internal snapshot.
              type: str
            format:
              description: The overlay's format.
              type: str
            size:
              description: Bytes it occupies now, V(null) when it is gone.
              type: int
            base:
              description: The image under it, which holds the snapshot's state. V(null) of an internal snapshot.
              type: str
        left_out:
          description:
            - What is not in it, and why - disks, firmware state, shared folders, devices of the host, lasting memory, drives
              given to QEMU past libvirt.
          type: list
          elements: dict
          contains:
            target:
              description: The disk's target, V(nvram), V(tpm), the tag of a shared folder, or which device it is.
              type: str
            reason:
              description: Why it is not in the snapshot.
              type: str
        memory_file:
          description: The file with the memory, V(null) where there is none.
          type: str
        missing_files:
          description: Files of the snapshot that are gone.
          type: list
          elements: str
        owned:
          description: Whether this collection took it.
          type: bool
        protected:
          description: Whether it is protected - nothing in this collection removes it.
          type: bool
        labels:
          description: What was noted with it.
          type: dict
        past:
          description:
            - Whether the images and the memory file that hold it are as they were when it was taken.
            - V(unchanged) is proven by what was noted of each on the host. V(changed) means that others wrote to one, so
              that what it holds is not known. V(unproven) means that nothing was noted or could be, as of a block device.
          type: str
          sample: unchanged
        past_reasons:
          description: Why it is not V(unchanged), a sentence each.
          type: list
          elements: str
    tree:
      description:
        - The same snapshots as a tree, a node each in the order in which the tree is drawn.
        - One whose parent O(names) leaves out stands below its nearest ancestor that is there.
      type: list
      elements: dict
      contains:
        name:
          description: Its name.
          type: str
        depth:
          description: How many nodes it stands below, V(0) for a root.
          type: int
        current:
          description: Whether the VM's present is based on it.
          type: bool
        include_memory:
          description: Whether it holds the memory.
          type: bool
        children:
          description: The names of the nodes right below it, in the order they were taken.
          type: list
          elements: str
    chains:
      description: The backing chain of each disk that is a file or block device of this host. No cdroms, no floppies.
      type: list
      elements: dict
      contains:
        target:
          description: The disk's target.
          type: str
        depth:
          description: The number of layers, the lowest one too.
          type: int
        size:
          description: Bytes that all layers together occupy.
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
              description: Bytes it occupies.
              type: int
            virtual_size:
              description: The size of the disk that the guest sees.
              type: int
            snapshot:
              description: The snapshot whose overlay it is - it took the writes made since that one. V(null) if none.
              type: str
    unknown_overlays:
      description:
        - Overlays that no snapshot of the VM knows.
        - Those that are also in C(chains) are in use, such as what C(virsh snapshot-create --no-metadata) or
          C(virsh snapshot-delete --metadata) left. They hold data of the VM and must not be deleted.
        - The others are C(orphans).
        - A VM that is an overlay on a template is nothing unknown, nor is one that is based on another VM's image.
      type: list
      elements: str
    orphans:
      description:
        - Those of C(unknown_overlays) that nothing uses. They lie beside the VM's files, are based on one of these, and no VM
          or snapshot of the host names them.
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
        - What is wrong with the chains, a sentence each - a layer that cannot be read, libvirt and the files saying
          different things, a running VM whose definition has another file for its next start, an image with a snapshot's state
          that this VM or another one is defined to write to, an image or memory file of a snapshot that others wrote to, a VM
          that an I/O error has paused.
      type: list
      elements: str
    kept:
      description:
        - Overlays that are of no use to the VM any more and that are kept all the same, because their data may be somebody's.
        - Those of a detached disk go with O(limiquantix.kvm.vm_snapshot_prune#module:detached=true).
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
          description: Why it is kept, in words.
          type: str
        target:
          description: The disk that it was made for, V(null) where that is not known.
          type: str
        last_written:
          description: When it was last written to, in UTC.
          type: str
        snapshot:
          description: The snapshot that still names it, V(null) where none does.
          type: str
        bring_back:
          description: The command that gives the VM a detached disk again, with the overlay's data.
          type: str
    definition_changed:
      description:
        - Disks that the VM is defined to have on an image which one of its snapshots has frozen, because somebody put back an
          older definition or merged overlays by other means. C(problems) says where the newer data may be.
        - Until that is solved, taking, reverting and removing fail with C(error_code=definition_changed).
      type: list
      elements: str
    notes:
      description: What somebody should know of the VM's disks although nothing is wrong with them, a sentence each.
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
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.gather import gather
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.info.result import result
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


def arguments() -> dict[str, Any]:
    """Return the module's options."""
    return {
        **hypervisor_arguments(),
        "vms": {"type": "list", "elements": "str", "aliases": ["vm"]},
        "names": {"type": "list", "elements": "str"},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=arguments(),
        required_if=hypervisor_requirements(),
        supports_check_mode=True,
    )
    params = module.params
    try:
        with open_hypervisor(params) as hypervisor:
            limits = (params["parallel"], params["timeout"])
            vms = gather(hypervisor, params["vms"], params["names"], *limits, missing=params["missing"])
    except KvmError as error:
        missing = error.details.get("names", [])
        module.fail_json(changed=False, vms=[], missing=missing, **error.to_failure())
    found = result(vms)
    if found.pop("failed", False):
        module.fail_json(**found)
    module.exit_json(**found)


if __name__ == "__main__":
    main()
