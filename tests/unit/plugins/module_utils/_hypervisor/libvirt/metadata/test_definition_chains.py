# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chains in a VM's definition lose the layers that are gone, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lxml")
from lxml import etree

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.definition_chains import (
    gone_layers,
    without_layers,
)


def chain(*files: str) -> Any:
    """A disk whose definition names these files under its active image."""
    root = etree.fromstring("<domain><devices><disk><source file='/vm/top'/></disk></devices></domain>")
    at = root.find("devices/disk")
    for file in files:
        at = etree.SubElement(at, "backingStore", type="file")
        etree.SubElement(at, "source", file=file)
    return root


def told(root: Any) -> list[str]:
    return [one.get("file") for one in root.iterfind(".//backingStore/source")]


@pytest.fixture
def there(tmp_path: Path) -> list[str]:
    files = [tmp_path / name for name in ("a", "b")]
    for file in files:
        file.touch()
    return list(map(str, files))


def test_a_layer_that_is_gone_is_taken_out_and_those_below_stay(there: list[str]) -> None:
    root = chain(there[0], "/gone", there[1])
    assert gone_layers(root) == ["/gone"]
    assert without_layers(root)
    assert told(root) == there
    assert gone_layers(root) == []


def test_the_lowest_layer_may_be_gone_too(there: list[str]) -> None:
    root = chain(there[0], "/gone")
    assert without_layers(root)
    assert told(root) == there[:1]


def test_a_layer_that_was_merged_is_taken_out_though_it_is_still_there(there: list[str]) -> None:
    root = chain(*there)
    assert without_layers(root, there[0])
    assert told(root) == there[1:]


def test_a_layer_whose_path_begins_the_path_of_a_merged_one_stays(tmp_path: Path) -> None:
    base, overlay, top = (tmp_path / name for name in ("web01", "web01.vda.s1.qcow2", "web01.vda.s2.qcow2"))
    for file in (base, overlay, top):
        file.touch()
    root = chain(str(top), str(overlay), str(base))
    assert without_layers(root, str(top), str(overlay))
    assert told(root) == [str(base)]


def test_a_chain_that_is_right_is_left_alone(there: list[str]) -> None:
    root = chain(*there)
    assert not without_layers(root)
    assert told(root) == there
