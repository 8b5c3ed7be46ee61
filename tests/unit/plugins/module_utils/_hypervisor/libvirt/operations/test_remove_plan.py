# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a record says of layers whose snapshots go: only these may be deleted or merged into."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    Saved,
    SavedDisk,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations import remove_plan
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.remove_plan import noted
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Record


def saved(name: str, frozen: str, overlay: Any) -> Saved:
    disks = (SavedDisk("vda", frozen, "qcow2", overlay),)
    return Saved(name, "1", None, "external", "shutoff", "no", None, disks, (), (), None)


@pytest.fixture(autouse=True)
def headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No image is based on another by its header."""
    monkeypatch.setattr(remove_plan, "_is_since", lambda _part, _states: False)


def test_overlays_of_snapshots_that_go_may_be_deleted_and_their_states_merged() -> None:
    one, two = saved("one", "/base", "/a"), saved("two", "/a", "/b")
    record = noted(Record(overlays=("/x",), former=("/y",)), [two], [one, two])
    assert record.overlays == ("/b", "/x")
    assert record.former == ("/a", "/y")


def test_an_internal_snapshot_frees_no_image() -> None:
    inside = saved("inside", "/base", None)
    assert noted(Record(), [inside], [inside]) == Record()


def test_a_state_on_a_state_began_as_an_overlay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remove_plan, "_is_since", lambda part, states: part.frozen == "/a" and "/base" in states)
    one, two = saved("one", "/base", "/gone"), saved("two", "/a", "/b")
    assert noted(Record(), [two], [one, two]).overlays == ("/a", "/b")
