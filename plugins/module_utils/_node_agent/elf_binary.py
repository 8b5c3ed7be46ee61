# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a program is made for, as its ELF file says, and whether a host can run that."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

_MACHINES = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}  # e_machine
_RUNS = {  # by what uname calls a host; of others nothing is foretold
    "x86_64": {"x86_64", "i386"},
    "i686": {"i386"},
    "aarch64": {"aarch64", "arm"},
    "armv7l": {"arm"},
    "riscv64": {"riscv64"},
}
_PT_INTERP = 3
_SHT_GNU_VERNEED = 0x6FFFFFFE


@dataclass(frozen=True)
class MadeFor:
    """What a program needs of a host; all of it None where the file is no ELF program."""

    machine: Optional[str]
    interpreter: Optional[str] = None  # the loader of its libc; None where it is linked statically
    glibc: Optional[str] = None  # the oldest version that will do; None where it needs none

    def to_result(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Here:
    """What a host has."""

    machine: str
    glibc: Optional[str]

    @classmethod
    def now(cls) -> Here:
        try:
            name = os.confstr("CS_GNU_LIBC_VERSION") or ""
        except (OSError, ValueError):  # not the libc of GNU
            name = ""
        return cls(os.uname().machine, name.rpartition(" ")[2] or None)


def unfit(made_for: MadeFor, here: Here) -> Optional[str]:
    """Return why this host cannot run it; None where it can, or where only trying would tell."""
    if made_for.machine is None:
        return "it is not an ELF program"
    if made_for.machine in _MACHINES.values() and made_for.machine not in _RUNS.get(here.machine, {made_for.machine}):
        return f"it is built for {made_for.machine}, and this host is {here.machine}"
    if made_for.interpreter and not Path(made_for.interpreter).exists():
        return (
            f"its loader {made_for.interpreter} is not on this host: "
            "it is linked with musl and the host has glibc, or the other way round"
        )
    if made_for.glibc and here.glibc and _numbers(made_for.glibc) > _numbers(here.glibc):
        return f"it needs glibc {made_for.glibc}, and this host has {here.glibc}"
    return None


def made_for(program: Path) -> MadeFor:
    """Read it off the file."""
    content = program.read_bytes()
    if len(content) < 20 or content[:4] != b"\x7fELF":
        return MadeFor(None)
    order = "<" if content[5] == 1 else ">"
    (number,) = struct.unpack_from(f"{order}H", content, 18)
    machine = _MACHINES.get(number, f"machine {number}")
    try:
        elf = _Elf(content, order, wide=content[4] == 2)
        return MadeFor(machine, elf.interpreter(), elf.glibc())
    except (struct.error, ValueError, IndexError):  # cut off, or made by no compiler: the machine is known all the same
        return MadeFor(machine)


@dataclass(frozen=True)
class _Elf:
    content: bytes
    order: str
    wide: bool  # of 64 bits

    def interpreter(self) -> Optional[str]:
        for header in self._table("IIQQQQQQ" if self.wide else "IIIIIIII", at=4, of=8):
            if header[0] == _PT_INTERP:
                return self._text(header[2 if self.wide else 1])
        return None

    def glibc(self) -> Optional[str]:
        sections = list(self._table("IIQQQQIIQQ" if self.wide else "IIIIIIIIII", at=5, of=10))
        needed = [
            name[len("GLIBC_") :]
            for section in sections
            if section[1] == _SHT_GNU_VERNEED
            for name in self._versions(section[4], sections[section[6]][4])
            if re.fullmatch(r"GLIBC_[0-9.]+", name)
        ]
        return max(needed, key=_numbers, default=None)

    def _table(self, entry: str, at: int, of: int) -> Iterator[tuple[int, ...]]:
        """Return a table's entries; the ELF header says where it is, how long an entry is, and how many there are."""
        header = self._unpack("HHIQQQIHHHHHH" if self.wide else "HHIIIIIHHHHHH", 16)
        size, number = header[of], header[of + 1]
        for index in range(number):
            yield self._unpack(entry, header[at] + index * size)

    def _versions(self, offset: int, names: int) -> Iterator[str]:
        """Return the versions of symbols that libraries must have."""
        following = 1
        while following:
            _version, number, _file, first, following = self._unpack("HHIII", offset)
            there = offset + first
            for _index in range(number):
                _hash, _flags, _other, name, step = self._unpack("IHHII", there)
                yield self._text(names + name)
                there += step
            offset += following

    def _unpack(self, entry: str, offset: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + entry, self.content, offset)

    def _text(self, offset: int) -> str:
        return self.content[offset : self.content.index(b"\0", offset)].decode("utf-8", errors="replace")


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall("[0-9]+", version)]
