# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the backing string in an image's header denotes: a file of this host, or the end of what can be followed.

As QEMU reads it (block.c, path_combine and bdrv_parse_filename_strip_prefix): up to a colon that stands before any slash
it is a protocol; a relative path is put behind the directory of the image as that was named, and the kernel resolves the
two together: ``..`` behind a symbolic link leads to the parent of what the link points to, so nothing is cut out here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Optional

# Drivers of QEMU that are a file of this host, and those that are a format within one.
_FILES = ("file", "host_device")
_FORMATS = ("raw", "qcow2", "qcow", "qed", "vmdk", "vdi", "vpc", "vhdx", "parallels", "bochs", "cloop", "dmg")
# How an image is opened, and not what is read in it.
_MANNERS = re.compile(r"(driver|node-name|read-only|auto-read-only|discard|detect-zeroes|locking|aio)$|cache\.")
_PASSWORD = re.compile(r"(://[^:@/]*):[^@/]*@")


@dataclass(frozen=True)
class Backing:
    """What an image is backed by.

    ``path`` is a file or block device of this host, None where the chain ends for us: ``end`` names then what lies there.
    ``format`` is the format that the string itself names, "" where it names none. ``files`` are all files of this host in it.
    """

    path: Optional[str]
    end: str = ""
    format: str = ""
    files: tuple[str, ...] = ()


def resolve(file: str, backing: str) -> Backing:
    """Return what a string in the header of ``file`` denotes.

    Raises `ValueError` where that is no JSON, or depends on the directory that a process happens to be in.
    """
    if backing.startswith("json:"):
        return _from_json(backing)
    protocol = _protocol(backing)
    if protocol in _FILES:
        return _local(_absolute(backing[len(protocol) + 1 :], backing))
    if protocol:
        return Backing(None, _PASSWORD.sub(r"\1:***@", backing))
    return _local(os.path.join(os.path.dirname(file), backing))


def _protocol(text: str) -> str:
    head = re.split("[:/]", text, maxsplit=1)[0]
    return head if text[len(head) :].startswith(":") else ""


def _local(path: str, image_format: str = "") -> Backing:
    return Backing(path, "", image_format, (path,))


def _absolute(path: str, text: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"the backing file {text!r} is relative to the directory in which QEMU is started")
    return path


def _from_json(text: str) -> Backing:
    try:
        options = json.loads(text[len("json:") :])
        flat = dict(_flat("", options))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the backing file {text[:200]!r} is not valid JSON: {error}") from error
    files = tuple(_named(flat))
    path, image_format = _follow(flat, "", "")
    if path is None:
        return Backing(None, _told(flat), "", files)
    return Backing(_absolute(path, text), "", image_format, files)


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield QEMU's dotted names: it takes {"file": {"driver": …}} and {"file.driver": …} for the same."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _flat(f"{prefix}.{number}", inner)
    else:
        yield prefix, str(value)


def _follow(flat: Mapping[str, str], prefix: str, found: str) -> tuple[Optional[str], str]:
    """Return the file and the format that the options under a prefix denote; no file where they say anything more."""
    own = {key[len(prefix) :]: value for key, value in flat.items() if key.startswith(prefix)}
    driver, name = own.get("driver", ""), own.get("filename")
    more = [key for key in own if key != "filename" and not key.startswith("file.") and not _MANNERS.match(key)]
    if more or "file" in own:
        return None, ""
    if name is not None and driver in ("", *_FILES):
        protocol = _protocol(name)
        path = name[len(protocol) + 1 :] if protocol in _FILES else name
        return (None if protocol and protocol not in _FILES else path), found
    inner = any(key.startswith("file.") for key in own)
    if inner and driver in ("", "raw", *(_FORMATS if found in ("", "raw") else ())):
        return _follow(flat, f"{prefix}file.", found if driver in ("", "raw") and found else driver)
    return None, ""


def _named(flat: Mapping[str, str]) -> Iterator[str]:
    for key, value in flat.items():
        path = value[len("file:") :] if value.startswith("file:") else value
        if key.rpartition(".")[2] == "filename" and path.startswith("/"):
            yield path


def _told(flat: Mapping[str, str]) -> str:
    """Return options as one line; whoever reads it needs no password."""
    shown = {key: value for key, value in flat.items() if "password" not in key and "cookie" not in key}
    return "json:" + json.dumps({key: _PASSWORD.sub(r"\1:***@", value) for key, value in shown.items()})
