# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.log import folded


def test_repeated_lines_are_told_once() -> None:
    assert folded(["a", "b", "b", "b", "a"]) == ["a", "b (3 times)", "a"]
