# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.elf_binary import (
    Here,
    MadeFor,
    made_for,
    unfit,
)

LOADER = "/lib/ld-linux.so.1"


def elf(path: Path, machine: int = 62, order: str = "<", wide: bool = True, loader: str = LOADER) -> Path:
    """Write a program of nothing but headers: its loader, and two libraries with versions of which 2.9 and 2.34 are glibc's."""
    names = b"\0GLIBC_2.9\0GLIBC_2.34\0GLIBC_PRIVATE\0GCC_3.5\0"
    at = {name: names.index(name) for name in (b"GLIBC_2.9", b"GLIBC_2.34", b"GLIBC_PRIVATE", b"GCC_3.5")}

    def library(versions: list[bytes], last: bool) -> bytes:
        following = 16 + 16 * len(versions)
        text = struct.pack(order + "HHIII", 1, len(versions), 0, 16, 0 if last else following)
        for left, version in enumerate(reversed(versions)):
            text += struct.pack(order + "IHHII", 0, 0, 0, at[version], 16 if left < len(versions) - 1 else 0)
        return text

    needs = library([b"GCC_3.5"], False) + library([b"GLIBC_2.9", b"GLIBC_2.34", b"GLIBC_PRIVATE"], True)
    content = [loader.encode() + b"\0", names, needs]
    start = 64 if wide else 52
    places = [start + sum(map(len, content[:index])) for index in range(4)]
    segment, section = ("IIQQQQQQ", "IIQQQQIIQQ") if wide else ("IIIIIIII", "IIIIIIIIII")
    segments = [
        [1, 0, 0, 0, 0, 0, 0, 0],
        [3, 0, places[0], 0, 0, 0, 0, 0] if wide else [3, places[0], 0, 0, 0, 0, 0, 0],
    ]
    sections = [
        [0, 3, 0, 0, places[1], len(names), 0, 0, 0, 0],
        [0, 0x6FFFFFFE, 0, 0, places[2], len(needs), 0, 2, 0, 0],
    ]
    table = b"".join(struct.pack(order + segment, *one) for one in segments)
    head = struct.pack(
        order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"),
        *(2, machine, 1, 0, places[3], places[3] + len(table), 0, start),
        *(struct.calcsize(order + segment), 2, struct.calcsize(order + section), 2, 0),
    )
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    table += b"".join(struct.pack(order + section, *one) for one in sections)
    path.write_bytes(ident + head + b"".join(content) + table)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("wide", [True, False])
def test_what_a_program_needs(tmp_path: Path, order: str, wide: bool) -> None:
    """2.34 is newer than 2.9."""
    assert made_for(elf(tmp_path / "elf", 183, order, wide)) == MadeFor("aarch64", LOADER, "2.34")


def test_what_is_cut_off_or_unknown(tmp_path: Path) -> None:
    whole = elf(tmp_path / "elf").read_bytes()
    (tmp_path / "half").write_bytes(whole[:100])
    assert made_for(tmp_path / "half") == MadeFor("x86_64")
    assert made_for(elf(tmp_path / "other", 999)).machine == "machine 999"


def test_a_script_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("#!/bin/sh\n")
    assert made_for(tmp_path / "text") == MadeFor(None)
    assert unfit(MadeFor(None), Here("x86_64", "2.36")) == "it is not an ELF program"


def test_this_python_runs_here() -> None:
    assert unfit(made_for(Path(sys.executable)), Here.now()) is None


@pytest.mark.parametrize(
    ("needs", "machine", "why"),
    [
        (MadeFor("x86_64"), "x86_64", None),
        (MadeFor("i386"), "x86_64", None),
        (MadeFor("arm"), "aarch64", None),
        (MadeFor("machine 21"), "ppc64le", None),
        (MadeFor("x86_64"), "aarch64", "built for x86_64, and this host is aarch64"),
        (MadeFor("x86_64", glibc="2.36"), "x86_64", None),
        (MadeFor("x86_64", glibc="2.9"), "x86_64", None),
        (MadeFor("x86_64", glibc="2.38"), "x86_64", "needs glibc 2.38, and this host has 2.36"),
        (
            MadeFor("x86_64", "/nowhere/ld-musl-x86_64.so.1"),
            "x86_64",
            "is not on this host: it is linked with musl",
        ),
    ],
)
def test_a_program_that_does_not_fit_is_told_why(needs: MadeFor, machine: str, why: str | None) -> None:
    said = unfit(needs, Here(machine, "2.36"))
    assert (said is None) == (why is None)
    assert (why or "") in (said or "")


def test_a_host_without_glibc_is_not_judged_by_it() -> None:
    assert unfit(MadeFor("x86_64", glibc="2.38"), Here("x86_64", None)) is None
