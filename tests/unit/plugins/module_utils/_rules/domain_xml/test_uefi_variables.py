# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a VM has its UEFI variables, and of which files a snapshot gets a copy."""

from __future__ import annotations

from typing import Optional

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import parse
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.uefi_variables import (
    JSON,
    QCOW2,
    RAW,
    Variables,
    uefi_variables,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.uefi_copy import uefi_copy
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import LeftOut

LOADER = "<loader readonly='yes' type='pflash'>/code.fd</loader>"
FILE = "/nvram/web01_VARS.fd"


@pytest.mark.parametrize(
    ("boot", "expected"),
    [
        ("<loader type='rom'>/bios.bin</loader>", None),
        (f"{LOADER}<nvram template='/t'>{FILE}</nvram>", Variables(FILE, RAW)),
        (f"{LOADER}<nvram format='qcow2'>\n {FILE}\n</nvram>", Variables(FILE, QCOW2)),
        (f"{LOADER}<nvram type='file'><source file='{FILE}'/></nvram>", Variables(FILE, RAW)),
        (f"<varstore template='/t' path='{FILE}'/>", Variables(FILE, JSON)),
    ],
)
def test_variables_are_found_in_their_file(boot: str, expected: Optional[Variables]) -> None:
    assert uefi_variables(parse(f"<domain><os>{boot}</os></domain>")) == expected


@pytest.mark.parametrize(
    ("boot", "why"),
    [
        (LOADER, "when the VM is started"),
        (f"{LOADER}<nvram template='/t'/>", "when the VM is started"),
        ("<varstore template='/t'/>", "when the VM is started"),
        (f"{LOADER}<nvram type='network'><source protocol='nbd'/></nvram>", "type 'network'"),
        (f"{LOADER}<nvram type='block'><source dev='/dev/vg/v'/></nvram>", "type 'block'"),
        ("<loader type='pflash'>/one.fd</loader>", "one file with the firmware"),
    ],
)
def test_why_variables_are_in_no_file_is_told(boot: str, why: str) -> None:
    found = uefi_variables(parse(f"<domain><os>{boot}</os></domain>"))
    assert found is not None
    assert (found.file, why in found.why) == ("", True)


def planned(*, memory: bool = False, obstacle: str = "") -> tuple[Optional[str], list[str]]:
    file, left_out = uefi_copy(
        "web01",
        parse(f"<domain><os>{LOADER}<nvram>{FILE}</nvram></os></domain>"),
        SnapshotRequest("s/1", include_memory=memory),
        [LeftOut("sda", "a cdrom"), LeftOut("nvram", "?"), LeftOut("tpm", "!")],
        obstacle=lambda _found: obstacle,
        unused=lambda directory, stem, suffix: f"{directory}/{stem}{suffix}",
    )
    return file, [part.reason for part in left_out]


def test_a_copy_goes_beside_the_file_and_is_not_left_out() -> None:
    assert planned() == ("/nvram/web01.nvram.s%2F1.vars", ["a cdrom", "!"])


def test_memory_has_the_variables_in_it() -> None:
    assert planned(memory=True) == (None, ["a cdrom", "!"])


def test_what_cannot_be_copied_is_left_out_with_the_reason() -> None:
    file, reasons = planned(obstacle="it is gone")
    assert (file, reasons[1]) == (None, "it is gone; a revert leaves the UEFI variables as they are")
