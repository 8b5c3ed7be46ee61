#!/usr/bin/python
# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take, revert and remove snapshots of many VMs at once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_snapshot
short_description: Take, revert and remove snapshots of KVM virtual machines
version_added: 0.1.0
description:
  - Takes, reverts and removes snapshots of any number of VMs of a hypervisor in one task.
  - They are disk-only unless memory is asked for.
  - A snapshot with memory cannot be taken of a VM whose CPU carries C(invtsc) without a TSC frequency, or that has
    devices which cannot be saved. The rule here is C(disk_only = not include_memory), and memory is left out by default.
  - All disks of a VM switch to their overlays in one transaction. Where a guest agent answers, the guest's file systems
    are frozen meanwhile.
  - Reverting and removing work alike on every libvirt from 7.0 on, whether it can do that itself or not.
  - What a run changes is noted on the host before its first step. A run that was killed is finished or undone by the next
    one on that VM, whatever its O(state), and the result says so.
  - One VM's failure does not stop the others. The task fails at the end, with every VM's result in it.
author:
  - The limiquantix.kvm founders (@limiquantix)
extends_documentation_fragment:
  - limiquantix.kvm.hypervisor
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    platforms: linux
options:
  vms:
    description:
      - The VMs, as names, UUIDs, shell globs such as V(web-*), or V(!pattern) to leave some out.
      - With V(!pattern) only, all the others are meant.
      - A VM whose very name has C(*), C(?) or C([) in it is meant as it is written.
      - A name or UUID that no VM of the host has is an error before anything is changed, unless O(missing=skip).
    type: list
    elements: str
    required: true
    aliases: [vm]
  name:
    description:
      - The snapshot's name. Required, unless O(all_snapshots=true).
      - Anything that can be a file's name, without C(/), control characters, a dot or dash at the front, and at most 251 bytes.
    type: str
  state:
    description:
      - V(present) takes the snapshot where there is none of that O(name). A second run changes nothing.
      - V(reverted) brings the VM back to it. What was written since is thrown away, unless O(keep_current=true). Other
        branches of the tree stay, and can be reverted to later. A VM that will be started is looked at first - all that its
        start needs must be there. One that does not start all the same goes back to where it was.
      - V(absent) removes it. The VM's present and every other snapshot stay exactly as they are, and a running VM goes on
        running while the snapshot's layers are merged.
    type: str
    choices: [present, absent, reverted]
    default: present
  include_memory:
    description:
      - Whether to save the memory of a running VM too, so that a revert goes on from that very moment.
      - A VM that is not running has none; it is taken disk-only, and the result says so.
    type: bool
    default: false
  on_memory_blocked:
    description:
      - What to do with a VM whose memory was asked for and cannot be saved. This is found out before the VM is touched.
      - V(fail) fails with C(error_code=memory_blocked), naming every reason and the ways out.
      - V(disk_only) takes it without memory and says so.
    type: str
    choices: [fail, disk_only]
    default: fail
  quiesce:
    description:
      - Whether to freeze the guest's file systems while its disks are switched.
      - V(auto) does so where a guest agent answers, and otherwise takes a crash-consistent snapshot and says why.
      - V(required) fails, before anything has changed, where a running guest cannot be frozen.
      - V(never) does not try.
      - Of a snapshot with memory no file system is frozen, because the memory holds what is not yet written.
    type: str
    choices: [never, auto, required]
    default: auto
  quiesce_timeout:
    description:
      - Seconds after which the guest is thawed, whatever happened - also when this module was killed meanwhile.
    type: int
    default: 30
  description:
    description:
      - Kept with the snapshot. At most 65536 bytes, without control characters other than line feeds and tabs.
    type: str
    default: ""
  disks:
    description:
      - The targets (such as V(vda)) of the disks to snapshot. The default is all that can be.
      - A disk that is not named here is left out. Without O(disks), cdroms, empty drives and read-only disks are left
        out by themselves, and what is to become of a writable disk that cannot be in a snapshot says O(on_uncovered).
      - A disk whose definition says C(snapshot='no') or C(snapshot='manual') is left out too, unless it is named here.
    type: list
    elements: str
  on_uncovered:
    description:
      - What to do with a VM that has a writable disk which no snapshot can hold, such as a network disk, a LUN, or one that is
        encrypted, shared, transient, a slice of its file or on a storage pool that is not active.
      - V(fail) fails with C(error_code=disk_not_covered) before the VM is touched.
      - V(leave_out) takes the snapshot without that disk and says so in C(left_out). A disk named in O(disks) is never left
        out.
      - A VM without a disk that could be in a snapshot is nothing to do, and a note says so. Where its definition keeps all of
        them out of snapshots, only with V(leave_out).
    type: str
    choices: [fail, leave_out]
    default: fail
  overlay_dir:
    description:
      - The directory for overlays and memory files. The default is beside each disk.
      - QEMU's user must be able to pass it and every directory above it; this is looked at before anything is done.
    type: path
  running_only:
    description:
      - Leave VMs that are not running alone.
    type: bool
    default: false
  protected:
    description:
      - Whether the snapshot is protected - it is not removed then, by nothing in this collection, until this is V(false) again.
      - Left out, a new snapshot is not protected, and one that is there stays as it is. With O(state=present) only.
    type: bool
  labels:
    description:
      - Names and values to note with the snapshot. Left out, one that is there keeps its own. With O(state=present) only.
      - The same texts are taken as for O(description).
    type: dict
  power:
    description:
      - The state of the VM after O(state=reverted).
      - V(restore) is the one it was in before the revert. A VM that was running is stopped hard, and runs again afterwards.
      - A snapshot with memory goes on from the saved moment where the VM is to be V(running) or V(paused). One without
        boots from its disks.
    type: str
    choices: [restore, running, paused, shutoff]
    default: restore
  keep_current:
    description:
      - With O(state=reverted), first take a snapshot of the present, named C(before-NAME), so that the revert can itself be
        reverted. Where there is one of that name, a number is added.
    type: bool
    default: false
  accept_changed:
    description:
      - With O(state=reverted), go back to the snapshot also where others have written to an image or a memory file that holds
        it, so that what it holds now is not known. Without this, that is refused with C(error_code=snapshot_changed).
      - Such a snapshot can be removed without this. What the VM and the other snapshots read stays as it is.
    type: bool
    default: false
  children:
    description:
      - With O(state=absent), remove the snapshots that are based on this one too, leaf first.
    type: bool
    default: false
  all_snapshots:
    description:
      - With O(state=absent), remove all snapshots of the VMs, leaf first, whoever took them. Excludes O(name).
    type: bool
    default: false
  bandwidth:
    description:
      - With O(state=absent), the most that merging a layer may read and write, in MiB/s. V(0) is no limit.
      - At the O(timeout) a merge is given up. The VM goes on as before, and the next run continues it.
    type: int
    default: 0
notes:
  - A snapshot is kept in overlay files beside the disks. They grow with what the guests write, until they are removed.
  - UEFI variables and the state of a TPM are in no external snapshot. The result lists them under C(left_out).
  - Snapshots of a VM block its live migration and its C(virsh undefine).
  - A revert changes disks, memory and power, and never the VM's definition - what was configured since the snapshot stays.
    Only a guest that goes on from saved memory has the devices of that moment, until it is powered off.
  - Of a revert to a snapshot that covers some disks only, the other disks stay as they are.
  - With O(backend=qx_node), O(disks), O(on_uncovered), O(overlay_dir), O(protected), O(labels), O(power), O(children),
    O(bandwidth) and O(quiesce=required) are refused, because the agent cannot do or does not confirm them. With O(quiesce=auto)
    it is asked to freeze guests of which it says that a guest agent is connected. Every revert is done anew, because the agent
    does not tell whether anything was written since.
  - With O(backend=qx_node), a request that has no answer is never sent again. Whether it was carried out is looked up, and
    C(error_code=outcome_unknown) says where that cannot be known.
seealso:
  - module: limiquantix.kvm.vm_snapshot_info
  - module: limiquantix.kvm.vm_snapshot_prune
"""

EXAMPLES = r"""
- name: Snapshot every VM of the host before patching
  limiquantix.kvm.vm_snapshot:
    vms: "*"
    name: pre-patch

- name: Web servers only, and not the one that is being rebuilt
  limiquantix.kvm.vm_snapshot:
    vms:
      - web-*
      - "!web-03"
    name: pre-patch
    description: before the November kernel

- name: With memory where it can be saved, disk-only where it cannot
  limiquantix.kvm.vm_snapshot:
    vm: db01
    name: running-state
    include_memory: true
    on_memory_blocked: disk_only

- name: Only with frozen file systems, only the system disk, overlays on a faster pool
  limiquantix.kvm.vm_snapshot:
    vms: [db01, db02]
    name: consistent
    quiesce: required
    disks: [vda]
    overlay_dir: /srv/overlays

- name: Some of these on this host, the others on another one
  limiquantix.kvm.vm_snapshot:
    vms: [db01, db02, db03]
    name: pre-patch
    missing: skip

- name: Back to where it was, keeping what there is now
  limiquantix.kvm.vm_snapshot:
    vm: web01
    name: pre-patch
    state: reverted
    keep_current: true

- name: The patch is good, so the snapshot can go
  limiquantix.kvm.vm_snapshot:
    vms: "*"
    name: pre-patch
    state: absent
    bandwidth: 200

- name: All snapshots of a test VM
  limiquantix.kvm.vm_snapshot:
    vm: test01
    state: absent
    all_snapshots: true

- name: Through the agents of all hypervisors, from the controller
  limiquantix.kvm.vm_snapshot:
    backend: qx_node
    url: "https://{{ inventory_hostname }}:8443"
    ca_path: /etc/ssl/agents.pem
    vms: "*"
    name: pre-patch
  delegate_to: localhost
"""

RETURN = r"""
msg:
  description: What happened, in one line.
  returned: always
  type: str
  sample: "snapshot 'pre-patch' (disk-only) of 3 VMs: 2 taken, 1 unchanged"
disk_only:
  description: What was asked for, C(not include_memory). V(null) unless O(state=present).
  returned: always
  type: bool
  sample: true
error_code:
  description:
    - A stable name of what went wrong, for plays that branch on it. V(several) when VMs failed for different reasons.
    - The README lists them all.
  returned: failure
  type: str
  sample: memory_blocked
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
    changed:
      description: Whether its snapshots changed, or would in check mode.
      type: bool
    failed:
      description: Whether this VM failed.
      type: bool
    error_code:
      description: Why it failed, V(null) where it did not.
      type: str
    details:
      description: Values behind the error, such as the list of C(blockers) or free bytes.
      type: dict
    msg:
      description: What happened to this VM and, after a failure, what to do now.
      type: str
    notes:
      description: What an operator should know of it, such as why a guest was not quiesced.
      type: list
      elements: str
    recovered:
      description: What an interrupted run had left of this VM and was finished or undone first. V(null) where nothing was.
      type: str
    power:
      description: The VM's state afterwards, V(null) where that is not known.
      type: str
      sample: running
    removed:
      description: The names of the snapshots that were removed, or would be in check mode.
      type: list
      elements: str
    kept:
      description:
        - The names of the snapshots that were to be removed and are still there, after a failure.
        - The paths of overlays that are kept because their data may be somebody's - of a disk that the VM no longer has, used
          by another VM, on a file system that other hosts may use. RV(vms[].notes) says of each why.
      type: list
      elements: str
    files_removed:
      description: The files that a revert or removal deleted, or would - what was written since is in them.
      type: list
      elements: str
    disk_only:
      description:
        - Whether the snapshot holds disks only. V(null) where there is none, or where that is not known of one that was there
          before.
      type: bool
    quiesced:
      description:
        - Whether the guest's file systems were frozen from before until after the switch of the disks.
        - V(null) where that is not known, as in check mode or of a snapshot others took.
      type: bool
    snapshot:
      description:
        - The snapshot, V(null) where there is none.
        - Through O(backend=qx_node), what the agent does not tell of it is V(null), which may be all but its name.
      type: dict
      contains:
        name:
          description: Its name.
          type: str
        description:
          description: Its description.
          type: str
        created_at:
          description: When it was taken, in UTC. V(null) in check mode.
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
          description: As above.
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
              description: The overlay's path.
              type: str
            format:
              description: The overlay's format.
              type: str
            size:
              description: Bytes it occupies now. V(null) in check mode, or when it is gone.
              type: int
            base:
              description: The image under it, which holds the snapshot's state.
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
          description: Files of the snapshot that are gone, so that it cannot be reverted to.
          type: list
          elements: str
        owned:
          description: Whether this collection took it.
          type: bool
        protected:
          description: Whether it is protected from removal.
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
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.open import (
    hypervisor_arguments,
    hypervisor_requirements,
    open_hypervisor,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.names import check_snapshot_name
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.action import Action
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import Wording, outcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.remove import Absent, every, named
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.revert import Reverted
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.run import Limits, run
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.take import Present
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import RevertRequest, SnapshotRequest


def arguments() -> dict[str, Any]:
    """Return the module's options."""
    return {
        **hypervisor_arguments(),
        "vms": {"type": "list", "elements": "str", "required": True, "aliases": ["vm"]},
        "name": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "absent", "reverted"], "default": "present"},
        "include_memory": {"type": "bool", "default": False},
        "on_memory_blocked": {"type": "str", "choices": ["fail", "disk_only"], "default": "fail"},
        "quiesce": {"type": "str", "choices": ["never", "auto", "required"], "default": "auto"},
        "quiesce_timeout": {"type": "int", "default": 30},
        "description": {"type": "str", "default": ""},
        "disks": {"type": "list", "elements": "str"},
        "on_uncovered": {"type": "str", "choices": ["fail", "leave_out"], "default": "fail"},
        "overlay_dir": {"type": "path"},
        "running_only": {"type": "bool", "default": False},
        "protected": {"type": "bool"},
        "labels": {"type": "dict"},
        "power": {"type": "str", "choices": ["restore", "running", "paused", "shutoff"], "default": "restore"},
        "keep_current": {"type": "bool", "default": False},
        "accept_changed": {"type": "bool", "default": False},
        "children": {"type": "bool", "default": False},
        "all_snapshots": {"type": "bool", "default": False},
        "bandwidth": {"type": "int", "default": 0},
    }


