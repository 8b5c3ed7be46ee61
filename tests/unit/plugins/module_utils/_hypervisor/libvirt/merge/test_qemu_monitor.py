# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which image a disk is on, by QEMU's own names for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge import qemu_monitor
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.qemu_monitor import is_on


def answers(monkeypatch: pytest.MonkeyPatch, on: str, nodes: dict[str, str]) -> None:
    def ask(_native: Any, command: str, **_arguments: Any) -> Any:
        if command == "query-block":
            return [{"inserted": {"node-name": on}}, {"inserted": None}, {}]
        return [{"node-name": name, "file": file} for name, file in nodes.items()]

    monkeypatch.setattr(qemu_monitor, "_ask", ask)


def test_a_disk_is_on_the_node_of_its_image(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = {"libvirt-2-format": "/vm/top", "libvirt-2-storage": "/vm/top", "libvirt-1-storage": "/vm/base"}
    answers(monkeypatch, "libvirt-2-format", nodes)
    assert is_on(None, "/vm/top")
    assert not is_on(None, "/vm/base")


def test_a_file_that_is_told_as_json_is_found_by_its_storage_node(monkeypatch: pytest.MonkeyPatch) -> None:
    told = "json:" + json.dumps({"driver": "qcow2"})
    answers(monkeypatch, "libvirt-2-format", {"libvirt-2-format": told, "libvirt-2-storage": "/vm/top"})
    assert is_on(None, "/vm/top")


def test_a_raw_image_may_have_no_node_but_that_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "libvirt-1-storage", {"libvirt-1-storage": "/vm/base"})
    assert is_on(None, "/vm/base")
