# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which snapshots get copies of the UEFI variables and the TPM, and what is told of the others."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import parse
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.firmware_states import (
    NVRAM,
    TPM,
    firmware_states,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.firmware_copies import (
    PARTS,
    firmware_copies,
    firmware_left_out,
    firmware_stays,
    without_copied,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import LeftOut

LOADER = "<loader type='pflash' readonly='yes'>/code.fd</loader><nvram>/nvram/web01.fd</nvram>"
EMULATED = "<tpm><backend type='emulator' version='2.0'/></tpm>"
DISK = LeftOut("vdb", "a snapshot cannot hold it")
ALL = (DISK, *map(firmware_left_out, PARTS))


def domain(boot: str = LOADER, devices: str = EMULATED) -> Any:
    return parse(f"<domain><uuid>4b1d</uuid><os>{boot}</os><devices>{devices}</devices></domain>")


def planned(xml: Any, obstacle: str = "", on: str = NVRAM, **wishes: Any) -> Any:
    return firmware_copies(
        "web01",
        firmware_states(xml),
        SnapshotRequest("s/1", **wishes),
        ALL,
        obstacle=lambda found: obstacle if found.part == on else "",
        unused=lambda *words: "|".join(words),
    )


def test_each_copy_has_its_place_and_is_not_left_out() -> None:
    copies, left_out = planned(domain())
    assert copies == {
        NVRAM: "/nvram|web01.nvram.s%2F1|.vars",
        TPM: "/var/lib/libvirt/swtpm|web01.tpm.s%2F1|.permall",
    }
    assert left_out == (DISK,)


@pytest.mark.parametrize("part", PARTS)
def test_what_cannot_be_copied_is_left_out_with_the_reason(part: str) -> None:
    copies, left_out = planned(domain(), "it is an overlay", on=part)
    assert list(copies) == [other for other in PARTS if other != part]
    assert [one.target for one in left_out] == ["vdb", part]
    assert left_out[1].reason.startswith("it is an overlay; a revert leaves ")


def test_a_tpm_of_the_host_is_left_out() -> None:
    copies, left_out = planned(domain("", "<tpm><backend type='passthrough'/></tpm>"))
    assert (copies, [one.target for one in left_out]) == ({}, ["vdb", TPM])
    assert left_out[1].reason == "it is a device of the host; a revert leaves the state of the TPM as it is"


@pytest.mark.parametrize(
    ("xml", "wishes"),
    [(domain(), {"include_memory": True}), (domain("", ""), {})],
    ids=["memory brings them", "neither UEFI nor a TPM"],
)
def test_some_snapshots_need_no_copy(xml: Any, wishes: dict[str, Any]) -> None:
    assert planned(xml, **wishes) == ({}, without_copied(ALL))
    assert without_copied(ALL) == (DISK,)
    assert [one.target for one in without_copied(ALL, {NVRAM: "a copy"})] == ["vdb", TPM]


def test_what_stays_is_told_in_one_sentence_each() -> None:
    assert list(map(firmware_stays, PARTS)) == [
        "the UEFI variables stay as they are now, because the snapshot has no copy of them",
        "the state of the TPM stays as it is now, because the snapshot has no copy of it",
    ]