def wanted(params: dict[str, Any]) -> tuple[Action[Any, Any], Wording]:
    """Return what the task asks for and how to tell of it; raise ``bad_request`` or ``bad_name`` where that cannot be."""
    name = params["name"] or ""
    if params["state"] == "absent":
        return _absent(params, name)
    if params["all_snapshots"] or params["children"]:
        raise _bad_request("children and all_snapshots go with state: absent.")
    if params["state"] == "reverted":
        request = RevertRequest(
            name=name,
            power=params["power"],
            keep_current=params["keep_current"],
            quiesce=params["quiesce"],
            quiesce_timeout=params["quiesce_timeout"],
            accept_changed=params["accept_changed"],
        )
        return Reverted(request), Wording(f"revert to snapshot {name!r}", "reverted")
    wish = snapshot_request(params)
    kind = "disk-only" if wish.disk_only else "with memory"
    return Present(wish), Wording(f"snapshot {name!r} ({kind})", "taken", wish.disk_only)


def _absent(params: dict[str, Any], name: str) -> tuple[Action[Any, Any], Wording]:
    if params["bandwidth"] < 0:
        raise _bad_request(f"bandwidth is {params['bandwidth']}, and must be 0 (no limit) or more.")
    if not params["all_snapshots"]:
        check_snapshot_name(name)
        below = " and those based on it" if params["children"] else ""
        action = Absent(named(name, params["children"]), params["bandwidth"], f"there is no snapshot {name!r}")
        return action, Wording(f"removal of snapshot {name!r}{below}", "removed")
    if name:
        raise _bad_request("name and all_snapshots exclude each other.")
    return Absent(every, params["bandwidth"]), Wording("removal of all snapshots", "removed")


