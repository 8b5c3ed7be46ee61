# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backing string denotes, as QEMU reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.backing_string import resolve

FILE = {"driver": "file", "filename": "/b/x"}
NBD = {"driver": "nbd", "server": {"type": "inet", "host": "127.0.0.1", "port": "10809"}, "export": "x"}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/b/x", "/b/x"),
        ("x", "/vm/x"),
        ("./x", "/vm/./x"),
        # What .. means behind a symbolic link the kernel knows.
        ("../b/x", "/vm/../b/x"),
        ("/b/a:b", "/b/a:b"),
        ("./a:b", "/vm/./a:b"),
        ("file:/b/x", "/b/x"),
        ("host_device:/dev/vg/lv", "/dev/vg/lv"),
    ],
)
def test_a_plain_path_is_resolved_beside_its_image(text: str, path: str) -> None:
    found = resolve("/vm/top.qcow2", text)
    assert (found.path, found.end, found.format, found.files) == (path, "", "", (path,))


@pytest.mark.parametrize(
    ("options", "image_format"),
    [
        (FILE, ""),
        ({"file": FILE}, ""),
        ({"driver": "raw", "file": FILE}, "raw"),
        ({"driver": "qcow2", "file": FILE}, "qcow2"),
        ({"driver": "qcow2", "file": {"driver": "raw", "file": FILE}}, "qcow2"),
        ({"driver": "qcow2", "file.driver": "file", "file.filename": "/b/x"}, "qcow2"),
        ({"file.filename": "/b/x"}, ""),
        ({"driver": "qcow2", "file.filename": "file:/b/x"}, "qcow2"),
        ({"driver": "qcow2", "node-name": "a", "read-only": True, "cache": {"direct": True}, "file": FILE}, "qcow2"),
        ({"driver": "raw", "file": {"driver": "host_device", "filename": "/b/x"}}, "raw"),
    ],
)
def test_json_that_is_a_file(options: dict[str, Any], image_format: str) -> None:
    found = resolve("/vm/top.qcow2", "json:" + json.dumps(options))
    assert (found.path, found.end, found.format, found.files) == ("/b/x", "", image_format, ("/b/x",))


@pytest.mark.parametrize(
    "text",
    [
        "nbd://127.0.0.1:10809/x",
        "nbd:localhost:10809:exportname=x",
        "nbd+unix:///x?socket=/run/s",
        "rbd:pool/image:id=admin",
        "https://example.org/x.qcow2",
        "iscsi://10.0.0.1/iqn.x/0",
        "fat:rw:/tmp",
        "a:b.qcow2",
        "json:" + json.dumps({"driver": "raw", "file": NBD}),
        "json:" + json.dumps(NBD),
        "json:" + json.dumps({"driver": "qcow2", "file": "node"}),
    ],
)
def test_what_is_no_file_ends_the_chain(text: str) -> None:
    found = resolve("/vm/top.qcow2", text)
    assert found.path is None
    assert found.end
    assert found.files == ()


@pytest.mark.parametrize(
    "options",
    [
        {"driver": "raw", "offset": 1048576, "size": 16777216, "file": FILE},
        {"driver": "luks", "key-secret": "s", "file": FILE},
        {"driver": "qcow2", "encrypt": {"format": "luks", "key-secret": "s"}, "file": FILE},
        {"driver": "qcow2", "data-file": FILE, "file": {"driver": "file", "filename": "/b/y"}},
        {"driver": "qcow2", "file": {"driver": "qcow2", "file": FILE}},
        {"driver": "quorum", "children": [{"driver": "raw", "file": FILE}]},
        {"driver": "blkdebug", "image": FILE},
    ],
)
def test_a_file_that_is_read_in_another_way_ends_the_chain_and_is_named(options: dict[str, Any]) -> None:
    found = resolve("/vm/top.qcow2", "json:" + json.dumps(options))
    assert found.path is None
    assert found.end.startswith("json:")
    assert "/b/x" in found.files


@pytest.mark.parametrize(
    "text",
    [
        "file:x.qcow2",
        'json:{"driver":"file","filename":"x"}',
        "json:{",
        "json:" + '{"file":' * 5000,
    ],
)
def test_what_cannot_be_known_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="the backing file"):
        resolve("/vm/top.qcow2", text)


def test_no_password_is_told() -> None:
    assert resolve("/x", "https://me:secret@example.org/x").end == "https://me:***@example.org/x"
    inner = {"driver": "https", "url": "https://me:secret@example.org/x", "password-secret": "s", "cookie": "secret"}
    assert "secret" not in resolve("/x", "json:" + json.dumps({"driver": "raw", "file": inner})).end
