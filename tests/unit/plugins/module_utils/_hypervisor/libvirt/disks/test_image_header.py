# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers of qcow2 images, as QEMU writes them where it is here, and by hand."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.backing_chain import read_chain
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import read_image
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.new_overlay import (
    create_overlay,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="no qemu-img here")


def header(version: int = 3, backing: bytes = b"", extensions: bytes = b"", length: int = 104) -> bytes:
    """Return the first cluster of an image of one GiB."""
    fixed = 72 if version == 2 else length
    end = fixed + len(extensions) + 8
    head = struct.pack(">4sIQIIQ", b"QFI\xfb", version, end if backing else 0, len(backing), 16, 1 << 30)
    head += bytes(40) if version == 2 else bytes(100 - 32 - 8 + 8) + struct.pack(">I", length) + bytes(length - 104)
    assert len(head) == fixed, len(head)
    return (head + extensions + bytes(8) + backing).ljust(65536, b"\0")


def extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">II", kind, len(data)) + data.ljust((len(data) + 7) // 8 * 8, b"\0")


FORMAT = extension(0xE2792ACA, b"qcow2")
FEATURES = extension(0x6803F857, bytes(48))


@pytest.mark.parametrize(
    ("content", "backing", "backing_format"),
    [
        (header(), None, ""),
        (header(2), None, ""),
        (header(backing=b"/vm/base", extensions=FORMAT), "/vm/base", "qcow2"),
        (header(2, b"/vm/base", FORMAT), "/vm/base", "qcow2"),
        (header(backing=b"/vm/base", extensions=FEATURES + FORMAT), "/vm/base", "qcow2"),
        (header(backing=b"/vm/base", extensions=FORMAT, length=112), "/vm/base", "qcow2"),
        (header(backing=b"/vm/base"), "/vm/base", ""),
        (header(backing="/vm/größe".encode(), extensions=FORMAT), "/vm/größe", "qcow2"),
        (header(backing=b'json:{"driver":"qcow2","file":{"driver":"file","filename":"/vm/b"}}'), "/vm/b", "qcow2"),
        (header(backing=b'json:{"file.filename":"/vm/b"}'), "/vm/b", ""),
    ],
)
def test_headers_made_by_hand_are_read(
    tmp_path: Path, content: bytes, backing: str | None, backing_format: str
) -> None:
    file = tmp_path / "x.qcow2"
    file.write_bytes(content)
    image = read_image(str(file), "qcow2")
    assert (image.format, image.virtual_size) == ("qcow2", 1 << 30)
    assert (image.backing_file, image.backing_format) == (backing, backing_format)


def with_bytes(content: bytes, at: int, value: bytes) -> bytes:
    return content[:at] + value + content[at + len(value) :]


@pytest.mark.parametrize(
    ("content", "peculiar"),
    [
        (header(), ""),
        (with_bytes(header(), 32, struct.pack(">I", 1)), "encrypted"),
        (with_bytes(header(2), 32, struct.pack(">I", 2)), "encrypted"),
        (with_bytes(header(), 72, struct.pack(">Q", 4)), "in another file"),
        (with_bytes(header(), 72, struct.pack(">Q", 2)), ""),
        # Version 2 has no such field: a backing format may stand there.
        (header(2, b"/vm/base", extension(0xE2792ACA, b"raw")), ""),
    ],
)
def test_what_is_no_plain_image(tmp_path: Path, content: bytes, peculiar: str) -> None:
    file = tmp_path / "x.qcow2"
    file.write_bytes(content)
    found = read_image(str(file), "qcow2").peculiar
    assert peculiar in found
    assert bool(found) == bool(peculiar)


def test_a_chain_ends_at_what_is_no_file(tmp_path: Path) -> None:
    base, top = tmp_path / "base.qcow2", tmp_path / "top.qcow2"
    base.write_bytes(header(backing=b"nbd://127.0.0.1/x", extensions=FORMAT))
    top.write_bytes(header(backing=b"base.qcow2", extensions=FORMAT))
    chain = read_chain(str(top), "qcow2")
    assert [image.file for image in chain] == [str(top), str(base)]
    assert (chain[0].end, chain[1].end, chain[1].below) == ("", "nbd://127.0.0.1/x", None)


def test_a_slice_of_a_file_is_below_and_not_read(tmp_path: Path) -> None:
    text = b'json:{"driver":"raw","offset":"512","file":{"driver":"file","filename":"/vm/b.raw"}}'
    top = tmp_path / "top.qcow2"
    top.write_bytes(header(backing=text, extensions=extension(0xE2792ACA, b"raw")))
    (image,) = read_chain(str(top), "qcow2")
    assert (image.backing_file, image.below) == (None, "/vm/b.raw")


def test_a_relative_backing_file_lies_beside_the_image(tmp_path: Path) -> None:
    file = tmp_path / "x.qcow2"
    file.write_bytes(header(backing=b"../base.qcow2", extensions=FORMAT))
    assert read_image(str(file), "qcow2").backing_file == f"{tmp_path}/../base.qcow2"


@pytest.mark.parametrize("content", [b"", b"QFI\xfb", b"x" * 200, b"QFI\x00" + bytes(200)])
def test_what_is_no_qcow2_image_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="not a qcow2 image"):
        read_image(str(file), "qcow2")


