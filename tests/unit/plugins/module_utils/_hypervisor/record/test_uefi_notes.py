# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What records keep of UEFI variables outlives being written and read, also by a later release."""

from __future__ import annotations

import json

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.uefi_notes import (
    UefiCopy,
    UefiReturn,
    noted,
)

COPY = UefiCopy("/nvram/web01.nvram.s1.vars", "raw", 540672, 17, "d1ge5t", [42, 1.5])


def test_a_note_is_read_as_it_was_written() -> None:
    assert UefiCopy.of(json.loads(json.dumps(noted(COPY)))) == COPY
    assert (UefiCopy.of(None), noted(None)) == (None, None)


def test_what_a_later_release_adds_is_left_out() -> None:
    assert UefiCopy.of({**(noted(COPY) or {}), "varstore": "json"}) == COPY


def test_half_a_note_is_refused() -> None:
    with pytest.raises(TypeError):
        UefiReturn.of({"file": "/nvram/web01.fd"})
