# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a VM could start again is found out before it is stopped."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.qemu_user import QemuUser
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.starting import can_start
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.starting.can_start import (
    check_images,
    check_overlay_directory,
    check_ready,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.start_needs import (
    DEVICE,
    FILE,
    LINK,
    NETWORK,
    VOLUME,
    Needed,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

NOBODY = QemuUser(65534, frozenset({65534}))


class LibvirtError(Exception):
    """What libvirt raises, with its code."""

    def get_error_code(self) -> int:
        return int(self.args[0])


class Connection:
    """A libvirt with a network and a pool, active or not."""

    def __init__(self, network: bool = True, pool: bool = True) -> None:
        self._network, self._pool = network, pool

    def networkLookupByName(self, name: str) -> Any:  # noqa: N802 - libvirt's name
        if name != "default":
            raise LibvirtError(43)
        return SimpleNamespace(isActive=lambda: self._network)

    def storagePoolLookupByName(self, name: str) -> Any:  # noqa: N802 - libvirt's name
        if name != "pool":
            raise LibvirtError(49)
        return SimpleNamespace(
            isActive=lambda: self._pool, refresh=lambda _flags: None, storageVolLookupByName=self._volume
        )

    def _volume(self, name: str) -> None:
        if name != "volume":
            raise LibvirtError(50 if name == "gone" else 38)


@pytest.fixture(autouse=True)
def errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(can_start, "libvirt", SimpleNamespace(libvirtError=LibvirtError))


def lack(monkeypatch: pytest.MonkeyPatch, kind: str, what: str, **connection: bool) -> Optional[KvmError]:
    """Return what is raised where the VM needs just this."""
    monkeypatch.setattr(can_start, "needs", lambda *_parts: [Needed(kind, "disk vda", what, "Put it back.")])
    try:
        check_ready("web01", Connection(**connection), None, None, replaced=())
    except KvmError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("kind", "what", "connection", "reason"),
    [
        (NETWORK, "default", {}, None),
        (NETWORK, "default", {"network": False}, "network default, which is not active"),
        (NETWORK, "other", {}, "network other, which is not there"),
        (LINK, "lo", {}, None),
        (LINK, "no-such-link", {}, "network device no-such-link, which is not there"),
        (VOLUME, "pool/volume", {}, None),
        (VOLUME, "pool/gone", {}, "pool/gone, which is not there"),
        (VOLUME, "pool/unknown", {}, None),
        (VOLUME, "pool/volume", {"pool": False}, "which is in a pool that is not active (virsh pool-start pool)"),
        (VOLUME, "other/volume", {}, "other/volume, which is not there"),
        (FILE, "/no/such/file", {}, "/no/such/file, which is not there"),
        (FILE, "/dev/null", {}, None),
        (DEVICE, "usb:ffff:ffff", {}, "which is not plugged in"),
    ],
)
def test_only_what_is_known_to_lack_is_told(
    kind: str, what: str, connection: dict[str, bool], reason: Optional[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = lack(monkeypatch, kind, what, **connection)
    assert (error is None) is (reason is None)
    assert error is None or (reason or "") in error.message
    assert error is None or error.error_code == ("file_missing" if kind in (FILE, VOLUME) else "device_missing")


def test_a_directory_that_qemu_may_not_pass_gets_no_overlay(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    check_overlay_directory("web01", str(closed), None)
    with pytest.raises(KvmError) as refused:
        check_overlay_directory("web01", str(closed), NOBODY)
    assert refused.value.error_code == "overlay_dir_unusable"


def test_an_image_is_judged_where_libvirt_does_not_give_it_to_qemu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(can_start, "closed_directory", lambda _file, _user: None)
    image = tmp_path / "image"
    image.touch(mode=0o600)
    os.chmod(image, 0o600)
    check_images("web01", "vda", [str(image)], None, relabelled=False)
    check_images("web01", "vda", [str(image)], NOBODY, relabelled=True)
    with pytest.raises(KvmError, match="may not read it") as refused:
        check_images("web01", "vda", [str(image)], NOBODY, relabelled=False)
    assert (refused.value.error_code, refused.value.details["file"]) == ("file_unreachable", str(image))
