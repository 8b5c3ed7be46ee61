# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is at work on a VM already is told before anything waits for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt import running_jobs
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.users.saved_memory import (
    SavedMemory,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.running_jobs import (
    refuse_jobs,
    refuse_saved_memory,
    refuse_vm_job,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.domains import disk, domain
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import vm


class LibvirtError(Exception):
    """What libvirt raises of a job that keeps no statistics."""


class Native:
    """A domain, as far as its jobs are asked for."""

    def __init__(self, job: int = 0, operation: Any = None, block: Any = None, saved: bool = False) -> None:
        self._job, self._operation, self._block, self._saved = job, operation, block or {}, saved

    def jobInfo(self) -> list[int]:  # noqa: N802 - libvirt's name
        return [self._job]

    def jobStats(self) -> dict[str, Any]:  # noqa: N802 - libvirt's name
        if isinstance(self._operation, Exception):
            raise self._operation
        return {"operation": self._operation}

    def blockJobInfo(self, target: str, _flags: int) -> Any:  # noqa: N802 - libvirt's name
        return self._block if target == "vdb" else {}

    def hasManagedSaveImage(self, _flags: int) -> bool:  # noqa: N802 - libvirt's name
        return self._saved


@pytest.fixture(autouse=True)
def errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_jobs, "libvirt", SimpleNamespace(libvirtError=LibvirtError))


@pytest.mark.parametrize(
    ("operation", "told"), [(9, "backup"), (5, "migration"), (99, "job"), (LibvirtError("it has ended"), "job")]
)
def test_a_job_of_the_whole_vm_is_named(operation: Any, told: str) -> None:
    with pytest.raises(KvmError, match=f"at work on a {told} of it") as refused:
        refuse_vm_job("web01", Native(job=2, operation=operation))
    assert (refused.value.error_code, refused.value.details) == ("busy", {"job": told})


def test_only_a_vm_without_a_job_is_idle() -> None:
    refuse_vm_job("web01", Native(job=0))
    with pytest.raises(KvmError):
        refuse_vm_job("web01", Native(job=3))  # "completed", while the job still holds the VM


def test_a_block_job_on_any_disk_is_refused_with_how_far_it_is() -> None:
    xml = ElementTree.fromstring(domain(disk("vda") + disk("vdb")))  # noqa: S314 - ours
    refuse_jobs(vm(), Native(), xml)
    with pytest.raises(KvmError, match="vdb") as refused:
        refuse_jobs(vm(), Native(block={"cur": 1, "end": 2}), xml)
    assert refused.value.error_code == "block_job_active"


def test_a_backup_whose_client_may_be_gone_is_refused_with_how_to_end_it() -> None:
    xml = ElementTree.fromstring(domain(disk("vdb")))  # noqa: S314 - ours
    with pytest.raises(KvmError, match="block job") as refused:
        refuse_jobs(vm(), Native(block={"cur": 0, "end": 0, "type": 5}), xml)
    assert "virsh domjobabort web01" in refused.value.full_message


def test_memory_that_libvirt_has_saved_is_refused_of_a_vm_that_is_off() -> None:
    with pytest.raises(KvmError) as refused:
        refuse_jobs(vm(power="shutoff"), Native(saved=True), ElementTree.fromstring(domain()))  # noqa: S314 - ours
    assert refused.value.error_code == "managed_save"


def test_a_process_that_writes_to_a_vm_that_is_off_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    xml = ElementTree.fromstring(domain(disk("vda")))  # noqa: S314 - ours
    monkeypatch.setattr(running_jobs, "writers", lambda _files: {})
    refuse_jobs(vm(power="shutoff"), Native(), xml)
    monkeypatch.setattr(running_jobs, "writers", lambda _files: {"/vm/vda.qcow2": 4711})
    with pytest.raises(KvmError, match="process 4711 writes to") as refused:
        refuse_jobs(vm(power="shutoff"), Native(), xml)
    assert refused.value.details == {"file": "/vm/vda.qcow2", "pid": 4711}


def test_somebody_on_another_host_who_writes_to_a_vm_that_is_off_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    xml = ElementTree.fromstring(domain(disk("vda")))  # noqa: S314 - ours
    monkeypatch.setattr(running_jobs, "writers", lambda _files: {"/vm/vda.qcow2": None})
    with pytest.raises(KvmError, match="on another host") as refused:
        refuse_jobs(vm(power="shutoff"), Native(), xml)
    assert "do not start it here" in refused.value.remedy


class Off:
    """A VM that is off, with memory of VMs in files beside its disk."""

    name = "web01"
    id = SimpleNamespace(uuid="mine")

    def __init__(self, *memories: SavedMemory) -> None:
        self.looked_into: set[str] = set()
        self._memories = memories

    def around(self) -> Any:
        files = SimpleNamespace(look_into=self.looked_into.update)
        return SimpleNamespace(
            files=files, memories=lambda _file, named: [one for one in self._memories if one.file not in named]
        )

    def tops(self) -> list[tuple[str, str]]:
        return [("vda", "/etc/hostname")]

    def saved(self) -> list[Any]:
        return [SimpleNamespace(memory_file="/etc/m1.mem"), SimpleNamespace(memory_file=None)]

    def record(self) -> Any:
        return SimpleNamespace(making=("/etc/m2.mem",))


def memory(file: str, uuid: str = "mine", top: str = "/etc/hostname") -> SavedMemory:
    return SavedMemory(file, "web01", uuid, (top,), (top,))


def test_memory_in_a_file_that_fits_the_disks_is_refused() -> None:
    handle: Any = Off(memory("/etc/friday.save"))
    with pytest.raises(KvmError, match=r"/etc/friday\.save") as refused:
        refuse_saved_memory(handle)
    assert refused.value.error_code == "managed_save"
    assert "/etc" in handle.looked_into


def test_other_memory_is_no_reason() -> None:
    """Another VM's, of other disks, and that of the VM's own snapshots."""
    others = (memory("/a", uuid="other"), memory("/b", top="/etc/passwd"), memory("/etc/m1.mem"), memory("/etc/m2.mem"))
    handle: Any = Off(*others)
    refuse_saved_memory(handle)
