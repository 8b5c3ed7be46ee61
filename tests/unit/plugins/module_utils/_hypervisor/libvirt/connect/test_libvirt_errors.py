# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's errors become ours by their code first, by their text as a hint."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect import libvirt_errors
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libvirt_errors import (
    from_libvirt,
    text_of,
    translated,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


class LibvirtError(Exception):
    """What libvirt raises."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self._code, self._text = code, text

    def get_error_code(self) -> int:
        return self._code

    def get_error_message(self) -> str:
        return self._text


@pytest.mark.parametrize(
    ("code", "text", "ours"),
    [
        (42, "Domain not found", "vm_not_found"),
        (29, "operation forbidden", "permission_denied"),
        (45, "authentication failed", "permission_denied"),
        (68, "Timed out during operation: cannot acquire state change lock", "busy"),
        (39, "internal error: client socket is closed", "connection_lost"),
        (38, "Cannot recv data: Connection reset by peer", "connection_lost"),
        (1, "End of file while reading data", "connection_lost"),
        (1, "something else", "libvirt_error"),
        (55, "domain is not running", "libvirt_error"),
        (55, "cannot migrate domain: State blocked by non-migratable CPU device (invtsc flag)", "memory_blocked"),
    ],
)
def test_each_code_becomes_one_of_ours(code: int, text: str, ours: str) -> None:
    error = from_libvirt(LibvirtError(code, text), "web01", "asking")
    assert error.error_code == ours
    assert "web01" in error.message


def test_the_word_of_libvirt_is_kept_in_the_details() -> None:
    error = from_libvirt(LibvirtError(1, "it broke."), "web01", "taking the snapshot")
    assert error.details == {"libvirt_code": 1, "libvirt_message": "it broke"}
    assert error.message == "libvirt failed for web01, while taking the snapshot: it broke."
    assert text_of(LibvirtError(1, " it broke. ")) == "it broke"


def test_only_errors_of_libvirt_are_translated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libvirt_errors, "libvirt", SimpleNamespace(libvirtError=LibvirtError))
    with pytest.raises(KvmError) as refused, translated("web01", "asking"):
        raise LibvirtError(1, "it broke")
    assert refused.value.__cause__ is not None
    with pytest.raises(ZeroDivisionError), translated("web01", "asking"):
        raise ZeroDivisionError
