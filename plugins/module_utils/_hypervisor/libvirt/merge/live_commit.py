# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merging layers of a running VM: a block commit by QEMU, and the pivot where the active layer goes.

A job that is gone is no success (it also goes when the disk is full): what counts is the chain afterwards.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Any, Callable, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import libvirt
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libvirt_errors import (
    from_libvirt,
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.backing_chain import real_chain
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.confinement import (
    allow,
    denied,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.moved_disks import note_moving
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.offline_commit import (
    merge_failed,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import image_disks, source_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Merge
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.merge_refusals import merge_goes_on, merge_timeout
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline, Pace
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.merge import MergeProgress

_ACTIVE = 4  # VIR_DOMAIN_BLOCK_COMMIT_ACTIVE
_PIVOT = 2  # VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT
_COMMITS = (3, 4)  # virDomainBlockJobType: commit, active commit
_NOT_READY = 83  # VIR_ERR_BLOCK_COPY_ACTIVE
_POLL_FIRST, _POLL_MOST = 0.02, 0.2  # seconds
_GONE_SECONDS = 10.0
_SHUT_OFF = "the VM was shut off meanwhile"


def commit_block(handle: VmHandle, target: str, step: Merge, pace: Pace, started: Callable[[], None]) -> None:
    """Merge a layer of a disk into one under it while the VM runs, and all that lie between along with it.

    ``started`` is called as soon as libvirt has begun. Raises ``apparmor_denied`` or another error of `from_libvirt`
    when it did not begin, ``merge_failed`` where it was given up: the VM goes on as before. Raises ``timeout`` where it goes
    on without us, or cannot come to its end.
    """
    names = dict(_layers(handle, target))
    active = next(iter(names)) == step.top
    written = [step.base, *(file for file in step.above if file in list(names)[1:])]
    allow(handle, written)
    top, flags = (None, _ACTIVE) if active else (names[step.top], 0)
    try:
        handle.native.blockCommit(target, names[step.base], top, pace.bandwidth, flags)
    except libvirt.libvirtError as error:
        raise denied(handle, written, from_libvirt(error, handle.name, "merging a layer")) from error
    started()
    _wait(handle, target, active, pace.deadline, first=0)
    _verify(handle, target, step.gone)


def follow_commit(handle: VmHandle, target: str, active: bool, deadline: Deadline) -> bool:
    """Wait for the end of a commit that goes on since an earlier run, and pivot where that is to do; return whether it did.

    Raises ``timeout``.
    """
    job = _job(handle, target)
    if not job or job.get("type") not in _COMMITS:
        return False
    _wait(handle, target, active, deadline, first=job["cur"])
    return True


def is_commit(handle: VmHandle, target: str) -> bool:
    """Whether the job on a disk, if there is one, is a merge."""
    job = _job(handle, target)
    return not job or job.get("type") in _COMMITS


def has_job(handle: VmHandle, target: str) -> bool:
    """Whether a job is on a disk now."""
    return bool(_job(handle, target))


def _job(handle: VmHandle, target: str) -> Any:
    with translated(handle.name, "looking at a merge that goes on"):
        return handle.native.blockJobInfo(target, 0)


def merge_percent(handle: VmHandle) -> Optional[int]:
    """Return how far the merge has got that libvirt has under way; None where there is none, or nobody can tell."""
    with suppress(libvirt.libvirtError):
        for disk in image_disks(handle.xml()):
            job = handle.native.blockJobInfo(disk.target, 0)
            if job and job.get("type") in _COMMITS and job.get("end"):
                return int(100 * job["cur"] // job["end"])
    return None


def _abort_commit(handle: VmHandle, target: str) -> None:
    """End a commit that comes to no end; the disk stays on the layers it is on.

    Libvirt that was killed in the middle of it may crash at this (seen with 7.0 and 11.3). That costs one more run.
    """
    with translated(handle.name, "ending a merge that was left behind"):
        job = handle.native.blockJobInfo(target, 0)
        if job and job.get("type") in _COMMITS:
            handle.native.blockJobAbort(target, 0)
            _until_gone(handle, target)


def catch_up(handle: VmHandle) -> None:
    """Let libvirt see a commit that ended just when it was killed: it still believes the merged layer to be there.

    A pull of nothing, down to the image that the active layer is really based on, makes it look (measured on 7.0, 9.0 and
    11.3). Further down it would copy data, so that libvirt is left to find out at the VM's next start.
    """
    for disk in image_disks(handle.xml()):
        told = dict(_layers(handle, disk.target))
        real = real_chain(str(disk.source), disk.format)
        under = list(told)
        if len(real) > 1 and under != real and real[1] in under and under[under.index(real[1]) :] == real[1:]:
            with translated(handle.name, "making libvirt read a merged layer again"):
                handle.native.blockRebase(disk.target, told[real[1]], 0, 0)
            _until_gone(handle, disk.target)


def _layers(handle: VmHandle, target: str) -> Iterator[tuple[str, str]]:
    """Yield each layer of a disk, active first: its real path and the name by which libvirt takes it (``vda[3]``)."""
    for element in handle.xml().iterfind("devices/disk"):
        if element.find("target").get("dev") != target:
            continue
        source, layer = element.find("source"), element
        while source is not None:
            path = source_path(layer)
            if path is None:
                return  # what is no file of this host is never merged into
            index = source.get("index") or layer.get("index")
            yield real_path(path), f"{target}[{index}]" if index else path
            layer = layer.find("backingStore")
            source = None if layer is None else layer.find("source")


def _wait(handle: VmHandle, target: str, active: bool, deadline: Deadline, first: int) -> None:
    pause, began = _POLL_FIRST, time.monotonic()
    while True:
        job = _watched(handle, target)
        if not job:
            return
        if job.get("cur", 0) < job.get("end", 0):  # also equal before it has begun
            handle.note_percent(100 * job["cur"] // job["end"])
        if active and job.get("cur") == job.get("end") and _is_ready(handle, target):
            note_moving(handle, [target])
            if _pivot(handle, target):
                return
        if deadline.passed:
            _leave(
                handle,
                target,
                MergeProgress(job["cur"], job["end"], job["cur"] - first, time.monotonic() - began),
                deadline,
            )
        time.sleep(min(pause, max(0.001, deadline.remaining())))
        pause = min(pause * 1.3, _POLL_MOST)


def _watched(handle: VmHandle, target: str) -> Any:
    """Return what libvirt tells of a job. Raises ``merge_failed`` where the VM has no jobs any more."""
    try:
        with translated(handle.name, "watching the merge"):
            return handle.native.blockJobInfo(target, 0)
    except KvmError as error:
        if error.error_code != "connection_lost" and not handle.active():
            raise merge_failed(handle.name, _SHUT_OFF) from error
        raise


def _leave(handle: VmHandle, target: str, progress: MergeProgress, deadline: Deadline) -> None:
    """Raise ``timeout``. Nothing was copied for nothing, but for a job that is at its end and that libvirt does not let end."""
    if 0 < progress.whole <= progress.done and not progress.lately:
        _abort_commit(handle, target)
        raise merge_timeout(handle.name, deadline)
    raise merge_goes_on(handle.name, deadline, progress)


def _is_ready(handle: VmHandle, target: str) -> bool:
    """Whether the guest's new writes go to both layers: only libvirt's mirror tells, not the numbers of the job."""
    for element in handle.xml().iterfind("devices/disk"):
        if element.find("target").get("dev") == target:
            mirror = element.find("mirror")
            return mirror is not None and mirror.get("ready") == "yes"
    return False


def _pivot(handle: VmHandle, target: str) -> bool:
    try:
        handle.native.blockJobAbort(target, _PIVOT)
    except libvirt.libvirtError as error:
        if error.get_error_code() == _NOT_READY:
            return False
        raise from_libvirt(error, handle.name, "pivoting to the merged layer") from error
    _until_gone(handle, target)
    return True


def _until_gone(handle: VmHandle, target: str) -> None:
    end = time.monotonic() + _GONE_SECONDS
    with translated(handle.name, "waiting for the end of a merge"):
        while handle.native.blockJobInfo(target, 0) and time.monotonic() < end:
            time.sleep(_POLL_FIRST)


def _verify(handle: VmHandle, target: str, gone: Collection[str]) -> None:
    """Make sure that no merged layer is in the chain any more; libvirt may take a moment to say so.

    The definition of a VM that is off may name no chain at all: what it leaves out is no proof.
    """
    end = time.monotonic() + _GONE_SECONDS
    while True:
        named = dict(_layers(handle, target))
        if not handle.active():
            raise merge_failed(handle.name, _SHUT_OFF)
        left = [file for file in gone if file in named]
        if not left:
            return
        if time.monotonic() > end:
            raise merge_failed(handle.name, f"QEMU aborted it ({_hint(left[0])})")
        time.sleep(_POLL_FIRST)


def _hint(file: str) -> str:
    status = os.statvfs(os.path.dirname(file))
    free = status.f_bavail * status.f_frsize >> 20
    return f"{free} MiB are free beside {file}; see /var/log/libvirt/qemu and the host's journal for its reason"
