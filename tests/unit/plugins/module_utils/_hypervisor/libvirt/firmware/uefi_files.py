# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's file of UEFI variables, a copy of it, and how that comes back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import parse
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.put_back import (
    plan_return,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.take_copy import (
    VariablesCopy,
    planned_copying,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.uefi_notes import UefiCopy, UefiReturn

THEN, NOW = b"then" * 100, b"now!" * 100


def xml(file: Path) -> Any:
    return parse(f"<domain><os><loader type='pflash' readonly='yes'>/c</loader><nvram>{file}</nvram></os></domain>")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The VM's file, as it was at a snapshot."""
    made = tmp_path / "web01_VARS.fd"
    made.write_bytes(THEN)
    made.chmod(0o640)
    return made


def copied(file: Path) -> UefiCopy:
    taking = VariablesCopy(planned_copying(str(file.with_suffix(".vars")), xml(file)))
    assert taking.begin()
    taking.make()
    note = taking.note()
    assert note is not None
    assert (taking.failed, taking.notes) == ("", ())
    file.write_bytes(NOW)
    return note


def returning(file: Path, copy: UefiCopy) -> UefiReturn:
    back, told = plan_return(xml(file), copy, loads_memory=False, unused=os.path.join, used_by=lambda _file: "")
    assert (back is not None, told) == (True, ())
    assert back is not None
    return back
