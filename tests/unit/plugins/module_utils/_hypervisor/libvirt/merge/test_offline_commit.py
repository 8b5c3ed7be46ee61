# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When qemu-img is asked to write a layer down: only where it holds anything."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import (
    Image,
    read_image,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.offline_commit import (
    commit_image,
    reads_the_same,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Deadline, Pace
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

MIB = 1 << 20
_TABLE = 65536


@pytest.fixture(autouse=True)
def qemu_img(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a qemu-img first in the path that refuses, and says what it was asked."""
    program = tmp_path / "bin" / "qemu-img"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "asked: $*" >&2\nexit 1\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


def overlay(folder: Path, size: int = MIB, base_size: int = MIB, entry: int = 0) -> str:
    """Write a qcow2 image on a raw one; ``entry`` is what its L1 table of one holds."""
    folder.mkdir(exist_ok=True)
    base = folder / "base.raw"
    base.write_bytes(bytes(base_size))
    name = str(base).encode()
    kind = struct.pack(">II", 0xE2792ACA, 3) + b"raw".ljust(8, b"\0") + bytes(8)
    head = struct.pack(">4sIQIIQIIQ", b"QFI\xfb", 3, 104 + len(kind), len(name), 16, size, 0, 1, _TABLE)
    head = head.ljust(100, b"\0") + struct.pack(">I", 104) + kind + name
    file = folder / "top.qcow2"
    file.write_bytes(head.ljust(_TABLE, b"\0") + struct.pack(">Q", entry))
    return str(file)


def commit(*files: str) -> None:
    layers = [read_image(file, "qcow2") for file in files]
    commit_image("web01", layers, "/vm/base", Pace(0, Deadline(30)), lambda _percent: None)


def test_a_layer_that_holds_nothing_is_not_written_down(tmp_path: Path) -> None:
    commit(overlay(tmp_path))  # qemu-img would refuse


@pytest.mark.parametrize(
    "different",
    [{"entry": 1 << 63 | 2 * _TABLE}, {"size": 2 * MIB}, {"base_size": 2 * MIB}],
    ids=["written to", "larger", "smaller"],
)
def test_qemu_img_writes_down_what_a_layer_holds(tmp_path: Path, different: dict[str, int]) -> None:
    file = overlay(tmp_path, **different)
    with pytest.raises(KvmError, match=f"asked: commit .*{file}"):
        commit(file)


def test_several_layers_go_down_at_once(tmp_path: Path) -> None:
    written, empty = overlay(tmp_path, entry=1 << 63 | 2 * _TABLE), overlay(tmp_path / "above")
    with pytest.raises(KvmError, match=f"asked: commit -p -d -f qcow2 -b /vm/base {empty}"):
        commit(empty, written)
    commit(empty, empty)


def test_what_somebody_writes_to_is_left_to_qemu_img_to_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = overlay(tmp_path)
    where = "ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.offline_commit.writers"
    monkeypatch.setattr(where, lambda files: dict.fromkeys(files, 17))
    with pytest.raises(KvmError, match="asked: commit"):
        commit(file)


@pytest.mark.parametrize(("status", "same"), [(0, True), (1, False)])
def test_two_images_hold_the_same_or_not(qemu_img: Path, tmp_path: Path, status: int, same: bool) -> None:
    qemu_img.write_text(f'#!/bin/sh\necho "$*" >{tmp_path}/asked\nexit {status}\n')
    one, other = Image("/vm/a b", "qcow2", 0, 0), Image("/vm/b", "raw", 0, 0)
    assert reads_the_same("web01", one, other, Pace(0, Deadline(30))) is same
    assert tmp_path.joinpath("asked").read_text() == "compare -U -q -f qcow2 -F raw /vm/a b /vm/b\n"


def test_images_that_cannot_be_compared_are_not_called_the_same(qemu_img: Path) -> None:
    qemu_img.write_text("#!/bin/sh\necho 'no such file' >&2\nexit 2\n")
    with pytest.raises(KvmError, match="no such file") as caught:
        reads_the_same("web01", Image("/vm/a", "qcow2", 0, 0), Image("/vm/b", "raw", 0, 0), Pace(0, Deadline(30)))
    assert caught.value.error_code == "merge_failed"


def test_a_comparison_ends_with_the_task_s_time(qemu_img: Path) -> None:
    qemu_img.write_text("#!/bin/sh\nexec sleep 30\n")
    with pytest.raises(KvmError) as caught:
        reads_the_same("web01", Image("/vm/a", "qcow2", 0, 0), Image("/vm/b", "raw", 0, 0), Pace(0, Deadline(0.2)))
    assert caught.value.error_code == "timeout"
