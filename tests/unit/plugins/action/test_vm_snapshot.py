# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a task of vm_snapshot only the controller sees."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.limiquantix.kvm.plugins.action.vm_snapshot import ActionModule


def test_labels_that_an_empty_variable_has_left_without_a_value_are_refused() -> None:
    action = ActionModule.__new__(ActionModule)
    action._task = SimpleNamespace(args={"state": "absent", "name": "s", "labels": None})
    with pytest.raises(AnsibleActionFail, match="labels of vm_snapshot has no value"):
        action.run()
