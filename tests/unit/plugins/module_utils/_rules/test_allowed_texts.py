# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts that libvirt, XML or a terminal would not give back are refused; all others are taken."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.allowed_texts import (
    MOST_BYTES,
    check_patterns,
    check_texts,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest


def code(**texts: Any) -> str:
    try:
        check_texts(SnapshotRequest("s1", **texts))
    except KvmError as error:
        return error.error_code
    return ""


@pytest.mark.parametrize("lost", ["\x00", "\x1b", "\r", "\x7f", "\x9b", "\ud800", "\ufffe", "\uffff"])
def test_characters_that_xml_loses_are_refused(lost: str) -> None:
    assert code(description=f"a{lost}b") == "bad_request"
    assert code(labels={lost: "b"}) == "bad_request"
    assert code(labels={"a": lost}) == "bad_request"
    assert code(overlay_dir=f"/srv/{lost}") == "bad_request"
    with pytest.raises(KvmError, match="control character") as error:
        check_patterns(["web01", f"a{lost}"])
    assert error.value.error_code == "bad_request"


@pytest.mark.parametrize("kept", ["", " ", "two\nlines\tand a tab", "<&>'\"", "ü€𝄞", "\ufffd", "\u2028"])
def test_texts_that_xml_keeps_are_taken(kept: str) -> None:
    assert code(description=kept, labels={"a": kept}) == ""


def test_texts_that_are_too_long_are_refused() -> None:
    assert code(description="ü" * (MOST_BYTES // 2)) == ""
    assert code(description="ü" * (MOST_BYTES // 2) + "x") == "bad_request"
    assert code(labels={"a": "x" * MOST_BYTES}) == ""
    assert code(labels={"a": "x" * (MOST_BYTES + 1)}) == "bad_request"
    assert code(overlay_dir="/" + "x" * 4096) == "bad_request"


@pytest.mark.parametrize("text", ["/a\nb", "/a\tb"])
def test_a_path_has_no_line_breaks(text: str) -> None:
    assert code(overlay_dir=text) == "bad_request"


def test_the_message_does_not_repeat_what_it_refuses() -> None:
    with pytest.raises(KvmError) as error:
        check_texts(SnapshotRequest("s1", description="\x1b[31m", labels={"\x1b": "b"}))
    assert error.value.full_message.isprintable()
    with pytest.raises(KvmError) as error:
        check_texts(SnapshotRequest("s1", labels={"a\u2028": "\x1b"}))
    assert error.value.full_message.isprintable()
