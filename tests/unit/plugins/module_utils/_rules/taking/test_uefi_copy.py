# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which snapshots get a copy of the UEFI variables, and what is told of the others."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import parse
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.taking.uefi_copy import (
    NVRAM,
    nvram_left_out,
    uefi_copy,
    without_nvram,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.snapshot import LeftOut

LOADER = "<loader type='pflash' readonly='yes'>/code.fd</loader>"
DISK = LeftOut("vdb", "a snapshot cannot hold it")
BOTH = (DISK, nvram_left_out("nobody has looked yet"))


def domain(nvram: str = "<nvram>/nvram/web01.fd</nvram>") -> Any:
    return parse(f"<domain><os>{LOADER}{nvram}</os></domain>")


def planned(xml: Any, obstacle: str = "", **wishes: Any) -> Any:
    request = SnapshotRequest("s1", **wishes)
    return uefi_copy(
        "web01", xml, request, BOTH, obstacle=lambda _found: obstacle, unused=lambda *words: "|".join(words)
    )


def test_a_copy_lies_beside_the_file_of_the_vm() -> None:
    file, left_out = planned(domain())
    assert file == "/nvram|web01.nvram.s1|.vars"
    assert left_out == (DISK,)


def test_what_cannot_be_copied_is_left_out_with_the_reason() -> None:
    file, left_out = planned(domain(), "it is an overlay")
    assert (file, left_out[0], left_out[1].target) == (None, DISK, NVRAM)
    assert left_out[1].reason.startswith("it is an overlay; ")


@pytest.mark.parametrize(
    ("xml", "wishes"),
    [(domain(), {"include_memory": True}), (parse("<domain><os/></domain>"), {})],
    ids=["memory brings them", "no UEFI"],
)
def test_some_snapshots_need_no_copy(xml: Any, wishes: dict[str, Any]) -> None:
    assert planned(xml, **wishes) == (None, without_nvram(BOTH))
    assert without_nvram(BOTH) == (DISK,)
