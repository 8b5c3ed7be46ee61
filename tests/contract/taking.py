# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the contract's tests of taking share."""

from __future__ import annotations

import uuid

import pytest


@pytest.fixture
def name() -> str:
    """A snapshot name that no VM has yet: most tests need no VM made anew."""
    return f"t-{uuid.uuid4().hex[:8]}"
