# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that is there is never used again, and libvirts that cannot read a deep chain get none."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("lxml")
from lxml import etree

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations import take_plan
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations.take_plan import (
    unused_path,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.domains import disk, domain
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import vm


def test_a_name_that_is_taken_is_counted_up(tmp_path: Path) -> None:
    home = str(tmp_path)
    assert unused_path((), home, "web01", ".qcow2") == f"{home}/web01.qcow2"
    (tmp_path / "web01.qcow2").symlink_to("nowhere")
    (tmp_path / "web01-2.qcow2").touch()
    assert unused_path((), home, "web01", ".qcow2") == f"{home}/web01-3.qcow2"


def test_a_name_that_a_snapshot_has_is_not_given_again_though_its_file_is_lost(tmp_path: Path) -> None:
    home = str(tmp_path)
    assert unused_path((), home, "web01", ".qcow2", named={f"{home}/web01.qcow2"}) == f"{home}/web01-2.qcow2"


def test_a_file_of_a_killed_run_will_be_gone_by_then(tmp_path: Path) -> None:
    file = tmp_path / "web01.qcow2"
    file.touch()
    assert unused_path([str(file)], str(tmp_path), "web01", ".qcow2") == str(file)


@pytest.mark.parametrize(
    ("version", "layers", "refused"),
    [(9_000_000, 25, False), (11_003_000, 24, False), (11_003_000, 25, True), (12_000_000, 25, False)],
)
def test_some_libvirts_start_no_vm_with_a_deep_chain(
    version: int, layers: int, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = [SimpleNamespace(file=f"/vm/{number}") for number in range(layers)]
    monkeypatch.setattr(take_plan, "checked_chain", lambda _vm, _disk: chain)
    monkeypatch.setattr(take_plan, "peculiarity", lambda _disk: "")
    xml: Any = etree.fromstring(domain(disk("vda")))
    expected = pytest.raises(KvmError) if refused else nullcontext()
    with expected as error:
        take_plan._plan(
            vm(),
            xml,
            SnapshotRequest("s"),
            libvirt_version=version,
            unused=partial(unused_path, ()),
            firmware={},
        )
    assert not refused or error.value.error_code == "chain_too_deep"
