#!/usr/bin/python
# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove old snapshots of many VMs at once, and overlays that nothing uses."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_snapshot_prune
short_description: Remove old snapshots of KVM virtual machines
version_added: 0.1.0
description:
  - Removes snapshots that are too many or too old, from any number of VMs of a hypervisor in one task. Removes them as
    M(limiquantix.kvm.vm_snapshot) with O(limiquantix.kvm.vm_snapshot#module:state=absent) does - leaf first, while running
    VMs go on running.
  - Removes only snapshots that this collection took, unless O(include_foreign=true), and never protected ones. With
    O(backend=qx_node) nothing is known of protection, and protected ones go too.
  - Removes a snapshot only if all given options agree. With O(keep_last=3) and O(older_than=7d), the three newest stay no
    matter how old they are, and snapshots younger than a week stay no matter how many there are.
  - O(keep_hourly), O(keep_daily), O(keep_weekly), O(keep_monthly) and O(keep_yearly) keep the newest snapshot of that many
    hours, days, weeks, months or years, by the rules of C(restic forget). What any of them keeps stays, and
    RV(vms[].kept_because) says why. The guide to retention has a table of how all options work together.
  - Data of a removed snapshot that the VM or another snapshot needs is merged, so they lose nothing. Snapshots whose layers are
    merged into the same image are removed at once, and their data is copied once.
  - Give at least one of O(keep_last), O(keep_hourly), O(keep_daily), O(keep_weekly), O(keep_monthly), O(keep_yearly),
    O(older_than), O(expired), O(names), O(labels), O(orphans), O(detached) and O(exclusive_dirs). Without any of them every
    snapshot would go, so the task is refused.
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
      - With V(!pattern) alone, all other VMs are selected.
      - An entry that is exactly the name of a VM selects that VM, even with C(*), C(?) or C([) in it.
      - The task fails before it changes anything if no VM of the host has a given name or UUID, unless O(missing=skip).
    type: list
    elements: str
    required: true
    aliases: [vm]
  keep_last:
    description:
      - How many of the newest snapshots of each VM stay. V(0) keeps none for being new, see O(allow_keep_nothing).
      - Counts only snapshots that could go - not protected ones, not those that O(names) or O(labels) leaves out or O(protect)
        names, not those that others took, unless O(include_foreign=true), and not those from the future.
    type: int
  keep_hourly:
    description:
      - Of each VM, the newest snapshot of each of the last hours that have a snapshot stays, this many hours. Hours without a
        snapshot do not count.
      - If fewer than that are kept, the oldest snapshot of all stays too. The same snapshots count as for O(keep_last).
      - V(0) keeps none. A negative number is refused. For no limit, give a large number.
    type: int
  keep_daily:
    description:
      - The same for days. The newest snapshot of each of the last days that have one stays.
    type: int
  keep_weekly:
    description:
      - The same for weeks. A week begins on Monday (ISO 8601).
    type: int
  keep_monthly:
    description:
      - The same for months.
    type: int
  keep_yearly:
    description:
      - For how many years the newest snapshot of the year stays. Counts as O(keep_hourly) does.
    type: int
  timezone:
    description:
      - The time zone in which the hours, days, weeks, months and years of O(keep_hourly) and the others begin, as a name of the
        IANA database, such as V(Europe/Berlin).
      - The default is the time zone of the controller, so that a day ends on all hosts at the same time. If the controller does
        not tell its name, the task is refused.
      - If the host does not have the zone, the task is refused. V(UTC) is known everywhere.
    type: str
  expired:
    description:
      - Whether only snapshots go that have expired, by the hypervisor's clock. O(limiquantix.kvm.vm_snapshot#module:expires) of
        M(limiquantix.kvm.vm_snapshot) says when. A snapshot without an expiry stays then.
    type: bool
    default: false
  labels:
    description:
      - Only snapshots that carry all these labels may go. The default is all. V({}) is refused.
    type: dict
  allow_keep_nothing:
    description:
      - Whether rules are carried out that keep no snapshot, such as O(keep_last=0) alone, or together with O(older_than=0d).
      - With V(false) they are refused, because a count of V(0) is often a slip.
    type: bool
    default: false
  older_than:
    description:
      - Only snapshots older than this go, by the hypervisor's clock.
      - A number followed by V(s), V(m), V(h), V(d) or V(w) for seconds, minutes, hours, days or weeks, such as V(12h).
    type: str
  names:
    description:
      - Names or shell globs of the snapshots that may go. The default is all.
    type: list
    elements: str
  protect:
    description:
      - Names or shell globs of snapshots that stay in any case.
      - Snapshots with O(limiquantix.kvm.vm_snapshot#module:protected=true) always stay. They need not be named here.
    type: list
    elements: str
    default: []
  include_foreign:
    description:
      - Whether snapshots that others took, such as C(virsh) or virt-manager, go too.
    type: bool
    default: false
  orphans:
    description:
      - Whether to delete overlays that nothing uses, and copies of UEFI variables and of TPMs whose snapshots others removed.
        C(orphans) of M(limiquantix.kvm.vm_snapshot_info) lists them.
      - This collection made them, for this VM or for one that is undefined by now. They are based on an image of the VM, and
        no VM, snapshot or other image of the host names them. Their data is lost, so look at them in check mode first.
      - What was made for a VM that is undefined by now is one of them only if this VM has written to its base. If the base is a
        template of this VM, the other one may run on it on another host.
      - If no option says which snapshots go, such as O(keep_last), O(older_than) or O(names), no snapshot is removed.
    type: bool
    default: false
  detached:
    description:
      - Whether to delete overlays of disks that the VM no longer has, or that others have put on another image, if no snapshot
        names them any more. What the guest wrote last to such a disk is lost then.
      - On a shared file system, such as NFS, only where O(exclusive_dirs) names the directory too.
      - With V(false) they are kept. RV(vms[].kept) names each, and C(kept) of M(limiquantix.kvm.vm_snapshot_info) has the
        command that attaches the disk to the VM again.
      - While C(definition_changed) of M(limiquantix.kvm.vm_snapshot_info) names a disk, no overlay of this VM is deleted.
      - If no option says which snapshots go, such as O(keep_last), O(older_than) or O(names), no snapshot is removed.
    type: bool
    default: false
  exclusive_dirs:
    description:
      - Directories on shared file systems, such as NFS or CIFS, that no other host uses, as real paths. Overlays in them that
        their VM no longer needs, and that no snapshot names, are deleted. An entry that is empty, relative or V(/) is refused.
      - Anywhere else on a shared file system no overlay is deleted, because another host may use it. O(orphans) deletes none
        there at all.
      - Overlays on shared file systems are merged in any case, because merging keeps their data.
      - If no option says which snapshots go, such as O(keep_last), O(older_than) or O(names), no snapshot is removed.
    type: list
    elements: path
    default: []
  bandwidth:
    description:
      - How fast merging a layer may read and write at most, in MiB/s. V(0) is no limit. It holds for each merge, and the layers
        of O(parallel) VMs are merged at the same time.
      - When the O(timeout) is over, the merge of a running VM goes on without the task, which is changed and not failed. See
        RV(vms[].merge). The next task on this VM waits for the merge and finishes the removal. The bandwidth stays as it was.
      - The merge of a VM that is off is aborted then, and the task fails. The next run starts that merge over.
    type: int
    default: 0
  apparmor:
    description:
      - How to merge a layer of a running VM where AppArmor on the host forbids it, as on Debian with a
        libvirt before 12.1. Such a libvirt writes lines C(deny "IMAGE" w,) into the VM's own profile,
        C(/etc/apparmor.d/libvirt/libvirt-UUID.files).
      - V(respect) changes nothing there. The task fails with C(error_code=apparmor_denied) before it changes anything.
      - V(adjust) takes these lines out of the profile of this VM just before each merge, only those for the images of this VM
        that the merge writes to. libvirt 12.1 does the same by itself. No other security setting is changed. The result lists
        the lines under C(notes), in check mode too.
    type: str
    choices: [respect, adjust]
    default: respect
  running_only:
    description:
      - Leave VMs that are not running alone.
    type: bool
    default: false
notes:
  - With O(uri=qemu:///system) the module needs C(become=true), for libvirt, the images and its records.
  - With O(older_than), O(keep_last) or another count, a snapshot of unknown age stays, and so does one that was taken in the
    future by the hypervisor's clock. They take no other snapshot's place. The VM's RV(vms[].msg) counts them.
  - If one of the snapshots cannot be removed, such as one both inside the images and in overlays
    (C(error_code=mixed_chain)), the VM fails before it is touched. Name that snapshot in O(protect) to leave it out.
  - With O(backend=qx_node), the options O(older_than), O(keep_last), O(keep_hourly), O(keep_daily), O(keep_weekly),
    O(keep_monthly), O(keep_yearly), O(expired), O(labels), O(orphans), O(detached), O(exclusive_dirs), O(bandwidth) and
    O(apparmor=adjust) are refused, because qx-node tells neither when a snapshot was taken or expires nor which files there
    are, and merges by itself. Such a task must give O(names), and O(include_foreign=true), because qx-node does not tell who
    took a snapshot.
seealso:
  - module: limiquantix.kvm.vm_snapshot
  - module: limiquantix.kvm.vm_snapshot_info
"""

EXAMPLES = r"""
- name: Keep seven nightly snapshots of each VM
  limiquantix.kvm.vm_snapshot_prune:
    vms: "*"
    names: nightly-*
    keep_last: 7

- name: Remove what is older than a month, but never the three newest
  limiquantix.kvm.vm_snapshot_prune:
    vms:
      - web-*
      - "!web-03"
    older_than: 30d
    keep_last: 3
    protect:
      - golden
      - release-*

- name: Keep a week of daily snapshots, a month of weekly ones and a year of monthly ones
  limiquantix.kvm.vm_snapshot_prune:
    vms: "*"
    names: nightly-*
    keep_daily: 7
    keep_weekly: 4
    keep_monthly: 12
    timezone: Europe/Berlin

- name: Remove what has expired, of one team
  limiquantix.kvm.vm_snapshot_prune:
    vms: "*"
    expired: true
    labels:
      team: web

- name: Remove all snapshots of that name, no matter who took them, with little load on the disks
  limiquantix.kvm.vm_snapshot_prune:
    vms: "*"
    names: pre-patch
    include_foreign: true
    bandwidth: 100

- name: Through qx-node on all hypervisors, from the controller
  limiquantix.kvm.vm_snapshot_prune:
    backend: qx_node
    url: "https://{{ inventory_hostname }}:8443"
    vms: "*"
    names: pre-patch
    include_foreign: true
  delegate_to: localhost

- name: See which overlays nothing uses (take check_mode out to delete them)
  limiquantix.kvm.vm_snapshot_prune:
    vms: "*"
    orphans: true
  check_mode: true
  diff: true
"""

RETURN = r"""
msg:
  description: What happened, in one line.
  returned: always
  type: str
  sample: "pruning of 3 VMs: 2 pruned, 1 unchanged"
disk_only:
  description: Always V(null). The keys are those of M(limiquantix.kvm.vm_snapshot).
  returned: always
  type: bool
error_code:
  description:
    - A stable name of what went wrong, for plays that branch on it. V(several) if VMs failed for different reasons.
    - The guide R(Error codes, ansible_collections.limiquantix.kvm.docsite.guide_errors) lists them all, in
      C(docs/docsite/rst/guide_errors.rst) of the collection.
  returned: failure
  type: str
  sample: merge_failed
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
      description: Whether something was removed. In check mode, whether it would be.
      type: bool
    failed:
      description: Whether this VM failed.
      type: bool
    error_code:
      description: Why it failed, V(null) where it did not.
      type: str
    details:
      description: The values in the error's message.
      type: dict
    msg:
      description: What happened to this VM, or why nothing did. After a failure, also what to do now.
      type: str
      sample: "snapshot 'nightly-01' removed. Kept: 7 among the newest 7"
    notes:
      description: What you should know about it.
      type: list
      elements: str
    recovered:
      description: What this run first finished or undid of an interrupted run on the VM. V(null) if there was nothing.
      type: str
    power:
      description: The VM's power, such as V(running) or V(shutoff). Pruning does not change it. V(null) if it is not known.
      type: str
      sample: running
    removed:
      description: The names of the snapshots that were removed, leaf first. In check mode, those that would be.
      type: list
      elements: str
      sample: [nightly-02, nightly-01]
    kept:
      description:
        - The names of the snapshots that stay because of a count such as O(keep_last), O(older_than), O(expired), O(protect) or
          their protection. Those that O(names) or O(labels) leaves out, and those that others took, are not listed.
        - After a failure, also those that were to be removed and are still there.
        - The paths of overlays that are kept because somebody may need their data. RV(vms[].notes) gives the reason for each.
      type: list
      elements: str
    kept_because:
      description:
        - Why each of the snapshots in RV(vms[].kept) stays, by its name. After a failure, without those that were to be removed.
        - One text for each rule that keeps it, such as V(daily 2026-11-24), V(weekly 2026-W48), V(oldest monthly 2026-09),
          V(among the newest 3), V(not old enough), V(not expired), V(protected), V(of unknown age), V(from the future)
          or V(of a group that is not confirmed yet).
      type: dict
      sample: {nightly-24: [daily 2026-11-24, weekly 2026-W48]}
    copied_bytes:
      description:
        - How many bytes merging the layers copies at most, by the plan for the VM. V(0) if nothing is merged.
        - V(null) with O(backend=qx_node), which does not tell it.
      type: int
      sample: 1073741824
    room_needed:
      description: How much free space merging needs at most at a time, in each directory whose images may grow.
      type: list
      elements: dict
      contains:
        directory:
          description: The directory.
          type: str
        bytes:
          description: The number of bytes.
          type: int
      sample: [{directory: /var/lib/libvirt/images, bytes: 1073741824}]
    files_removed:
      description: The files that were deleted with the snapshots. In check mode, those that would be.
      type: list
      elements: str
    merge:
      description:
        - The merge of a layer that goes on without the task, because the O(timeout) is over. V(null) if there is none.
        - The snapshot is removed when the merge has ended and the next task on this VM has finished the removal.
      type: dict
      contains:
        state:
          description: Always V(running).
          type: str
        percent:
          description: How much of the layer is merged. V(null) if that is not known.
          type: int
          sample: 42
        bytes_per_second:
          description: How fast that was while the task waited for it. V(null) if nothing was merged meanwhile.
          type: int
          sample: 104857600
        seconds_left:
          description: How long it still takes at this speed. V(null) if that is not known.
          type: int
          sample: 1260
    orphans_removed:
      description: The files that O(orphans), O(detached) and O(exclusive_dirs) deleted. In check mode, those that would go.
      type: list
      elements: str
    disk_only:
      description: Always V(null).
      type: bool
    quiesced:
      description: Always V(null).
      type: bool
    snapshot:
      description: Always V(null).
      type: dict
"""

from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.open import (
    hypervisor_arguments,
    hypervisor_requirements,
    open_hypervisor,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.other_python import go_where_libraries_are
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.retention import retention
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.prune import Prune, result
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.run import Limits, run
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


def arguments() -> dict[str, Any]:
    """Return the module's options."""
    return {
        **hypervisor_arguments(),
        "vms": {"type": "list", "elements": "str", "required": True, "aliases": ["vm"]},
        "keep_last": {"type": "int"},
        "keep_hourly": {"type": "int"},
        "keep_daily": {"type": "int"},
        "keep_weekly": {"type": "int"},
        "keep_monthly": {"type": "int"},
        "keep_yearly": {"type": "int"},
        "timezone": {"type": "str"},
        "expired": {"type": "bool", "default": False},
        "labels": {"type": "dict"},
        "allow_keep_nothing": {"type": "bool", "default": False},
        "older_than": {"type": "str"},
        "names": {"type": "list", "elements": "str"},
        "protect": {"type": "list", "elements": "str", "default": []},
        "include_foreign": {"type": "bool", "default": False},
        "orphans": {"type": "bool", "default": False},
        "detached": {"type": "bool", "default": False},
        "exclusive_dirs": {"type": "list", "elements": "path", "default": []},
        "bandwidth": {"type": "int", "default": 0},
        "apparmor": {"type": "str", "choices": ["respect", "adjust"], "default": "respect"},
        "running_only": {"type": "bool", "default": False},
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
        action = Prune(retention(params), datetime.now(timezone.utc), params["bandwidth"])
        limits = Limits(params["parallel"], params["timeout"], params["running_only"], params["missing"])
        with open_hypervisor(params) as hypervisor:
            vms = run(hypervisor, params["vms"], action, limits, module.check_mode)
    except KvmError as error:
        nothing: dict[str, Any] = {"changed": False, "disk_only": None, "diff": [], "vms": []}
        module.fail_json(**nothing, missing=error.details.get("names", []), **error.to_failure())
    pruned = result(vms, module.check_mode)
    if pruned.pop("failed", False):
        module.fail_json(**pruned)
    module.exit_json(**pruned)


if __name__ == "__main__":
    main()
