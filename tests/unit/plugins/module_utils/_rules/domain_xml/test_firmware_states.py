# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a VM has its UEFI variables and the state of its TPM."""

from __future__ import annotations

from typing import Optional

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import parse
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.firmware_states import (
    JSON,
    LINEAR,
    NVRAM,
    PERMALL,
    QCOW2,
    RAW,
    TPM,
    FirmwareState,
    firmware_states,
)

LOADER = "<loader readonly='yes' type='pflash'>/code.fd</loader>"
FILE = "/nvram/web01_VARS.fd"


def variables(form: str) -> FirmwareState:
    return FirmwareState(NVRAM, FILE, form, home="/nvram")


@pytest.mark.parametrize(
    ("boot", "expected"),
    [
        ("<loader type='rom'>/bios.bin</loader>", None),
        (f"{LOADER}<nvram template='/t'>{FILE}</nvram>", variables(RAW)),
        (f"{LOADER}<nvram format='qcow2'>\n {FILE}\n</nvram>", variables(QCOW2)),
        (f"{LOADER}<nvram type='file'><source file='{FILE}'/></nvram>", variables(RAW)),
        (f"<varstore template='/t' path='{FILE}'/>", variables(JSON)),
    ],
)
def test_variables_are_found_in_their_file(boot: str, expected: Optional[FirmwareState]) -> None:
    assert firmware_states(parse(f"<domain><os>{boot}</os></domain>")) == ({NVRAM: expected} if expected else {})


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
    found = firmware_states(parse(f"<domain><os>{boot}</os></domain>"))[NVRAM]
    assert (found.file, why in found.why) == ("", True)


def tpm(backend: str, **options: str) -> Optional[FirmwareState]:
    xml = f"<domain><uuid>4b1d</uuid><devices><tpm model='tpm-crb'>{backend}</tpm></devices></domain>"
    return firmware_states(parse(xml), **options).get(TPM)


def state(directory: str, stem: str, **more: str) -> FirmwareState:
    aside = (f"{directory}/{stem}.volatilestate", f"{directory}/{stem}.savestate")
    return FirmwareState(TPM, f"{directory}/{stem}.permall", PERMALL, aside=aside, **more)


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        (
            "<backend type='emulator' version='2.0'><encryption secret='6dd3'/></backend>",
            state("/var/lib/libvirt/swtpm/4b1d/tpm2", "tpm2-00", home="/var/lib/libvirt/swtpm"),
        ),
        (
            "<backend type='emulator' version='1.2'/>",
            state("/var/lib/libvirt/swtpm/4b1d/tpm1.2", "tpm-00", home="/var/lib/libvirt/swtpm"),
        ),
        (
            "<backend type='emulator' version='2.0'><source type='dir' path='/tpms/web01'/></backend>",
            state("/tpms/web01", "tpm2-00", home="/tpms", named="/tpms/web01"),
        ),
        (
            "<backend type='emulator' version='2.0'><source type='file' path='/tpms/web01'/></backend>",
            FirmwareState(TPM, "/tpms/web01", LINEAR, home="/tpms"),
        ),
    ],
)
def test_the_state_of_a_tpm_is_found_and_its_copies_outlive_its_directory(
    backend: str, expected: FirmwareState
) -> None:
    assert tpm(backend) == expected


def test_a_session_has_its_tpms_elsewhere() -> None:
    found = tpm("<backend type='emulator' version='2.0'/>", swtpm_home="/home/a/swtpm")
    assert found == state("/home/a/swtpm/4b1d/tpm2", "tpm2-00", home="/home/a/swtpm")


@pytest.mark.parametrize(
    ("backend", "why"),
    [
        ("<backend type='passthrough'><device path='/dev/tpm0'/></backend>", "a device of the host"),
        ("<backend type='external'><source type='unix' path='/run/tpm'/></backend>", "libvirt does not start"),
        ("<backend type='emulator'><source type='rbd'/></backend>", "type 'rbd'"),
        ("<backend type='other'/>", "type 'other'"),
    ],
)
def test_why_the_state_of_a_tpm_is_in_no_file_is_told(backend: str, why: str) -> None:
    found = tpm(backend)
    assert found is not None
    assert (found.file, why in found.why) == ("", True)


def test_a_vm_without_a_tpm_has_none() -> None:
    assert tpm("") is None