def snapshot_request(params: dict[str, Any]) -> SnapshotRequest:
    """Return the snapshot that the task asks for; raise ``bad_request`` where that cannot be."""
    if params["include_memory"] and params["quiesce"] == "required":
        remedy = "The saved memory holds what the guest has not yet written; leave out one of the two."
        raise _bad_request("include_memory: true and quiesce: required exclude each other.", remedy)
    labels = params["labels"]
    return SnapshotRequest(
        name=params["name"] or "",
        description=params["description"],
        include_memory=params["include_memory"],
        on_memory_blocked=params["on_memory_blocked"],
        quiesce=params["quiesce"],
        quiesce_timeout=params["quiesce_timeout"],
        disks=None if params["disks"] is None else tuple(params["disks"]),
        on_uncovered=params["on_uncovered"],
        overlay_dir=params["overlay_dir"],
        protected=params["protected"],
        labels=None if labels is None else {str(key): str(value) for key, value in labels.items()},
    )


def _bad_request(message: str, remedy: str = "Nothing was changed.") -> KvmError:
    return KvmError("bad_request", message, remedy)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=arguments(),
        required_if=hypervisor_requirements(),
        supports_check_mode=True,
    )
    params = module.params
    disk_only = not params["include_memory"] if params["state"] == "present" else None
    try:
        action, wording = wanted(params)
        limits = Limits(params["parallel"], params["timeout"], params["running_only"], params["missing"])
        with open_hypervisor(params) as hypervisor:
            vms = run(hypervisor, params["vms"], action, limits, module.check_mode)
    except KvmError as error:
        nothing: dict[str, Any] = {"changed": False, "disk_only": disk_only, "diff": [], "vms": []}
        module.fail_json(**nothing, missing=error.details.get("names", []), **error.to_failure())
    result = outcome(wording, vms, module.check_mode)
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
