# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import struct
from pathlib import Path

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._agent._elf import machine_of


@pytest.mark.parametrize(("number", "name"), [(62, "x86_64"), (183, "aarch64"), (999, "machine 999")])
def test_machine(tmp_path: Path, number: int, name: str) -> None:
    (tmp_path / "elf").write_bytes(b"\x7fELF\x02\x01" + bytes(12) + struct.pack("<H", number))
    assert machine_of(tmp_path / "elf") == name


def test_no_program(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("#!/bin/sh\n")
    assert "not an ELF program" in (machine_of(tmp_path / "text") or "")
