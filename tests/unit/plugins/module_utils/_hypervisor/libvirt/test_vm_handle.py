# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which snapshot the present of a VM is based on, going by the files: libvirt's word is a tie-break, and no more."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

import pytest

pytest.importorskip("lxml")
from lxml import etree

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.read_layers import Forest
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    Saved,
    SavedDisk,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import (
    VmHandle,
    true_current,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Layers
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VmId

# base <- b <- c is one branch, base <- a the other.
_BACKING: dict[str, Optional[str]] = {"/base": None, "/b": "/base", "/c": "/b", "/a": "/base"}


def forest(top: str) -> Forest:
    layers = Layers(_BACKING, frozen=set(), active={top}, ours=set(), released=set())
    return Forest(layers, tops={"vda": top}, running=False)


def taken(name: str, state: str, overlay: Optional[str], second: int = 0) -> Saved:
    disk = SavedDisk("vda", state, "qcow2", overlay)
    at = f"2026-11-23T12:00:{second:02}+00:00"
    return Saved(name, at, None, "external", "shutoff", "no", None, (disk,), (), (), None)


B, C = taken("b", "/base", "/b"), taken("c", "/b", "/c")


@pytest.mark.parametrize("called", [None, "b", "c"])
@pytest.mark.parametrize(("top", "found"), [("/c", "c"), ("/b", "b"), ("/a", "b")])
def test_the_nearest_state_counts(top: str, found: str, called: Optional[str]) -> None:
    assert true_current([B, C], forest(top), called) == found


@pytest.mark.parametrize("called", [None, "c"])
def test_none_where_the_present_is_based_on_no_snapshot(called: Optional[str]) -> None:
    assert true_current([C], forest("/a"), called) is None


def test_of_two_inside_one_image_the_one_that_libvirt_calls_current_or_the_newest() -> None:
    inside = [taken("old", "/base", None, 1), taken("new", "/base", None, 2)]
    assert true_current(inside, forest("/base"), "old") == "old"
    assert true_current(inside, forest("/base"), None) == "new"


@pytest.mark.parametrize(("state", "asked"), [(1, 0), (4, 0), (5, 0), (6, 1), (0, 1)])
def test_whether_it_runs_is_asked_only_where_its_state_does_not_tell(state: int, asked: int) -> None:
    questions: list[int] = []

    def is_active() -> int:
        questions.append(1)
        return 1

    nothing: Any = None
    handle = VmHandle(
        nothing, SimpleNamespace(isActive=is_active), VmId("web", "u"), version=0, records=nothing, host_files=nothing
    )
    with handle.seen_once():
        handle.learn_power(state)
        assert handle.active() is (state != 5)
    assert len(questions) == asked
    assert handle.active()  # of that reading only


def test_a_definition_keeps_a_base_whose_path_begins_that_of_the_merged_overlay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, overlay = tmp_path / "web01", tmp_path / "web01.vda.s1.qcow2"
    for file in (base, overlay):
        file.touch()
    below = f"<backingStore type='file'><source file='{base}'/></backingStore>"
    layer = f"<backingStore type='file'><source file='{overlay}'/>{below}</backingStore>"
    other = f"<disk type='file'><source file='/vm/vdb'/><target dev='vdb'/>{layer}</disk>"
    nothing: Any = None
    defined: list[str] = []
    connection = SimpleNamespace(defineXML=defined.append)
    handle = VmHandle(connection, nothing, VmId("web", "u"), version=0, records=nothing, host_files=nothing)
    xml = f"<domain><devices><disk><source/><target dev='vda'/></disk>{other}</devices></domain>"
    monkeypatch.setattr(handle, "definition", lambda: etree.fromstring(xml))
    handle.define({"vda": (str(base), "qcow2")}, str(overlay))
    told = [source.get("file") for source in etree.fromstring(defined[0]).iterfind(".//backingStore/source")]
    assert told == [str(base)]
