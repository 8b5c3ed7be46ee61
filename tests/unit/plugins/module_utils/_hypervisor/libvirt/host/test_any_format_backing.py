# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a file is based on, in every format in which QEMU can base one on another."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.any_format_backing import (
    backing_files,
)


def qcow(version: int, backing: bytes) -> bytes:
    return struct.pack(">4sIQI", b"QFI\xfb", version, 104, len(backing)).ljust(104, b"\0") + backing


def qed(backing: bytes) -> bytes:
    return b"QED\0" + bytes(52) + struct.pack("<II", 64, len(backing)) + backing


def vmdk(backing: bytes, sparse: bool) -> bytes:
    text = b'# Disk DescriptorFile\nversion=1\nparentFileNameHint="' + backing + b'"\n'
    return b"KDMV" + bytes(24) + struct.pack("<Q", 1) + bytes(512 - 36) + text if sparse else text


MAKERS = {
    "qcow": lambda backing: qcow(1, backing),
    "qcow2": lambda backing: qcow(2, backing),
    "qcow2 v3": lambda backing: qcow(3, backing),
    "qed": qed,
    "vmdk": lambda backing: vmdk(backing, False),
    "vmdk, sparse": lambda backing: vmdk(backing, True),
}


def based_on(tmp_path: Path, content: bytes) -> list[str]:
    file = tmp_path / "overlay"
    file.write_bytes(content)
    return backing_files(str(file))


@pytest.mark.parametrize("made", MAKERS.values(), ids=MAKERS)
def test_every_format_names_what_it_is_based_on(tmp_path: Path, made: object) -> None:
    assert callable(made)
    assert based_on(tmp_path, made(b"/i/base")) == ["/i/base"]
    assert based_on(tmp_path, made(b"base")) == [f"{tmp_path}/base"]


def test_the_file_that_has_the_data_of_a_qcow2_image_counts_too(tmp_path: Path) -> None:
    extensions = struct.pack(">4sI3s5x4sI8sI4x", b"\xe2\x79\x2a\xca", 3, b"raw", b"DATA", 8, b"/i/disk1", 0)
    head = struct.pack(">4sIQI", b"QFI\xfb", 3, 0, 0).ljust(100, b"\0") + struct.pack(">I", 104) + extensions
    assert based_on(tmp_path, head) == ["/i/disk1"]
    assert based_on(tmp_path, head.replace(b"DATA", b"LATA")) == []


@pytest.mark.parametrize(
    ("backing", "files"),
    [
        ("file:/i/base", ["/i/base"]),
        ("nbd://host/export", []),
        ("rbd:pool/image", []),
        ('json:{"driver":"qcow2","file":{"driver":"file","filename":"/i/base"}}', ["/i/base"]),
        ('json:{"driver":"qcow2","file.filename":"/i/base"}', ["/i/base"]),
        (
            'json:{"driver":"quorum","children":[{"file":{"filename":"/i/a"}},{"file":{"filename":"/i/b"}}]}',
            ["/i/a", "/i/b"],
        ),
        ('json:{"driver":"nbd","server":{"type":"inet","host":"h"}}', []),
    ],
)
def test_a_file_may_be_named_in_several_ways(tmp_path: Path, backing: str, files: list[str]) -> None:
    assert based_on(tmp_path, qcow(3, backing.encode())) == files


def test_the_kernel_resolves_what_is_above_a_link(tmp_path: Path) -> None:
    (tmp_path / "data/vm").mkdir(parents=True)
    os.symlink(tmp_path / "data/vm", tmp_path / "vm")
    (tmp_path / "data/base").touch()
    overlay = tmp_path / "vm/overlay"
    overlay.write_bytes(qcow(3, b"../base"))
    assert os.path.realpath(backing_files(str(overlay))[0]) == str(tmp_path / "data/base")


@pytest.mark.parametrize("content", [b"", b"raw bytes", qcow(3, b"")[:8], json.dumps({"a": 1}).encode()])
def test_a_file_that_is_no_overlay_is_based_on_nothing(tmp_path: Path, content: bytes) -> None:
    try:
        found = based_on(tmp_path, content)
    except struct.error:
        found = []
    assert found == []
