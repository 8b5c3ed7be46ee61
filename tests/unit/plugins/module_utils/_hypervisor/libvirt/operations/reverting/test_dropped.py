# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a revert throws away, and what of it stays."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import Image
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.layer_forest import Forest
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    SavedDisk,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.reverting import dropped
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.reverting.dropped import (
    what_goes,
    what_stays,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Record
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Layers

STATE = [SavedDisk("vda", "/base", "qcow2", "/top")]


def forest() -> Forest:
    layers = Layers({"/base": None, "/top": "/base"}, {"/base"}, {"/top"}, {"/top"}, set())
    images = {file: Image(file, "qcow2", 1, 2 << 20) for file in layers.backing}
    return Forest(layers, {"vda": "/top"}, running=True, images=images)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were looked at, since they are about to be deleted."""
    found: list[str] = []
    monkeypatch.setattr(dropped, "passing", lambda _handle: [])
    monkeypatch.setattr(dropped, "refuse_thrown_away", lambda _handle, files: found.extend(files))
    monkeypatch.setattr(dropped, "refuse_read_only", lambda *_words: None)
    return found


class Handle:
    """A VM of which nothing is asked here."""

    name = "web01"

    def around(self) -> Any:
        return self

    files = property(lambda self: self)
    mounts = None


def test_what_is_thrown_away_is_looked_at(looked_at: list[str]) -> None:
    assert what_goes(Handle(), forest(), Record(), STATE, kept_now=False) == ("/top",)  # type: ignore[arg-type]
    assert looked_at == ["/top"]


def test_what_is_under_an_overlay_that_libvirt_deletes_goes_too(
    looked_at: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dropped, "passing", lambda _handle: ["vda"])
    now = forest()
    now.layers.backing["/top.TRANSIENT"], now.tops["vda"] = "/top", "/top.TRANSIENT"
    now.layers.active = {"/top.TRANSIENT"}
    assert what_goes(Handle(), now, Record(), STATE, kept_now=False) == ("/top",)  # type: ignore[arg-type]
    assert looked_at == ["/top"]


def test_what_a_snapshot_will_hold_is_not(looked_at: list[str]) -> None:
    assert what_goes(Handle(), forest(), Record(), STATE, kept_now=True) == ()  # type: ignore[arg-type]
    assert looked_at == []


def test_what_somebody_else_uses_stays_and_is_named(looked_at: list[str]) -> None:
    now = forest()
    now.layers.fixed.add("/top")
    now.why["/top"] = "VM other uses it"
    before = now.copy()
    assert what_goes(Handle(), now, Record(), STATE, kept_now=False) == ()  # type: ignore[arg-type]
    (kept,) = what_stays("web01", before, now, Record(), every=[], overlays=())
    assert (kept.file, kept.reason) == ("/top", "VM other uses it")
