# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM's firmware keeps in a file, a copy of it, and how that comes back: UEFI variables, or the state of a TPM."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import parse
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.plan_return import (
    plan_returns,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.take_copy import (
    FirmwareCopies,
    planned_copying,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.firmware_notes import (
    FirmwareCopy,
    FirmwareCopying,
    FirmwareReturn,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.firmware_states import (
    NVRAM,
    PERMALL,
    RAW,
    TPM,
    FirmwareState,
    firmware_states,
)

PERMALL_NAME = "tpm2-00.permall"


def swtpm_state(content: bytes) -> bytes:
    """Return what swtpm writes: a header with the length of all."""
    return struct.pack(">BBHHI", 2, 1, 10, 0, 10 + len(content)) + content


THEN, NOW = swtpm_state(b"then" * 100), swtpm_state(b"now!" * 100)


def xml(file: Path) -> Any:
    return parse(f"<domain><os><loader type='pflash' readonly='yes'>/c</loader><nvram>{file}</nvram></os></domain>")


def states(file: Path) -> dict[str, FirmwareState]:
    """Return where a VM keeps its only part."""
    if file.name != PERMALL_NAME:
        return firmware_states(xml(file))
    aside = (str(file.with_suffix(".volatilestate")), str(file.with_suffix(".savestate")))
    home = str(file.parent.parent)
    return {TPM: FirmwareState(TPM, str(file), PERMALL, home=home, named=str(file.parent), aside=aside)}


@pytest.fixture(params=[NVRAM, TPM])
def file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The VM's file, as it was at a snapshot."""
    made = tmp_path / "web01_VARS.fd" if request.param == NVRAM else tmp_path / "tpm2" / PERMALL_NAME
    made.parent.mkdir(exist_ok=True)
    made.write_bytes(THEN)
    made.chmod(0o640)
    return made


def part_of(file: Path) -> str:
    return TPM if file.name == PERMALL_NAME else NVRAM


def form_of_copy(file: Path) -> str:
    return PERMALL if part_of(file) == TPM else RAW


def copy_of(file: Path) -> Path:
    return Path(states(file)[part_of(file)].home) / "web01.copy"


def copying(file: Path) -> dict[str, FirmwareCopying]:
    return planned_copying({part_of(file): str(copy_of(file))}, states(file))


def copied(file: Path) -> dict[str, FirmwareCopy]:
    """Copy it as it was, and have the VM change it."""
    taking = FirmwareCopies(copying(file))
    assert taking.begin() == set()
    taking.make()
    notes = taking.notes_of()
    assert list(notes) == [part_of(file)]
    assert (taking.failed, taking.notes) == ({}, ())
    file.write_bytes(NOW)
    return notes


def returning(file: Path, copies: dict[str, FirmwareCopy]) -> dict[str, FirmwareReturn]:
    backs, told = plan_returns(states(file), copies, loads_memory=False, unused=os.path.join, used_by=lambda _file: "")
    assert (list(backs), told) == ([part_of(file)], ())
    return backs


def lying_there(file: Path) -> set[Path]:
    """Return the files of the VM's firmware and its copies."""
    return {one for one in {*file.parent.iterdir(), *copy_of(file).parent.iterdir()} if one.is_file()}
