# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A merge that libvirt does not begin: whether AppArmor forbids it, which no host of the lab has."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge import live as _block_commit

_INTERNAL_ERROR, _OPERATION_INVALID = 1, 55
_BROKEN, _FIXED = 9_000_000, 12_001_000
_DENIED = "internal error: unable to execute QEMU command 'blockdev-reopen': Could not reopen file: Permission denied"
_CONFINED = "<domain><seclabel type='dynamic' model='apparmor'/><seclabel type='dynamic' model='dac'/></domain>"
_FREE = "<domain><seclabel type='dynamic' model='dac'/></domain>"


class Refusal:
    """What libvirt raises, as far as it is read."""

    def __init__(self, code: int, text: str) -> None:
        self._code, self._text = code, text

    def get_error_code(self) -> int:
        return self._code

    def get_error_message(self) -> str:
        return self._text


class Handle:
    """A domain, as far as it is read."""

    name = "web01"

    def __init__(self, version: int, xml: str) -> None:
        self.version = version
        self._xml = xml

    def xml(self) -> Any:
        return ElementTree.fromstring(self._xml)  # noqa: S314 - one of the texts above


def refusal(version: int = _BROKEN, xml: str = _CONFINED, code: int = _INTERNAL_ERROR, text: str = _DENIED) -> Any:
    handle: Any = Handle(version, xml)
    return _block_commit._refusal(handle, Refusal(code, text))


def test_apparmor_is_recognised() -> None:
    found = refusal()
    assert found.error_code == "apparmor_denied"
    assert "web01" in found.message
    assert "blockdev-reopen" in found.message
    assert "Shut the VM off" in found.remedy
    assert "12.1" in found.remedy
    assert found.details == {"libvirt_code": _INTERNAL_ERROR, "libvirt_message": _DENIED}


@pytest.mark.parametrize(
    ("other", "error_code"),
    [
        ({"xml": _FREE}, "libvirt_error"),  # a VM that is not confined
        ({"version": _FIXED}, "libvirt_error"),  # a libvirt that allows it: somebody else's permission is missing
        ({"text": "internal error: No space left on device"}, "libvirt_error"),
        ({"code": 68, "text": "Timed out during operation"}, "busy"),
    ],
)
def test_what_is_not_apparmor_is_not_called_so(other: dict[str, Any], error_code: str) -> None:
    assert refusal(**other).error_code == error_code
