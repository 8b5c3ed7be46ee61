# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libvirt keeps of a snapshot, read from its XML."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lxml")
from lxml import etree

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    Saved,
    SavedDisk,
    point_to,
    saved,
    states_of,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.domains import disk, domain


def kept(disks: str, memory: str = "<memory snapshot='no'/>", around: str = "", vm_disks: str = "") -> Saved:
    return saved(
        etree.fromstring(
            f"<domainsnapshot><name>s</name><state>shutoff</state><creationTime>60</creationTime>{around}{memory}"
            f"<disks>{disks}</disks>{domain(vm_disks or disk('vda') + disk('vdb'))}</domainsnapshot>"
        )
    )


EXTERNAL = "<disk name='vda' snapshot='external'><source file='/vm/new'/></disk>"


def test_a_disk_of_a_snapshot_has_its_frozen_image_and_its_overlay() -> None:
    found = kept(EXTERNAL + "<disk name='vdb' snapshot='no'/>")
    assert found.disks == (SavedDisk("vda", "/vm/vda.qcow2", "qcow2", "/vm/new"),)
    assert [one.target for one in found.vm_disks] == ["vda", "vdb"]
    assert (found.name, found.state, found.created_at) == ("s", "shutoff", "1970-01-01T00:01:00+00:00")
    assert (found.parent, found.description, found.memory_file) == (None, "", None)


@pytest.mark.parametrize(
    ("disks", "memory", "kind"),
    [
        (EXTERNAL, "<memory snapshot='no'/>", "external"),
        (EXTERNAL, "<memory snapshot='external' file='/vm/m'/>", "external"),
        (EXTERNAL, "", "external"),
        ("<disk name='vda' snapshot='internal'/>", "<memory snapshot='internal'/>", "internal"),
        (EXTERNAL, "<memory snapshot='internal'/>", "mixed"),
        (EXTERNAL + "<disk name='vdb' snapshot='internal'/>", "", "mixed"),
        ("<disk name='vda' snapshot='manual'/>", "", "none"),
    ],
)
def test_a_snapshot_of_two_kinds_is_mixed(disks: str, memory: str, kind: str) -> None:
    assert kept(disks, memory).kind == kind


def test_a_memory_file_is_told_of_memory_outside_the_images_only() -> None:
    assert kept(EXTERNAL, "<memory snapshot='external' file='/vm/m'/>").memory_file == "/vm/m"
    assert kept(EXTERNAL, "<memory snapshot='internal' file='/vm/m'/>").memory_file is None


def test_overlays_of_a_revert_are_among_those_it_names() -> None:
    reverted = "<revertDisks><disk name='vda'><source file='/vm/again'/></disk></revertDisks>"
    assert kept(EXTERNAL, around=reverted).overlays == ("/vm/new", "/vm/again")


def test_images_that_only_the_definition_named_are_told_apart() -> None:
    inactive = domain(disk("vda", source="<source file='/vm/old'/>")).replace("domain", "inactiveDomain")
    found = kept(EXTERNAL, around=inactive)
    assert found.also_defined == ("/vm/old",)
    assert kept(EXTERNAL).also_defined == ()


def test_a_disk_whose_image_is_no_file_of_this_host_is_elsewhere() -> None:
    network = disk("vda", source="<source protocol='rbd' name='p/i'/>", type="network")
    found = kept(EXTERNAL, vm_disks=network)
    assert (found.disks, [one.target for one in found.elsewhere]) == ((), ["vda"])


def test_a_disk_is_put_on_another_image_without_its_stale_chain(tmp_path: Path) -> None:
    element: Any = etree.fromstring(
        "<disk type='volume'><source pool='p' volume='v' index='1'/><target dev='vda'/>"
        "<backingStore type='file'><source file='/stale'/></backingStore></disk>"
    )
    point_to(element, str(tmp_path / "new"), "qcow2")
    assert (element.get("type"), dict(element.find("source").attrib)) == ("file", {"file": str(tmp_path / "new")})
    assert element.find("driver").get("type") == "qcow2"
    assert element.find("backingStore") is None


def test_images_are_told_in_the_order_in_which_snapshots_are_named() -> None:
    one = replace(kept(EXTERNAL), name="one")
    two = replace(one, name="two", disks=(SavedDisk("vda", "/vm/new", "qcow2", "/vm/newer"),))
    inside = replace(one, name="inside", disks=(SavedDisk("vda", "/vm/newer", "qcow2", None),))
    assert states_of([one, two, inside], ["two", "one", "inside", "unknown"]) == [
        {"/vm/new"},
        {"/vm/vda.qcow2"},
        set(),
        set(),
    ]
