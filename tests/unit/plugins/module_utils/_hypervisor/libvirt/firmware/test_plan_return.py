# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VMs get back what their firmware kept, and what is told of the others."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.plan_return import (
    plan_returns,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.libvirt.firmware.firmware_files import (
    copied,
    copy_of,
    file,
    part_of,
    states,
    swtpm_state,
)

__all__ = ("file",)


def planned(file: Path, copies: Any, *, loads_memory: bool = False, user: str = "", of: str = "") -> Any:
    return plan_returns(
        states(file),
        copies,
        loads_memory=loads_memory,
        unused=os.path.join,
        used_by=lambda path: user if path == of else "",
    )


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ("copy", "is not as it was when it was copied"),
        ("none", "has no copy of"),
        ("directory", "is not there"),
        ("link", "is no regular file"),
    ],
)
def test_what_stays_is_told(file: Path, spoil: str, says: str) -> None:
    copies = copied(file)
    if spoil == "copy":
        copy_of(file).write_bytes(swtpm_state(b"X"))
    if spoil == "directory":
        if part_of(file) == "nvram":
            pytest.skip("the copy is in the same directory")
        shutil.rmtree(file.parent)
    if spoil == "link":
        file.unlink()
        file.symlink_to(file.parent)
    backs, told = planned(file, {} if spoil == "none" else copies)
    assert backs == {}
    assert told[0].startswith(("the UEFI variables stay as they are now, because", "the state of the TPM stays as it"))
    assert says in told[0]


def test_variables_in_another_format_stay(file: Path) -> None:
    copies = copied(file)
    file.write_bytes(b"QFI\xfb\0\0\0\3" + bytes(8))
    backs, told = planned(file, copies)
    if part_of(file) == "nvram":
        assert "has another format" in told[0]
    else:
        assert list(backs) == ["tpm"], "a spoilt state is what a revert repairs"


def test_memory_and_a_vm_without_firmware_of_its_own_need_none(file: Path) -> None:
    copies = copied(file)
    assert planned(file, copies, loads_memory=True) == ({}, ())
    assert plan_returns({}, copies, loads_memory=False, unused=os.path.join, used_by=str) == ({}, ())


@pytest.mark.parametrize("named", [True, False])
def test_what_another_vm_uses_too_stays(file: Path, named: bool) -> None:
    """Somebody has cloned the VM by its definition alone: the other one may run on it."""
    copies = copied(file)
    (state,) = states(file).values()
    backs, told = planned(file, copies, user="VM clone", of=(state.named or state.file) if named else state.file)
    assert backs == {}
    assert "is used by VM clone too" in told[0]
