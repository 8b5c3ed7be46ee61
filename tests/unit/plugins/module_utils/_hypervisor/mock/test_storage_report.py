# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the mock tells of a VM's storage: chains, strangers, files that are gone."""

from __future__ import annotations

import json
from pathlib import Path

from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.mock.looks import code, look
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import machine, state_file, take


def test_chains_and_a_tree_with_siblings(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a"))
    for name in ("s1", "s2"):
        assert take(path, name).changed
    state = json.loads(Path(path).read_text())
    # What a revert to s1 does.
    state["files"]["/vm/new"] = {"format": "qcow2", "backing_file": "/vm/a.qcow2"}
    state["vms"][0].update(current="s1", disks=[{"target": "vda", "source": "/vm/new"}])
    Path(path).write_text(json.dumps(state))
    assert take(path, "s3").changed
    vm, storage = look(path)
    assert [(one.name, one.parent, one.current) for one in vm.snapshots] == [
        ("s1", None, False),
        ("s2", "s1", False),
        ("s3", "s1", True),
    ]
    (chain,) = storage.chains
    assert [(layer.file, layer.snapshot) for layer in chain.layers] == [
        ("/vm/a.vda.s3.qcow2", "s3"),
        ("/vm/new", None),
        ("/vm/a.qcow2", None),
    ]
    assert storage.problems == ()
    # In the chain, and made by no snapshot.
    assert storage.unknown_overlays == ("/vm/new",)


def test_strangers_and_files_that_are_gone(tmp_path: Path) -> None:
    overlay = {"format": "qcow2", "backing_file": "/vm/a.qcow2"}
    files = {"/vm/stranger": overlay, "/vm/on-it": {**overlay, "backing_file": "/vm/stranger"}, "/vm/other": overlay}
    files["/vm/other"] = {**overlay, "backing_file": "/vm/elsewhere"}
    path = state_file(tmp_path, machine("a"), files=files)
    assert look(path)[1].unknown_overlays == ("/vm/on-it", "/vm/stranger")
    assert take(path).changed
    state = json.loads(Path(path).read_text())
    state["files"]["/vm/a.qcow2"] = None
    del state["files"]["/vm/a.vda.s.qcow2"]
    state["vms"][0]["disks"][0]["source"] = "/vm/a.qcow2"
    Path(path).write_text(json.dumps(state))
    vm, storage = look(path)
    assert vm.snapshots[0].missing_files == ("/vm/a.qcow2",)
    assert "/vm/a.qcow2 is missing" in storage.problems[0]
    assert code(take(path, "t")) == "chain_mismatch"
