# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has a layer open is told before it is merged, and also where QEMU is the first to see it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Optional

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge import open_layers
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Merge
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

MERGE = Merge("/one", "/base", ())
LOCKED = "internal error: unable to execute QEMU command 'block-commit': Failed to get \"write\" lock"


def handle(running: bool) -> Any:
    around = SimpleNamespace(files=SimpleNamespace(mounts=None))
    return SimpleNamespace(name="web01", active=lambda: running, around=lambda: around)


@pytest.fixture(autouse=True)
def nothing_is_mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_layers, "mounted_from", lambda _file, _mounts: None)
    monkeypatch.setattr(open_layers, "qemu_pid", lambda _vm: 7)


@pytest.mark.parametrize(("pid", "told"), [(4711, "process 4711"), (None, "on another host")])
@pytest.mark.parametrize("running", [False, True])
def test_who_has_a_layer_open_is_told(
    monkeypatch: pytest.MonkeyPatch, running: bool, pid: Optional[int], told: str
) -> None:
    def holders(files: Any, **_how: Any) -> dict[str, Optional[int]]:
        return {"/base": pid} if "/base" in files else {}

    monkeypatch.setattr(open_layers, "locked" if running else "still_open", holders)
    assert list(open_layers.open_by_others(handle(running), ["/one"])) == []
    (found,) = open_layers.open_by_others(handle(running), ["/one", "/base"])
    assert found.file == "/base"
    assert told in found.why


@pytest.mark.parametrize("seen", [{}, {"/one": 4711}])
def test_a_lock_that_qemu_is_the_first_to_see(monkeypatch: pytest.MonkeyPatch, seen: dict[str, int]) -> None:
    monkeypatch.setattr(open_layers, "locked", lambda _files, **_how: seen)
    open_layers.refuse_locked(handle(True), MERGE, KvmError("libvirt_error", "no space left"))
    with pytest.raises(KvmError) as refused:
        open_layers.refuse_locked(handle(True), MERGE, KvmError("libvirt_error", LOCKED))
    assert (refused.value.error_code, refused.value.details["file"]) == ("file_in_use", "/one" if seen else "/base")
    assert "This merge was not begun." in refused.value.remedy


def test_a_mounted_layer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_layers, "still_open", lambda _files: {})
    monkeypatch.setattr(open_layers, "mounted_from", lambda file, _mounts: "/mnt" if file == "/base" else None)
    (found,) = open_layers.open_by_others(handle(False), ["/one", "/base"])
    assert (found.file, found.remedy) == ("/base", "Unmount it first: umount /mnt.")
