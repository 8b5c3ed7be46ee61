# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an action is unless it says otherwise: it waits for its lock, and interrupted work is not what it wants."""

from __future__ import annotations

from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._task.action import Action, Nothing
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import Operation
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import vm


class Idle(Action[str, str]):
    """Does nothing to any VM."""

    def decide(self, vm: Any) -> Any:
        return Nothing(vm, "nothing to do")

    def plan(self, hypervisor: Any, vm: Any, wish: str) -> Any:
        raise NotImplementedError

    def predict(self, plan: str) -> Any:
        raise NotImplementedError

    def act(self, hypervisor: Any, plan: str, deadline: Any) -> Any:
        raise NotImplementedError


def test_the_defaults_promise_nothing_and_refuse_nothing() -> None:
    action, hypervisor = Idle(), Any
    assert not action.plans_ahead(vm(), "wish")
    assert not action.is_done_by(Operation("take", "s", ""), vm())
    assert not action.may_go_on()
    assert action.refuse(hypervisor, ["plan"]) == {}
