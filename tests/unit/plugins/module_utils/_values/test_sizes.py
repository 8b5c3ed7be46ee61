# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes as people read them."""

from __future__ import annotations

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.sizes import mebibytes


@pytest.mark.parametrize(("size", "told"), [(0, "0 MiB"), (1 << 19, "0.5 MiB"), (3 << 30, "3072 MiB")])
def test_a_size_is_told_in_mebibytes(size: int, told: str) -> None:
    assert mebibytes(size) == told
