# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An overlay was made for a VM that is gone: by the records, and only where it is the same file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_identity import identity
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata import gone_vms
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.gone_vms import made_for_gone
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Made
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VmId


class LibvirtError(Exception):
    """What libvirt raises of a VM that it does not have."""


class Connection:
    """A libvirt that has the one VM of these UUIDs."""

    def lookupByUUIDString(self, uuid: str) -> None:  # noqa: N802 - libvirt's name
        if uuid != "there":
            raise LibvirtError(uuid)


@pytest.fixture
def overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(gone_vms, "libvirt", SimpleNamespace(libvirtError=LibvirtError))
    (tmp_path / "overlay").touch()
    return str(tmp_path / "overlay")


def judged(file: str, owner: str, noted: Any) -> bool:
    records: Any = SimpleNamespace(of_others=lambda _id: [(owner, SimpleNamespace(made={file: Made("vda", noted)}))])
    return made_for_gone(Connection(), records, VmId("web01", "uuid"), file)


def test_an_overlay_of_a_vm_that_is_gone_is_known(overlay: str) -> None:
    assert judged(overlay, "gone", identity(overlay))


def test_an_overlay_of_a_vm_that_is_there_is_not_taken_from_it(overlay: str) -> None:
    assert not judged(overlay, "there", identity(overlay))


def test_another_file_in_its_place_is_nobodys(overlay: str) -> None:
    assert not judged(overlay, "gone", [0, None])