def test_a_raw_image_is_never_looked_into(tmp_path: Path) -> None:
    file = tmp_path / "raw"
    file.write_bytes(header(backing=b"/etc/shadow"))
    image = read_image(str(file), "raw")
    assert (image.backing_file, image.virtual_size, image.format) == (None, 65536, "raw")


def test_a_circle_ends(tmp_path: Path) -> None:
    file = tmp_path / "x.qcow2"
    file.write_bytes(header(backing=str(file).encode(), extensions=FORMAT))
    with pytest.raises(ValueError, match="circle"):
        read_chain(str(file), "qcow2")


@needs_qemu_img
@pytest.mark.parametrize(
    "options", ["compat=0.10", "compat=1.1", "cluster_size=2M", "lazy_refcounts=on", "data_file_raw=off"]
)
def test_chains_are_read_as_qemu_img_says(tmp_path: Path, options: str) -> None:
    base, middle, top = (str(tmp_path / name) for name in ("b,a se.raw", "middle.qcow2", "top.qcow2"))
    qemu_img("create", "-f", "raw", base, "10M")
    qemu_img("create", "-f", "qcow2", "-o", options, "-b", base, "-F", "raw", middle)
    qemu_img("create", "-f", "qcow2", "-o", options, "-b", "middle.qcow2", "-F", "qcow2", top, "20M")
    said = json.loads(qemu_img("info", "--backing-chain", "--output=json", top))
    for image, expected in zip(read_chain(top, "qcow2"), said):
        assert (image.format, image.virtual_size) == (expected["format"], expected["virtual-size"])
        assert image.size == expected["actual-size"]
        assert image.backing_file == expected.get("full-backing-filename")
        assert image.backing_format == expected.get("backing-filename-format", "")
    assert len(said) == 3


@needs_qemu_img
def test_an_overlay_is_private_and_made_only_once(tmp_path: Path) -> None:
    base, overlay = str(tmp_path / "b,a=se & 'x'.qcow2"), str(tmp_path / "o,v.qcow2")
    qemu_img("create", "-f", "qcow2", base, "10M")
    create_overlay(overlay, base, "qcow2", 10 << 20)
    (said, _base) = json.loads(qemu_img("info", "--backing-chain", "--output=json", overlay))
    assert (said["full-backing-filename"], said["backing-filename-format"]) == (base, "qcow2")
    assert said["virtual-size"] == 10 << 20
    status = os.stat(overlay)
    assert (status.st_mode & 0o7777, status.st_uid) == (0o600, os.stat(base).st_uid)
    with pytest.raises(KvmError, match="File exists") as caught:
        create_overlay(overlay, base, "qcow2", 10 << 20)
    assert caught.value.error_code == "overlay_failed"
    assert os.stat(overlay) == status


@needs_qemu_img
def test_an_overlay_that_failed_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KvmError) as caught:
        create_overlay(str(tmp_path / "new"), str(tmp_path / "no base"), "qcow2", 1)
    assert caught.value.error_code == "overlay_failed"
    assert list(tmp_path.iterdir()) == []


def qemu_img(*arguments: str) -> str:
    command = ["qemu-img", arguments[0], *arguments[1:]]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
