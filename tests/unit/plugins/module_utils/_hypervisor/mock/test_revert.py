# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reverting and taking again on the mock: notes on a snapshot stay, UEFI variables come back."""

from __future__ import annotations

import json
from pathlib import Path

from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.mock.one_vm import (
    look,
    path,
    remove,
    revert,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import (
    codes,
    machine,
    state_file,
    take,
)

__all__ = ("path",)


def test_notes_on_a_snapshot_are_kept(path: str) -> None:
    assert take(path, "s1", protected=True, labels={"a": "b"}).changed
    found = look(path)[0].find("s1")
    assert found is not None
    assert (found.owned, found.protected, found.labels) == (True, True, {"a": "b"})
    assert revert(path).changed  # protected from removal, not from use
    assert codes([remove(path, "s1")]) == ["snapshot_protected"]
    assert not take(path, "s1").changed
    assert take(path, "s1", protected=False).changed
    assert remove(path, "s1").changed


def test_uefi_variables_are_copied_and_come_back(tmp_path: Path) -> None:
    files = {"/nv/a.fd": {"format": "raw", "size": 7}}
    path = state_file(tmp_path, machine("a", firmware="efi", nvram="/nv/a.fd"), files=files)
    outcome = take(path, "s1")
    assert outcome.snapshot is not None
    assert (outcome.snapshot.nvram, outcome.snapshot.left_out) == ("/nv/a.nvram.s1.vars", ())
    state = json.loads(Path(path).read_text())
    state["files"]["/nv/a.fd"]["size"] = 9
    Path(path).write_text(json.dumps(state))
    revert(path)
    assert json.loads(Path(path).read_text())["files"]["/nv/a.fd"]["size"] == 7
    assert "/nv/a.nvram.s1.vars" in remove(path).files_removed
    assert "/nv/a.nvram.s1.vars" not in json.loads(Path(path).read_text())["files"]


def test_the_state_of_a_tpm_is_copied_and_comes_back(tmp_path: Path) -> None:
    path = state_file(tmp_path, machine("a", tpm=True, uuid="4b1d"))
    outcome = take(path, "s1")
    copy = "/var/lib/libvirt/swtpm/a.tpm.s1.permall"
    assert outcome.snapshot is not None
    assert (outcome.snapshot.tpm, outcome.snapshot.left_out) == (copy, ())
    state = json.loads(Path(path).read_text())
    kept = state["files"]["/var/lib/libvirt/swtpm/4b1d/tpm2/tpm2-00.permall"]
    before = dict(kept)
    kept["size"] += 1
    Path(path).write_text(json.dumps(state))
    revert(path)
    assert json.loads(Path(path).read_text())["files"]["/var/lib/libvirt/swtpm/4b1d/tpm2/tpm2-00.permall"] == before
    assert copy in remove(path).files_removed


def test_a_snapshot_without_a_copy_leaves_the_tpm(tmp_path: Path) -> None:
    state = "/var/lib/libvirt/swtpm/4b1d/tpm2/tpm2-00.permall"
    path = state_file(tmp_path, machine("a", tpm=True, uuid="4b1d"), files={state: None})
    take(path, "s1")
    assert "the state of the TPM stays as it is now, because the snapshot has no copy of it" in revert(path).notes
