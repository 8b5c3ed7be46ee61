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
  - A snapshot is disk-only unless O(include_memory=true). The rule is C(disk_only = not include_memory).
  - QEMU cannot save the memory of a VM whose CPU carries C(invtsc) without a TSC frequency, nor of a VM with certain devices.
    Of such a VM you can take a disk-only snapshot - leave O(include_memory) out, or set O(on_memory_blocked=disk_only).
  - All disks of a VM switch to their overlays in one transaction. Where a guest agent answers, it freezes the guest's file
    systems meanwhile.
  - A snapshot without memory has copies of the VM's UEFI variables (its nvram file) and of the state of its emulated TPM, and a
    revert puts them back. A running VM that has any of these is suspended for a fraction of a second while they are copied and
    the disks are switched. Other VMs are not suspended.
  - Reverting and removing work alike on every libvirt from 7.0 on, also where libvirt itself cannot do it.
  - Each run records on the host what it is about to change, before its first step. If a run is killed, the next run on that
    VM finishes or undoes its work first, whatever its O(state), and says so in RV(vms[].recovered).
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
  name:
    description:
      - The snapshot's name. Required, unless O(all_snapshots=true).
      - Any file name without C(/) and control characters, which does not begin with a dot or a dash, has no white space at its
        ends, and has at most 251 bytes. The names of VM, disk and snapshot together are part of a file name, and must fit into
        244 bytes. A space or a special character counts as three bytes there.
    type: str
  state:
    description:
      - V(present) takes the snapshot if the VM has none of that O(name). A second run changes nothing. If the snapshot is
        there, its O(description), O(protected), O(labels) and O(expires) are changed to what is given, all in one step. If it
        has other disks than O(disks) names, or holds the memory otherwise than O(include_memory) says, the task fails with
        C(error_code=snapshot_mismatch). So give O(include_memory=true) to change a snapshot with memory.
      - V(reverted) brings the VM back to the snapshot. The data written since is deleted, unless O(keep_current=true). Other
        branches of the tree stay, and you can revert to them later. Before the module stops a VM that it will start again, it
        checks that all files, devices and networks needed for the start exist. If the VM does not start all the same, the
        module brings it back to where it was.
      - V(absent) removes the snapshot. The VM's current data and every other snapshot stay exactly as they are, and a running
        VM goes on running while the snapshot's layers are merged.
    type: str
    choices: [present, absent, reverted]
    default: present
  include_memory:
    description:
      - Whether to save the memory of a running VM too, so that after a revert the guest goes on from that very moment.
      - A VM that is shut off has no memory to save. Its snapshot is disk-only, and the result says so.
    type: bool
    default: false
  on_memory_blocked:
    description:
      - What to do with a VM whose memory cannot be saved, although O(include_memory=true). The module finds this out before it
        touches the VM. In rare cases libvirt or qx-node refuses it later, after the guest was paused for a moment. Then nothing
        was taken, and the task fails.
      - V(fail) fails with C(error_code=memory_blocked), and names every reason and what you can do.
      - V(disk_only) takes a disk-only snapshot and says so.
    type: str
    choices: [fail, disk_only]
    default: fail
  quiesce:
    description:
      - Whether to freeze the guest's file systems while its disks are switched.
      - V(auto) freezes them where a guest agent answers. Otherwise the snapshot is crash-consistent, and the result says why.
      - V(required) fails if a running or paused guest cannot be frozen, and takes no snapshot then. If the freeze is lost while
        the disks are switched, the task fails with C(error_code=quiesce_lost), and the snapshot stays.
      - V(never) does not try.
      - For a snapshot with memory no file system is frozen, because the saved memory holds what is not yet written. So
        V(required) together with O(include_memory=true) is refused.
    type: str
    choices: [never, auto, required]
    default: auto
  quiesce_timeout:
    description:
      - Seconds after which the guest is thawed in any case, also if this module is killed meanwhile.
    type: int
    default: 30
  description:
    description:
      - A text to keep with the snapshot. At most 65536 bytes, without control characters other than line feeds and tabs.
      - If not given, a new snapshot has none, and an existing one keeps what it has. A description that is given later is
        recorded by this collection, and C(virsh) goes on showing the one from when the snapshot was taken.
    type: str
  disks:
    description:
      - The targets (such as V(vda)) of the disks to snapshot. The default is all disks that a snapshot can hold.
      - A disk that is not named here is left out. Without O(disks), the snapshot leaves out cdroms, empty drives and read-only
        disks, and O(on_uncovered) says what to do with a writable disk that a snapshot cannot hold.
      - A disk whose definition says C(snapshot='no') or C(snapshot='manual') is left out too, unless it is named here.
    type: list
    elements: str
  on_uncovered:
    description:
      - What to do with a VM that has a writable disk which no snapshot can hold, such as a network disk, a LUN, or one that is
        encrypted, shared, transient, a slice of its file or on a storage pool that is not active.
      - V(fail) fails with C(error_code=disk_not_covered) before the VM is touched.
      - V(leave_out) takes the snapshot without that disk and says so in C(left_out). If a disk that O(disks) names cannot be in
        a snapshot, the VM fails all the same.
      - A VM without any disk that a snapshot can hold gets no snapshot and does not fail. RV(vms[].notes) says so. If the VM's
        own definition keeps all its disks out of snapshots, V(fail) fails.
    type: str
    choices: [fail, leave_out]
    default: fail
  overlay_dir:
    description:
      - An existing directory, as an absolute path, for overlays and memory files. The default is beside each disk. A disk on a
        block device needs this option.
      - QEMU's user needs the right to search (C(x)) in this directory and in every directory above it. The module checks this
        first.
      - Used with O(state=present) only. A revert puts its overlays where those of the snapshot are.
    type: path
  running_only:
    description:
      - Leave VMs that are not running alone.
    type: bool
    default: false
  protected:
    description:
      - V(true) protects the snapshot. A task with O(backend=libvirt) does not remove it until a task sets this to V(false).
        C(virsh), and a task with O(backend=qx_node), which knows of no protection, still can.
      - If not given, a new snapshot is not protected, and the protection of an existing one does not change.
      - Used with O(state=present) only.
    type: bool
  labels:
    description:
      - With O(state=present), names and values to keep with the snapshot. They replace all labels that it has, so that V({})
        takes them all off. If not given, an existing snapshot keeps its labels.
      - The same characters and length are allowed as in O(description).
      - With O(state=absent), only snapshots that carry all these labels are removed. O(name) or O(all_snapshots=true) is needed
        too. V({}) is refused, so that an empty variable never removes everything.
    type: dict
  expires:
    description:
      - When the snapshot expires. M(limiquantix.kvm.vm_snapshot_prune) removes it after that, with
        O(limiquantix.kvm.vm_snapshot_prune#module:expired=true). Nothing else happens then. A snapshot may be removed before it
        expires.
      - A number followed by V(s), V(m), V(h), V(d) or V(w) counts from when the snapshot was taken, also if it is given later.
        So V(14d) says the same in each run.
      - A date and time such as V(2026-12-24T18:00+01:00) is that moment, in UTC if it has no zone. A date such as V(2026-12-24)
        is the end of that day in UTC.
      - V(never) takes the expiry off. If not given, a new snapshot never expires, and an existing one keeps its expiry.
      - A time in the past is refused.
      - Used with O(state=present) only.
    type: str
  power:
    description:
      - The VM's power after O(state=reverted).
      - V(restore) is as before the revert. A VM that was running is stopped hard, and runs again afterwards, also one that an
        I/O error had paused. A VM that was off stays off, and saved memory is not loaded. To load it, set V(running) or
        V(paused).
      - If the VM runs or is paused afterwards, it goes on from the saved moment where the snapshot has memory. After a
        disk-only snapshot it boots from its disks.
    type: str
    choices: [restore, running, paused, shutoff]
    default: restore
  keep_current:
    description:
      - With O(state=reverted), first take a disk-only snapshot of what the VM has now, named C(before-NAME). To undo the revert,
        revert to that. The VM boots from these disks then, because its memory is not kept. If the name is in use, a number is
        added.
    type: bool
    default: false
  accept_changed:
    description:
      - With O(state=reverted), revert also if others have written to an image or a memory file of the snapshot, so that nobody
        knows what it holds now. Otherwise the task fails with C(error_code=snapshot_changed).
      - A copy of UEFI variables or of a TPM's state that others changed is never put back. The VM keeps what it has.
      - To remove such a snapshot, this is not needed. What the VM and the other snapshots read stays as it is.
    type: bool
    default: false
  children:
    description:
      - With O(state=absent), also remove the snapshots that are based on this one, leaf first.
    type: bool
    default: false
  all_snapshots:
    description:
      - With O(state=absent), remove all snapshots of the VMs, leaf first, no matter who took them. Excludes O(name).
      - If one of them is protected, the VM fails with C(error_code=snapshot_protected), and none of its snapshots is removed.
    type: bool
    default: false
  bandwidth:
    description:
      - With O(state=absent), how fast merging a layer may read and write at most, in MiB/s. V(0) is no limit. It holds for each
        merge, and the layers of O(parallel) VMs are merged at the same time.
      - When the O(timeout) is over, the merge of a running VM goes on without the task, which is changed and not failed. See
        RV(vms[].merge). The next task on this VM waits for the merge and finishes the removal. The bandwidth stays as it was.
      - The merge of a VM that is off is aborted then, and the task fails. The next run starts that merge over.
    type: int
    default: 0
  apparmor:
    description:
      - With O(state=absent), how to merge a layer of a running VM where AppArmor on the host forbids it, as on Debian with a
        libvirt before 12.1. Such a libvirt writes lines C(deny "IMAGE" w,) into the VM's own profile,
        C(/etc/apparmor.d/libvirt/libvirt-UUID.files).
      - V(respect) changes nothing there. The task fails with C(error_code=apparmor_denied) before it changes anything.
      - V(adjust) takes these lines out of the profile of this VM just before each merge, only those for the images of this VM
        that the merge writes to. libvirt 12.1 does the same by itself. No other security setting is changed. The result lists
        the lines under C(notes), in check mode too.
    type: str
    choices: [respect, adjust]
    default: respect
  appointment:
    description:
      - For the playbooks C(snapshot_group), C(revert_group) and C(remove_group) of this collection only, which see all hosts.
        It says what this host does for a group of VMs that is taken at one moment, and when. O(vms) must be UUIDs then.
    type: dict
    version_added: 0.1.0
    suboptions:
      step:
        description:
          - V(clock) reads this host's clock from the controller, without starting the module.
          - V(finish) finishes or undoes what interrupted runs left of the VMs.
          - V(plan) checks all that can be checked beforehand, and changes nothing.
          - V(take) takes the snapshots at the appointed moment. They are pending then.
          - V(confirm) notes that the whole group was taken at one moment, V(undo) removes the pending snapshots.
        type: str
        choices: [clock, finish, plan, take, confirm, undo]
        required: true
      group:
        description: The identity of the group.
        type: str
        default: ""
      members:
        description: The UUIDs of all VMs of the group, on all hosts.
        type: list
        elements: str
        default: []
      late:
        description: Whether another run than the one that took the snapshots confirms or undoes them.
        type: bool
        default: false
      boot_id:
        description: Which start of the host the times count from, as in C(/proc/sys/kernel/random/boot_id).
        type: str
        default: ""
      begin:
        description: When the VMs begin to be held, in seconds since the start of the host.
        type: float
        default: 0
      cut:
        description: When their disks are switched.
        type: float
        default: 0
      release:
        description: When they go on.
        type: float
        default: 0
      hard_end:
        description: When they go on in any case.
        type: float
        default: 0
notes:
  - With O(uri=qemu:///system) the module needs C(become=true), for libvirt, the images and its records.
  - After a snapshot the guest writes to overlay files beside its disks. They grow until the snapshot is removed.
  - What a snapshot does not hold is listed under C(left_out) of the result, such as a TPM that is a device of the host.
  - As long as a VM has snapshots, libvirt refuses its live migration, and C(virsh undefine) without C(--snapshots-metadata).
  - A revert changes disks, memory and power, and never the VM's definition - what was configured since the snapshot stays.
    Only a guest that goes on from saved memory has the devices of that moment, until it is powered off.
  - If a snapshot covers some of the disks only, a revert leaves the other disks as they are.
  - With O(backend=qx_node), the options O(disks), O(on_uncovered), O(overlay_dir), O(protected), O(labels), O(power),
    O(expires), O(children), O(bandwidth), O(apparmor=adjust) and O(quiesce=required) are refused, because qx-node cannot do
    or does not confirm them. O(include_memory=true) is refused for a VM that has snapshots already. The O(description) of a
    snapshot that is there cannot be changed.
    With O(quiesce=auto), qx-node is asked to freeze the guests whose guest agent it calls connected. Every run of
    O(state=reverted) reverts again, because qx-node does not tell whether anything was written since.
  - With O(backend=qx_node), a request that gets no answer is never sent again. The module looks up whether it was carried out,
    and fails with C(error_code=outcome_unknown) if it cannot find out.
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

- name: Only with frozen file systems, only the system disk, and with overlays in another directory
  limiquantix.kvm.vm_snapshot:
    vms: [db01, db02]
    name: consistent
    quiesce: required
    disks: [vda]
    overlay_dir: /srv/overlays

- name: Take the snapshot of those VMs that are on this host; another host has the others
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

- name: A snapshot that may be pruned after two weeks, with labels to find it by
  limiquantix.kvm.vm_snapshot:
    vms: web-*
    name: pre-patch
    expires: 14d
    labels:
      change: CHG0042

- name: Keep it longer after all, and say why
  limiquantix.kvm.vm_snapshot:
    vm: web-01
    name: pre-patch
    expires: "2027-03-31"
    description: the vendor is still looking into it

- name: Remove all snapshots of that change
  limiquantix.kvm.vm_snapshot:
    vms: web-*
    state: absent
    all_snapshots: true
    labels:
      change: CHG0042

- name: All snapshots of a test VM
  limiquantix.kvm.vm_snapshot:
    vm: test01
    state: absent
    all_snapshots: true

- name: Through qx-node on all hypervisors, from the controller
  limiquantix.kvm.vm_snapshot:
    backend: qx_node
    url: "https://{{ inventory_hostname }}:8443"
    ca_path: /etc/ssl/agents.pem
    vms: "*"
    name: pre-patch
  delegate_to: localhost

- name: Give options once for all modules of the group, with the token from the environment of the controller or of AWX
  module_defaults:
    group/limiquantix.kvm.vm_snapshot:
      backend: qx_node
      url: https://localhost:8443
      token: "{{ lookup('ansible.builtin.env', 'LIMIQUANTIX_KVM_TOKEN') }}"
  block:
    - name: Take a snapshot of every VM
      limiquantix.kvm.vm_snapshot:
        vms: "*"
        name: pre-patch

    - name: Look at what is there
      limiquantix.kvm.vm_snapshot_info:
"""

RETURN = r"""
msg:
  description: What happened, in one line.
  returned: always
  type: str
  sample: "snapshot 'pre-patch' (disk-only) of 3 VMs: 2 taken, 1 unchanged"
disk_only:
  description:
    - V(true) if all snapshots hold disks only, V(false) if all hold memory too. A VM that is off has no memory to save.
    - V(null) if the VMs differ, as RV(vms[].disk_only) tells, or with another O(state) than V(present).
  returned: always
  type: bool
  sample: true
error_code:
  description:
    - A stable name of what went wrong, for plays that branch on it. V(several) if VMs failed for different reasons.
    - The guide R(Error codes, ansible_collections.limiquantix.kvm.docsite.guide_errors) lists them all, in
      C(docs/docsite/rst/guide_errors.rst) of the collection.
  returned: failure
  type: str
  sample: memory_blocked
details:
  description: The values in the message of an error that concerns the whole task, such as paths and numbers of bytes.
  returned: when there are any
  type: dict
group:
  description: How this host's VMs of a group were held, by O(appointment). The playbook C(snapshot_group) compares all hosts.
  returned: with O(appointment)
  type: dict
  contains:
    id:
      description: The identity of the group.
      type: str
    boot_id:
      description: Which start of the host the times count from.
      type: str
    members:
      description:
        - By UUID, the times in seconds since the start of the host. A VM that was not taken is not in it.
        - C(began) is when it began to be held, C(held) when it stood still, C(switched_from) and C(switched_to) when its disks
          were switched, C(released) when it still stood still. C(disturbed) says what let it go on before that.
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
      description: Whether its snapshots changed, or would in check mode.
      type: bool
    failed:
      description: Whether this VM failed.
      type: bool
    error_code:
      description: Why it failed, V(null) where it did not.
      type: str
    details:
      description: The values in the error's message, such as the list of C(blockers) or free bytes.
      type: dict
    msg:
      description: What happened to this VM and, after a failure, what to do now.
      type: str
    notes:
      description: What you should know about it, such as why a guest was not quiesced.
      type: list
      elements: str
    recovered:
      description: What this run first finished or undid of an interrupted run on the VM. V(null) if there was nothing.
      type: str
    power:
      description: The VM's power afterwards, such as V(running), V(paused) or V(shutoff). V(null) if it is not known.
      type: str
      sample: running
    removed:
      description: The names of the snapshots that were removed. In check mode, those that would be.
      type: list
      elements: str
    kept:
      description:
        - After a failure, the names of the snapshots that were to be removed and are still there.
        - The paths of overlays that are kept because somebody may need their data. The VM no longer has their disk, another VM
          uses them, or they are on a file system that other hosts may use. RV(vms[].notes) gives the reason for each.
      type: list
      elements: str
    files_removed:
      description: The files that a revert or removal deleted. In check mode, those that it would delete.
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
    copied_bytes:
      description:
        - How many bytes a removal copies at most to merge the layers, by the plan for the VM. V(0) if nothing is merged.
        - V(null) for a removal with O(backend=qx_node), which does not tell it.
      type: int
      sample: 1073741824
    disk_only:
      description:
        - Whether the snapshot holds disks only. V(null) if there is no snapshot, or if that is not known.
      type: bool
    quiesced:
      description:
        - Whether the guest's file systems were frozen all the time while the disks were switched. V(false) also for a VM that
          was off, and for a snapshot with memory, which need no freeze.
        - V(null) if that is not known, such as in check mode where a freeze is planned, or for a snapshot that others took.
      type: bool
    snapshot:
      description:
        - The snapshot, V(null) if there is none.
        - With O(backend=qx_node), what qx-node does not tell about it is V(null). That may be all but its name.
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
          description: Whether the guest's file systems were frozen all the time while the disks were switched.
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
              description: The overlay's path.
              type: str
            format:
              description: The overlay's format.
              type: str
            size:
              description: Bytes that it occupies now. V(null) in check mode, or if the file is gone.
              type: int
            base:
              description: The frozen image under the overlay. It holds the disk as it was at the snapshot.
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
          description: Files of the snapshot that are gone. You cannot revert to it until they are back.
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
          description:
            - When it expires, in UTC. V(null) if never.
            - In check mode, a span such as V(14d) for a new snapshot counts from the moment of the check.
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
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.open import (
    hypervisor_arguments,
    hypervisor_requirements,
    open_hypervisor,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.other_python import go_where_libraries_are
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.labels import as_labels, label_filter
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.snapshot_names import check_snapshot_name
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.action import Action
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.group.steps import Step, group_step
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.outcome import Wording, outcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.remove import Absent, carrying, every, named
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
        "description": {"type": "str"},
        "disks": {"type": "list", "elements": "str"},
        "on_uncovered": {"type": "str", "choices": ["fail", "leave_out"], "default": "fail"},
        "overlay_dir": {"type": "path"},
        "running_only": {"type": "bool", "default": False},
        "protected": {"type": "bool"},
        "labels": {"type": "dict"},
        "expires": {"type": "str"},
        "power": {"type": "str", "choices": ["restore", "running", "paused", "shutoff"], "default": "restore"},
        "keep_current": {"type": "bool", "default": False},
        "accept_changed": {"type": "bool", "default": False},
        "children": {"type": "bool", "default": False},
        "all_snapshots": {"type": "bool", "default": False},
        "bandwidth": {"type": "int", "default": 0},
        "apparmor": {"type": "str", "choices": ["respect", "adjust"], "default": "respect"},
        "appointment": {"type": "dict", "options": _APPOINTMENT},
    }


_MOMENT = {"type": "float", "default": 0}
_APPOINTMENT: dict[str, Any] = {
    "step": {"type": "str", "choices": ["clock", "finish", "plan", "take", "confirm", "undo"], "required": True},
    "group": {"type": "str", "default": ""},
    "members": {"type": "list", "elements": "str", "default": []},
    "late": {"type": "bool", "default": False},
    "boot_id": {"type": "str", "default": ""},
    **dict.fromkeys(("begin", "cut", "release", "hard_end"), _MOMENT),
}


def wanted(params: dict[str, Any]) -> tuple[Action[Any, Any], Wording]:
    """Return what the task asks for and how to report it. Raises ``bad_request``, ``bad_name``."""
    name = params["name"] or ""
    if params["state"] == "absent":
        return _absent(params, name)
    if params["all_snapshots"] or params["children"]:
        raise _bad_request("children and all_snapshots need state: absent.")
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
    return Present(wish), Wording(f"snapshot {name!r}", "taken", wish.disk_only)


def _absent(params: dict[str, Any], name: str) -> tuple[Action[Any, Any], Wording]:
    if params["bandwidth"] < 0:
        raise _bad_request(f"bandwidth is {params['bandwidth']}. It must be 0 (no limit) or more.")
    labels = label_filter(params["labels"])
    with_labels = f" with the labels {', '.join(f'{key}={value}' for key, value in labels.items())}" if labels else ""
    if not params["all_snapshots"]:
        if labels and not name:
            message = "labels is given, and neither name nor all_snapshots is."
            raise _bad_request(
                message, "Nothing was changed. For all snapshots with these labels, add all_snapshots: true."
            )
        check_snapshot_name(name)
        below = " and those based on it" if params["children"] else ""
        none = f"there is no snapshot {name!r}{with_labels}"
        action = Absent(named(name, params["children"], labels), params["bandwidth"], none)
        return action, Wording(f"removal of snapshot {name!r}{below}{with_labels}", "removed")
    if name:
        raise _bad_request("name and all_snapshots exclude each other.")
    chosen = carrying(labels) if labels else every
    action = Absent(chosen, params["bandwidth"], f"it has no snapshots{with_labels}")
    return action, Wording(f"removal of all snapshots{with_labels}", "removed")


def snapshot_request(params: dict[str, Any]) -> SnapshotRequest:
    """Return the snapshot that the task asks for; raise ``bad_request`` where that cannot be."""
    if params["include_memory"] and params["quiesce"] == "required":
        remedy = (
            "Nothing was changed. Leave out one of the two: saved memory holds also what the guest has yet to write."
        )
        raise _bad_request("include_memory: true and quiesce: required exclude each other.", remedy)
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
        labels=as_labels(params["labels"]),
        expires=params["expires"],
    )


def _bad_request(message: str, remedy: str = "Nothing was changed.") -> KvmError:
    return KvmError("bad_request", message, remedy)


def task_of(params: dict[str, Any]) -> Step:
    """Return what the task does: for each VM by itself or, with an appointment, for those of a group."""
    if params["appointment"]:
        return group_step(params, snapshot_request(params))
    action, wording = wanted(params)
    limits = Limits(params["parallel"], params["timeout"], params["running_only"], params["missing"])
    return Step(action, wording, limits)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=arguments(),
        required_if=hypervisor_requirements(),
        supports_check_mode=True,
    )
    params = module.params
    go_where_libraries_are(params)
    disk_only = not params["include_memory"] if params["state"] == "present" else None
    try:
        step = task_of(params)
        check = module.check_mode or step.only_looks
        with open_hypervisor(params) as hypervisor:
            vms = run(hypervisor, params["vms"], step.action, step.limits, check)
    except KvmError as error:
        nothing: dict[str, Any] = {"changed": False, "disk_only": disk_only, "diff": [], "vms": []}
        module.fail_json(**nothing, missing=error.details.get("names", []), **error.to_failure())
    result = outcome(step.wording, vms, check)
    if params["appointment"]:
        result["group"] = step.to_result(params["appointment"]["group"])
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
