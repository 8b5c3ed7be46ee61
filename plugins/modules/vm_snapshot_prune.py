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
  - Removes, of any number of VMs of a hypervisor in one task, the snapshots that are too many or too old, as
    M(limiquantix.kvm.vm_snapshot) with O(limiquantix.kvm.vm_snapshot#module:state=absent) does - leaf first, while running
    VMs go on running.
  - Only snapshots that this collection took are meant, unless O(include_foreign=true), and never protected ones.
  - A snapshot goes only where everything that is given agrees to it. With O(keep_last=3) and O(older_than=7d), the three
    newest stay however old they are, and so does what is younger than a week however many there are.
  - What another snapshot or the VM's present needs of a removed one is merged, so that nothing of them is lost.
  - At least one of O(keep_last), O(older_than), O(names), O(orphans), O(detached) and O(exclusive_dirs) must be given, because
    every snapshot would go else.
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
  keep_last:
    description:
      - How many snapshots of each VM stay, the newest ones. With V(0) none stays because it is new.
      - Only snapshots that could go are counted - none that others took, that O(names) leaves out, or that is protected.
    type: int
  older_than:
    description:
      - Only snapshots that were taken longer ago than this go, by the hypervisor's clock.
      - A number with V(s), V(m), V(h), V(d) or V(w) behind it, for seconds, minutes, hours, days or weeks, such as V(12h).
    type: str
  names:
    description:
      - Names or shell globs of the snapshots that may go. The default is all.
    type: list
    elements: str
  protect:
    description:
      - Names or shell globs of snapshots that stay, whatever else is given.
      - Snapshots with O(limiquantix.kvm.vm_snapshot#module:protected=true) stay without being named here.
    type: list
    elements: str
    default: []
  include_foreign:
    description:
      - Whether snapshots that others took, such as C(virsh) or virt-manager, may go too.
    type: bool
    default: false
  orphans:
    description:
      - Whether to delete overlays that nothing uses - what C(orphans) of M(limiquantix.kvm.vm_snapshot_info) lists.
      - This collection made them, for this VM or for one that is undefined by now, they are based on an image of the VM, and
        no VM, snapshot or other image of the host names them. Look at them in check mode first, because what is in them is
        lost.
      - Where only this is given, no snapshot goes.
    type: bool
    default: false
  detached:
    description:
      - Whether to delete overlays of disks that the VM no longer has, and that no snapshot names any more. What was written
        last to such a disk is lost then.
      - Without it they are kept. The VM's entry names each in RV(vms[].kept), and C(kept) of
        M(limiquantix.kvm.vm_snapshot_info) says how to give the VM the disk's data again.
      - Where only this is given, no snapshot goes.
    type: bool
    default: false
  exclusive_dirs:
    description:
      - Directories on shared file systems, such as NFS or CIFS, that no other host uses. An overlay on a shared file system
        that lies in none of them is never deleted, because another host may be using it.
      - An overlay is merged there all the same, because its content goes along.
    type: list
    elements: path
    default: []
  bandwidth:
    description:
      - The most that merging a layer may read and write, in MiB/s. V(0) is no limit.
      - At the O(timeout) a merge is given up. The VM goes on as before, and the next run continues it.
    type: int
    default: 0
  running_only:
    description:
      - Leave VMs that are not running alone.
    type: bool
    default: false
notes:
  - A snapshot whose age is not known stays where O(older_than) or O(keep_last) decides. The result counts it.
  - A VM with a snapshot that cannot be removed fails before it is touched, for instance one that mixes kinds
    (C(error_code=mixed_chain)). O(protect) leaves that snapshot out.
  - With O(backend=qx_node), O(older_than), O(keep_last), O(orphans), O(detached) and O(exclusive_dirs) are refused, because the
    agent tells neither when a snapshot was taken nor which files there are. O(names) needs O(include_foreign=true) there,
    because it does not tell who took a snapshot either, nor whether one is protected.
seealso:
  - module: limiquantix.kvm.vm_snapshot
  - module: limiquantix.kvm.vm_snapshot_info
"""

EXAMPLES = r"""
- name: Of the nightly snapshots keep a week's
  limiquantix.kvm.vm_snapshot_prune:
    vms: "*"
    names: nightly-*
    keep_last: 7

- name: What is older than a month goes, but never the three newest
  limiquantix.kvm.vm_snapshot_prune:
    vms:
      - web-*
      - "!web-03"
    older_than: 30d
    keep_last: 3
    protect:
      - golden
      - release-*

- name: All snapshots of that name, whoever took them, sparing the disks
  limiquantix.kvm.vm_snapshot_prune:
    vms: "*"
    names: pre-patch
    include_foreign: true
    bandwidth: 100

- name: Through the agents of all hypervisors, from the controller
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
    - A stable name of what went wrong, for plays that branch on it. V(several) when VMs failed for different reasons.
    - The README lists them all.
  returned: failure
  type: str
  sample: merge_failed
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
      description: Whether something was removed, or would be in check mode.
      type: bool
    failed:
      description: Whether this VM failed.
      type: bool
    error_code:
      description: Why it failed, V(null) where it did not.
      type: str
    details:
      description: Values behind the error.
      type: dict
    msg:
      description: What happened to this VM, or why nothing did and, after a failure, what to do now.
      type: str
      sample: "snapshot 'nightly-01' removed. Kept: 7 among the newest 7"
    notes:
      description: What an operator should know of it.
      type: list
      elements: str
    recovered:
      description: What an interrupted run had left of this VM and was finished or undone first. V(null) where nothing was.
      type: str
    power:
      description: The VM's state afterwards, V(null) where that is not known. Pruning does not change it.
      type: str
      sample: running
    removed:
      description: The names of the snapshots that were removed, or would be in check mode, leaf first.
      type: list
      elements: str
      sample: [nightly-02, nightly-01]
    kept:
      description:
        - The names of the other snapshots that ownership and O(names) let in, which stay because of O(keep_last),
          O(older_than), O(protect) or their protection.
        - After a failure, those that were to be removed and are still there too.
        - The paths of overlays that are kept because their data may be somebody's. RV(vms[].notes) says of each why.
      type: list
      elements: str
    files_removed:
      description: The files that went with the snapshots, or would.
      type: list
      elements: str
    orphans_removed:
      description: The overlays that O(orphans) deleted, or would.
      type: list
      elements: str
    disk_only:
      description: Always V(null), as the next two.
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
        "older_than": {"type": "str"},
        "names": {"type": "list", "elements": "str"},
        "protect": {"type": "list", "elements": "str", "default": []},
        "include_foreign": {"type": "bool", "default": False},
        "orphans": {"type": "bool", "default": False},
        "detached": {"type": "bool", "default": False},
        "exclusive_dirs": {"type": "list", "elements": "path", "default": []},
        "bandwidth": {"type": "int", "default": 0},
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
