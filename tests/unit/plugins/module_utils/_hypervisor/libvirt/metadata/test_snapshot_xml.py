# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots to libvirt's XML and back."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import Past
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import SnapshotPlan
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import Snapshot, SnapshotDisk
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.domains import disk, domain
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import snapshot, vm

etree = pytest.importorskip("lxml.etree")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import saved  # noqa: E402
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.snapshot_xml import (  # noqa: E402
    from_saved,
    to_xml,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import (  # noqa: E402
    SnapshotRecord,
    snapshot_key,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import in_tree_order  # noqa: E402


def from_xml(xml: str, notes: dict[str, SnapshotRecord]) -> Snapshot:
    return from_saved(saved(etree.fromstring(xml)), notes, Past())


def planned(folder: Path, **values: Any) -> SnapshotPlan:
    overlay = folder / "a,b & <c>.qcow2"
    overlay.write_bytes(b"x" * 5000)
    disks = (SnapshotDisk("vda", str(overlay), "qcow2", None),)
    wish = Snapshot(**{"name": "<s> & 'x' \"y\"", "description": "two\nlines & <more>", "disks": disks, **values})
    return SnapshotPlan(vm=vm(), request=SnapshotRequest(wish.name), snapshot=wish)


def as_libvirt_keeps_it(xml: str, devices: str, state: str = "disk-snapshot", parent: str = "") -> str:
    """Return what libvirt makes of the XML that takes a snapshot."""
    root = etree.fromstring(xml)
    etree.SubElement(root, "state").text = state
    etree.SubElement(root, "creationTime").text = "1700000000"
    if parent:
        etree.SubElement(etree.SubElement(root, "parent"), "name").text = parent
    root.append(etree.fromstring(domain(devices)))
    return str(etree.tostring(root, encoding="unicode"))


def test_what_is_written_is_read_back_the_same(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    state = tmp_path / "state"
    state.touch()
    devices = disk("vda", source=f"<source file='{state}'/>") + disk("vdb") + disk("sda", "<readonly/>", device="cdrom")
    xml = as_libvirt_keeps_it(to_xml(plan, ["vda", "vdb", "sda"]), devices, parent="before & <it>")
    note = SnapshotRecord(True, True, True, {"a": "b"})
    taken = from_xml(xml, {snapshot_key(plan.snapshot.name, "2023-11-14T22:13:20+00:00"): note})
    assert (taken.owned, taken.protected, taken.labels) == (True, True, {"a": "b"})
    assert (taken.name, taken.description) == (plan.snapshot.name, plan.snapshot.description)
    assert (taken.parent, taken.kind, taken.include_memory) == ("before & <it>", "external", False)
    assert (taken.created_at, taken.state, taken.quiesced) == ("2023-11-14T22:13:20+00:00", "disk-snapshot", True)
    assert [(one.target, one.file, one.format) for one in taken.disks] == [
        (one.target, one.file, one.format) for one in plan.snapshot.disks
    ]
    assert (taken.disks[0].size is not None, taken.disks[0].base) == (True, str(state))
    assert {part.target: part.reason for part in taken.left_out} == {
        "vdb": "not among the disks asked for",
        "sda": "a cdrom",
    }
    assert taken.missing_files == ()


@pytest.mark.parametrize(
    ("note", "description"),
    [
        ({}, "by libvirt"),
        ({"description": "later", "instead_of": "by libvirt"}, "later"),
        ({"description": "", "instead_of": "by libvirt"}, ""),
        # Somebody has changed it with virsh since: that is what it is now.
        ({"description": "later", "instead_of": "before that"}, "by libvirt"),
    ],
)
def test_a_description_that_was_given_later_holds_until_libvirt_has_another(
    note: dict[str, Any], description: str
) -> None:
    xml = "<domainsnapshot><name>s</name><description>by libvirt</description><creationTime>0</creationTime></domainsnapshot>"
    key = snapshot_key("s", "1970-01-01T00:00:00+00:00")
    found = from_xml(xml, {key: SnapshotRecord(expires="2026-12-24T00:00:00+00:00", **note)})
    assert (found.description, found.expires) == (description, "2026-12-24T00:00:00+00:00")


def test_every_disk_is_named(tmp_path: Path) -> None:
    root = etree.fromstring(to_xml(planned(tmp_path, description=""), ["vda", "vdb"]))
    assert [(one.get("name"), one.get("snapshot")) for one in root.iterfind("disks/disk")] == [
        ("vda", "external"),
        ("vdb", "no"),
    ]
    assert root.find("memory").get("snapshot") == "no"
    assert root.find("description") is None


def test_memory_and_files_that_are_gone(tmp_path: Path) -> None:
    memory, state = str(tmp_path / "s.memory"), str(tmp_path / "state")
    plan = planned(tmp_path, include_memory=True, memory_file=memory)
    xml = as_libvirt_keeps_it(to_xml(plan, ["vda"]), disk(source=f"<source file='{state}'/>"), "running")
    taken = from_xml(xml, {})
    assert (taken.include_memory, taken.memory_file, taken.state) == (True, memory, "running")
    assert (taken.missing_files, taken.quiesced, taken.owned) == ((state, memory), None, False)
    Path(state).touch()
    Path(str(plan.snapshot.disks[0].file)).unlink()
    gone = from_xml(xml, {})
    assert gone.missing_files == (memory,)  # the overlay holds nothing of the snapshot
    assert gone.disks[0].size is None


@pytest.mark.parametrize(
    ("body", "kind", "memory"),
    [
        ("<memory snapshot='internal'/><disks><disk name='vda' snapshot='internal'/></disks>", "internal", True),
        ("<memory snapshot='no'/><disks><disk name='vda' snapshot='internal'/></disks>", "internal", False),
        (
            "<memory snapshot='external' file='/m'/><disks><disk name='vda' snapshot='internal'/></disks>",
            "mixed",
            True,
        ),
        ("<disks><disk name='vda' snapshot='external'><source file='/x'/></disk></disks>", "external", False),
        ("<disks><disk name='vda' snapshot='manual'/></disks>", "none", False),
        ("", "none", False),
    ],
)
def test_a_snapshot_of_others_is_told_by_its_kind(body: str, kind: str, memory: bool) -> None:
    taken = from_xml(f"<domainsnapshot><name>s</name>{body}</domainsnapshot>", {})
    assert (taken.kind, taken.include_memory, taken.quiesced) == (kind, memory, None)


TREE = (
    snapshot("z root", created_at="2026-01-01T00:00:00+00:00"),
    snapshot("late", "z root", created_at="2026-01-03T00:00:00+00:00"),
    snapshot("leaf", "late", created_at="2026-01-09T00:00:00+00:00"),
    snapshot("early", "z root", created_at="2026-01-02T00:00:00+00:00"),
    snapshot("a root", created_at="2026-01-04T00:00:00+00:00"),
)


@pytest.mark.parametrize("order", list(itertools.permutations(range(5)))[::7])
def test_parents_come_before_their_children_and_older_before_younger(order: tuple[int, ...]) -> None:
    sorted_names = [one.name for one in in_tree_order([TREE[number] for number in order])]
    assert sorted_names == ["z root", "early", "late", "leaf", "a root"]


def test_siblings_of_one_second_are_in_the_order_of_their_names() -> None:
    same = [snapshot(name, created_at="2026-01-01T00:00:00+00:00") for name in ("c", "a", "b")]
    assert [one.name for one in in_tree_order(same)] == ["a", "b", "c"]
