# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans in words."""

from __future__ import annotations

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.plan import Resize


def test_a_resize_says_which_way_it_goes() -> None:
    assert str(Resize("vda", 1 << 20, 2 << 20)) == "disk vda grows from 1 MiB to 2 MiB"
    assert str(Resize("vda", 2 << 20, 1 << 20)) == "disk vda shrinks from 2 MiB to 1 MiB"
