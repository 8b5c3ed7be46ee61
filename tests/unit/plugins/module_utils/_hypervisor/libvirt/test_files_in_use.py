# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has a file open that is about to go is told before anything."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt import files_in_use
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.layer_forest import Forest
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.files_in_use import (
    refuse_open,
    refuse_thrown_away,
    refuse_under_passing,
    undeletable,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge import open_layers
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Drop, Layers, Merge
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

QEMU = 7


class Handle:
    """A VM that runs or is off."""

    name = "web01"

    def __init__(self, running: bool = False) -> None:
        self.running = running

    def active(self) -> bool:
        return self.running

    def around(self) -> Any:
        return self

    files = property(lambda self: self)
    mounts = None


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Which process has which file open."""
    found: dict[str, int] = {}

    def ask(files: Any, but: Any = None) -> dict[str, int]:
        return {file: found[file] for file in files if file in found and found[file] != but}

    for module in (files_in_use, open_layers):
        monkeypatch.setattr(module, "still_open", ask)
        monkeypatch.setattr(module, "qemu_pid", lambda _vm: QEMU)
    monkeypatch.setattr(open_layers, "locked", ask)
    monkeypatch.setattr(open_layers, "mounted_from", lambda _file, _mounts: None)
    monkeypatch.setattr(files_in_use, "is_device", lambda file: file.startswith("/dev/"))
    return found


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize(
    ("step", "file", "says"),
    [
        (Drop("/a"), "/a", "would be deleted"),
        (Merge("/a", "/b", ()), "/a", "cannot be merged"),
        (Merge("/a", "/b", ()), "/b", "cannot be merged"),
        (Merge("/a", "/b", (), ("/c",)), "/c", "cannot be merged"),
    ],
)
def test_who_has_a_layer_open_is_named(readers: dict[str, int], running: bool, step: Any, file: str, says: str) -> None:
    refuse_open(Handle(running), [step])  # type: ignore[arg-type]
    readers[file] = 42
    with pytest.raises(KvmError, match=says) as refused:
        refuse_open(Handle(running), [step])  # type: ignore[arg-type]
    assert (refused.value.error_code, refused.value.details["file"]) == ("file_in_use", file)
    assert "ps -fp 42" in refused.value.remedy


LIVE = """<domain><devices><disk type='file'><source file='/a.TRANSIENT'/><target dev='vda'/><transient/>
  <backingStore type='file'><source file='/a'/><backingStore type='file'><source file='/b'/><backingStore/></backingStore>
  </backingStore></disk></devices></domain>"""


@pytest.mark.parametrize(
    ("running", "step", "refused"),
    [(True, Merge("/a", "/b", ()), True), (True, Merge("/x", "/y", ()), False), (False, Merge("/a", "/b", ()), False)],
)
def test_no_layer_is_merged_under_a_transient_disk_that_runs(running: bool, step: Merge, refused: bool) -> None:
    layers = Layers({"/a.TRANSIENT": "/a", "/a": "/b", "/b": None}, set(), {"/a.TRANSIENT"}, set(), set())
    handle: Any = Handle(running)
    handle.xml = lambda: ElementTree.fromstring(LIVE)  # noqa: S314 - ours
    forest = Forest(layers, {"vda": "/a.TRANSIENT"}, running=running)
    if not refused:
        refuse_under_passing(handle, forest, [step])
        return
    with pytest.raises(KvmError, match="vda of web01 is transient") as error:
        refuse_under_passing(handle, forest, [step])
    assert error.value.error_code == "bad_state"


def test_another_file_that_goes_is_looked_at_too(readers: dict[str, int]) -> None:
    readers["/memory"] = 42
    refuse_open(Handle(), [])  # type: ignore[arg-type]
    with pytest.raises(KvmError, match="/memory"):
        refuse_open(Handle(), [], ["/memory"])  # type: ignore[arg-type]


def test_the_vm_may_have_open_what_it_is_to_leave(readers: dict[str, int]) -> None:
    readers.update({"/top": QEMU, "/dev/top": 42})
    refuse_thrown_away(Handle(running=True), ["/top", "/dev/top"])  # type: ignore[arg-type]
    readers["/top"] = 42
    with pytest.raises(KvmError) as refused:
        refuse_thrown_away(Handle(running=True), ["/top"])  # type: ignore[arg-type]
    assert "keep_current: true" in refused.value.remedy


def test_an_overlay_off_the_chain_is_not_the_vms_own_to_have_open(readers: dict[str, int]) -> None:
    readers["/left"] = QEMU
    with pytest.raises(KvmError):
        refuse_open(Handle(running=True), [Drop("/left")])  # type: ignore[arg-type]


def test_why_a_file_cannot_be_deleted_is_returned(readers: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_in_use, "refuse_read_only", lambda *_words: None)
    assert undeletable(Handle(), ["/a"]) is None  # type: ignore[arg-type]
    readers["/a"] = 42
    found = undeletable(Handle(), ["/a"])  # type: ignore[arg-type]
    assert found
    assert found.error_code == "file_in_use"
