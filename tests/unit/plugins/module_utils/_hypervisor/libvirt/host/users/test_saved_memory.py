# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory in a file goes with the images as they were then: which they are, and whether somebody has written to them since."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host import user_sessions
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.users.saved_memory import (
    is_memory,
    read_memory,
    still_of_use,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.domains import domain


def disk(source: str, below: str = "") -> str:
    chain = f"<backingStore type='file'><source file='{below}'/></backingStore>" if below else ""
    return f"<disk type='file' device='disk'>{source}{chain}<target dev='vda'/></disk>"


def saved(folder: Path, *disks: str) -> str:
    """Return a file as ``virsh save`` makes it of a VM with these disks."""
    file = folder / "friday.save"
    file.write_bytes(b"LibvirtQemudSave\2\0\0\0" + domain("".join(disks)).encode() + b"\0memory")
    return str(file)


def test_the_images_of_a_saved_vm_are_known(tmp_path: Path) -> None:
    top, base = (str(tmp_path / name) for name in ("top", "base"))
    memory = read_memory(saved(tmp_path, disk(f"<source file='{top}'/>", base)))
    assert (memory.vm, memory.images, memory.active) == ("web01", (top, base), (top,))
    assert str(memory) == f"the memory of VM web01 that was saved in {tmp_path}/friday.save"


def test_a_volume_lies_where_the_systems_pool_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_sessions, "_SYSTEM_POOLS", str(tmp_path / "*.xml"))
    (tmp_path / "p.xml").write_text("<pool type='dir'><name>p</name><target><path>/pool</path></target></pool>")
    memory = read_memory(saved(tmp_path, disk("<source pool='p' volume='v'/>"), disk("<source pool='q' volume='v'/>")))
    assert memory.active == ("/pool/v",)


def test_what_begins_otherwise_is_no_memory(tmp_path: Path) -> None:
    assert is_memory(b"Libv")
    assert not is_memory(b"QFI\xfb")
    (tmp_path / "cut").write_bytes(b"LibvirtQemudPart <domain")
    with pytest.raises(ValueError, match="no VM in it"):
        read_memory(str(tmp_path / "cut"))


@pytest.mark.parametrize(("later", "of_use"), [(0, True), (1, True), (60, False)])
def test_memory_is_of_no_use_once_its_disk_was_written_to(tmp_path: Path, later: int, of_use: bool) -> None:
    (tmp_path / "top").touch()
    file = saved(tmp_path, disk(f"<source file='{tmp_path}/top'/>"))
    at = int(os.stat(file).st_mtime) + later
    os.utime(tmp_path / "top", (at, at))
    assert [memory.file for memory in still_of_use([file])] == ([file] if of_use else [])


def test_memory_whose_disk_is_gone_is_of_no_use(tmp_path: Path) -> None:
    assert list(still_of_use([saved(tmp_path, disk("<source file='/gone'/>")), "/gone.save"])) == []


def test_a_disk_is_known_by_each_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "top").touch()
    (tmp_path / "link").symlink_to(tmp_path / "top")
    memory = read_memory(saved(tmp_path, disk(f"<source file='{tmp_path}/link'/>")))
    assert memory.is_on(str(tmp_path / "top"))
    assert not memory.is_on(str(tmp_path / "friday.save"))
