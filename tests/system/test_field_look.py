# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one word of info for a VM: ok, look or act."""

from __future__ import annotations

from contract.world import IMAGES

from .field import MakeVm, make_vm, planted

__all__ = ("make_vm", "planted")


def test_info_begins_with_one_word_that_says_whether_to_act(make_vm: MakeVm) -> None:
    """It leads the message, and is no cry for help where an operator paused a VM or nothing is wrong."""
    vm = make_vm("worldword", start=True)
    vm.take("s1")
    info = vm.info()
    assert (info["look"], info["msg"][:12]) == ("ok", "ok: running,")
    vm.virsh("suspend")
    info = vm.info()
    assert (info["look"], info["msg"][:11], info["problems"]) == ("ok", "ok: paused,", [])
    vm.off()
    vm.define(vm.xml(inactive=True).replace(f"{IMAGES}/worldword.vda.s1.qcow2", f"{IMAGES}/worldword.qcow2"))
    info = vm.info()
    assert (info["look"], info["msg"][:13]) == ("act", "act: shutoff,")
