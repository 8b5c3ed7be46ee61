# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a VM's storage, as far as libvirt's own words tell it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import parse
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks import storage_report
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import Mount
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Made, Record
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.domains import disk, domain
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import vm

IO_ERROR, BY_USER, NO_SPACE = 5, 1, 2


@pytest.fixture(autouse=True)
def constants(monkeypatch: pytest.MonkeyPatch) -> None:
    words = {
        "VIR_DOMAIN_PAUSED_IOERROR": IO_ERROR,
        "VIR_DOMAIN_DISK_ERROR_NO_SPACE": NO_SPACE,
        "VIR_DOMAIN_XML_INACTIVE": 2,
    }
    monkeypatch.setattr(storage_report, "libvirt", SimpleNamespace(**words))


def native(reason: int, **errors: int) -> Any:
    return SimpleNamespace(state=lambda: (3, reason), diskErrors=lambda: errors)


def test_only_a_pause_by_its_disks_is_trouble() -> None:
    assert not storage_report.paused_by_disks(vm(power="paused"), native(BY_USER))
    assert not storage_report.paused_by_disks(vm(power="running"), native(IO_ERROR))
    assert storage_report.paused_by_disks(vm(power="paused"), native(IO_ERROR))


def test_each_disk_is_named_with_its_error() -> None:
    (told,) = storage_report._stopped_by_its_disks(vm(power="paused"), native(IO_ERROR, vdb=1, vda=NO_SPACE))
    assert "vda (no room left), vdb (error)" in told
    assert told.endswith("virsh resume web01")
    (told,) = storage_report._stopped_by_its_disks(vm(power="paused"), native(IO_ERROR))
    assert "libvirt does not say which" in told


@pytest.mark.parametrize(("kind", "orphans"), [("ext4", ("/vm/side",)), ("nfs4", ())])
def test_where_other_hosts_may_use_it_nothing_is_an_orphan(
    monkeypatch: pytest.MonkeyPatch, kind: str, orphans: tuple[str, ...]
) -> None:
    chain = SimpleNamespace(images=[SimpleNamespace(file="/vm/vda.qcow2")])
    mounts = SimpleNamespace(of=lambda _file: Mount("/vm", kind, "1:1"))
    files = SimpleNamespace(mounts=mounts, all_above=lambda file: {"/vm/side"} if file == "/vm/vda.qcow2" else set())
    monkeypatch.setattr(storage_report.StorageReader, "_is_made_here", lambda *_args: True)
    reader = storage_report.StorageReader(None, Any, files)
    assert reader._orphans(["/vm/side"], vm(), Record(), [chain]) == orphans


def test_what_is_based_on_somebody_elses_image_is_no_orphan(monkeypatch: pytest.MonkeyPatch) -> None:
    """The image of a VM that is undefined for an hour is based on this VM's template, and the newest overlay on that."""
    above = {"/vm/tmpl": {"/vm/web", "/vm/web.s1", "/vm/own.s1"}, "/vm/web": {"/vm/web.s1"}}
    chain = SimpleNamespace(images=[SimpleNamespace(file="/vm/tmpl")])
    mounts = SimpleNamespace(of=lambda _file: Mount("/vm", "ext4", "1:1"))
    files = SimpleNamespace(mounts=mounts, all_above=lambda file: above.get(file, set()))
    monkeypatch.setattr(storage_report.StorageReader, "_is_made_here", lambda _self, file, *_args: file != "/vm/web")
    reader = storage_report.StorageReader(None, Any, files)
    assert reader._orphans(["/vm/own.s1", "/vm/web.s1"], vm(), Record(), [chain]) == ("/vm/own.s1",)


@pytest.mark.parametrize(
    ("layers", "orphans"),
    [
        (["/vm/base"], ("/vm/gone.s1",)),  # created again, on the image of the one that is gone
        (["/vm/again.s1", "/vm/base"], ("/vm/gone.s1",)),
        (["/vm/clone", "/vm/base"], ()),  # the image is a template, and the one that is gone may run on another host
        (["/vm/again.s1", "/vm/clone", "/vm/base"], ()),
    ],
)
def test_what_a_vm_that_is_gone_was_on_is_an_orphan_only_on_what_this_one_wrote_to(
    monkeypatch: pytest.MonkeyPatch, layers: list[str], orphans: tuple[str, ...]
) -> None:
    above = {"/vm/base": {"/vm/gone.s1", *layers} - {"/vm/base"}, "/vm/clone": {"/vm/again.s1"}.intersection(layers)}
    chain = SimpleNamespace(images=[SimpleNamespace(file=file) for file in layers])
    files = SimpleNamespace(
        mounts=SimpleNamespace(of=lambda _file: Mount("/vm", "ext4", "1:1")),
        all_above=lambda file: above.get(file, set()),
        why_unknown=lambda _file: None,
        users=lambda _connection: SimpleNamespace(why_unknown=lambda _file: None),
    )
    monkeypatch.setattr(storage_report, "made_for_gone", lambda *_args: True)
    reader = storage_report.StorageReader(None, Any, files)
    record = Record(made={"/vm/again.s1": Made("vda")})
    assert reader._orphans(["/vm/gone.s1"], vm(), record, [chain]) == orphans


def test_a_disk_that_the_next_start_finds_elsewhere_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    running = parse(domain(disk("vda") + disk("vdb")))
    other = parse(domain(disk("vda", source="<source file='/vm/old'/>") + disk("vdb")))
    monkeypatch.setattr(storage_report, "read_domain", lambda _native, flags=0: other if flags else running)
    (told,) = storage_report._other_definition(running, None)
    assert told.startswith("disk vda: it runs on /vm/vda.qcow2, but its definition has /vm/old for the next start; ")
    assert told.endswith("virsh edit web01")
    monkeypatch.setattr(storage_report, "read_domain", lambda _native, flags=0: running)
    assert storage_report._other_definition(running, None) == []
