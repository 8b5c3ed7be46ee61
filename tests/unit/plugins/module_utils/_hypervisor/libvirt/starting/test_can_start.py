# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a VM could start again is found out before it is stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.qemu_user import QemuUser
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.starting import can_start
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.starting.can_start import (
    Starting,
    check_definable,
    check_images,
    check_overlay_directory,
    check_ready,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.starting.libvirt_lacks import (
    Lack,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.needed import (
    FILE,
    FILTER,
    LINK,
    NETWORK,
    PAGES,
    SECRET,
    TPM,
    VOLUME,
    Needed,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

NOBODY = QemuUser(65534, frozenset({65534}))


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is asked for is there."""
    monkeypatch.setattr(
        can_start, "_lack", lambda _starting, need: Lack("" if need.what == "there" else "is not there")
    )


@pytest.mark.parametrize(
    ("kind", "what", "code", "says"),
    [
        (FILE, "there", None, ""),
        (FILE, "/a", "file_missing", "disk vda needs /a, which is not there"),
        (VOLUME, "p/v", "file_missing", "needs p/v"),
        (NETWORK, "n", "device_missing", "needs network n"),
        (LINK, "br0", "device_missing", "needs network device br0"),
        (SECRET, "uuid", "device_missing", "needs secret uuid"),
        (FILTER, "f", "device_missing", "needs network filter f"),
        (PAGES, "2048:16384", "device_missing", "needs 8 huge pages of 2048 KiB"),
        (TPM, "swtpm", "missing_library", "needs the program swtpm"),
    ],
)
@pytest.mark.usefixtures("lacking")
def test_what_is_not_there_is_named(
    kind: str, what: str, code: Optional[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(can_start, "needs", lambda *_parts: [Needed(kind, "disk vda", what, "Put it back.")])
    if code is None:
        check_ready("web01", Starting(None, None), replaced=())
        return
    with pytest.raises(KvmError) as refused:
        check_ready("web01", Starting(None, None), replaced=())
    assert (refused.value.error_code, says in refused.value.message) == (code, True), refused.value.message
    assert "the VM was not stopped" in refused.value.remedy


def test_a_remedy_of_just_that_lack_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(can_start, "needs", lambda *_parts: [Needed(NETWORK, "an interface", "n", "Start it.")])
    monkeypatch.setattr(can_start, "_lack", lambda _starting, _need: Lack("has no bridge", "Make the bridge."))
    with pytest.raises(KvmError) as refused:
        check_ready("web01", Starting(None, None), replaced=())
    assert refused.value.remedy.endswith("Make the bridge.")


@pytest.mark.usefixtures("lacking")
def test_only_what_libvirt_defines_no_vm_without_is_asked_of_one_that_stays_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(can_start, "needs", lambda *_parts: [Needed(NETWORK, "an interface", "n", "Start it.")])
    check_definable("web01", Starting(None, None))
    monkeypatch.setattr(can_start, "needs", lambda *_parts: [Needed(TPM, "its TPM", "swtpm", "")])
    with pytest.raises(KvmError, match="the program swtpm"):
        check_definable("web01", Starting(None, None))


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
