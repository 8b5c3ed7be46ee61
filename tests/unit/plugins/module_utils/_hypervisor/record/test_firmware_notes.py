# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What records keep of UEFI variables and TPMs outlives being written and read, also by a later release."""

from __future__ import annotations

import json

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.firmware_notes import (
    FirmwareCopy,
    FirmwareReturn,
    by_part,
    noted,
)

COPY = FirmwareCopy("/nvram/web01.nvram.s1.vars", "raw", 540672, 17, "d1ge5t", [42, 1.5])


def test_a_note_is_read_as_it_was_written() -> None:
    assert FirmwareCopy.of(json.loads(json.dumps(noted(COPY)))) == COPY
    assert (FirmwareCopy.of(None), noted(None)) == (None, None)


def test_what_a_later_release_adds_is_left_out() -> None:
    assert FirmwareCopy.of({**(noted(COPY) or {}), "varstore": "json"}) == COPY


def test_half_a_note_is_refused() -> None:
    with pytest.raises(TypeError):
        FirmwareReturn.of({"file": "/nvram/web01.fd"})


def test_an_earlier_release_puts_nothing_aside() -> None:
    earlier = {"file": "/nvram/web01.fd", "new": "/nvram/web01.new", "was": ""}
    assert FirmwareReturn.of(earlier) == FirmwareReturn("/nvram/web01.fd", "/nvram/web01.new", "", {})


def test_a_part_without_a_note_is_left_out() -> None:
    assert by_part(nvram=None, tpm=COPY) == {"tpm": COPY}
