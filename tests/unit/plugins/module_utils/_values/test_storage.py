# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies on disk for a VM, in results and in words."""

from __future__ import annotations

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.storage import ChainLayer, DiskChain, Leftover


def test_a_chain_counts_every_layer_and_sizes_that_are_known() -> None:
    top, base = ChainLayer("/b", "qcow2", 5, 10, "s"), ChainLayer("/a", "raw", None, None)
    result = DiskChain("vda", (top, base)).to_result()
    assert (result["depth"], result["size"], result["complete"]) == (2, 5, True)
    assert DiskChain("vda", (top,), complete=False).to_result()["complete"] is False
    assert [layer["snapshot"] for layer in result["layers"]] == ["s", None]


@pytest.mark.parametrize(
    ("why", "snapshot", "may_go"),
    [("detached", None, True), ("shared", None, True), ("other", None, False), ("detached", "s", False)],
)
def test_only_what_nobody_else_may_need_can_be_given_up(why: str, snapshot: str | None, may_go: bool) -> None:
    assert Leftover("/vm/a", why, "it was vdb", snapshot=snapshot).given_up_by_name is may_go


def test_the_way_back_to_the_data_is_told_where_there_is_one() -> None:
    assert str(Leftover("/vm/a", "shared", "others may use it")) == "/vm/a is kept: others may use it"
    told = str(Leftover("/vm/a", "detached", "it was vdb", bring_back="virsh attach-disk"))
    assert told == "/vm/a is kept: it was vdb. To have its data back at the next start of the VM: virsh attach-disk"
