# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM with UEFI variables, in the file that QEMU has as its second flash."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from .field import FieldVm, MakeVm
from .guest import wait_for
from .other_users import well
from .planted import Planted

# All of it is seven minutes on a busy machine: `make uefi` runs it, every other run a part.
slow = pytest.mark.skipif("LIMIQUANTIX_KVM_UEFI" not in os.environ, reason="make uefi")
HOME = "/var/lib/libvirt/images/uefi"
FILE = f"{HOME}/uefi1.VARS.fd"
COPY = f"{HOME}/uefi1.nvram.s1.vars"
CODE = f"{HOME}/uefi1.CODE.fd"
SIZE = 128 << 10
BOOT = f"<loader readonly='yes' type='pflash'>{CODE}</loader><nvram>{FILE}</nvram>"


@pytest.fixture(autouse=True)
def home(planted: Planted) -> Iterator[None]:
    planted.host.run(f"rm -rf {HOME}; mkdir -p {HOME}")
    yield
    planted.host.run(f"rm -rf {HOME}")


class UefiVm:
    """A VM with two flashes: the code halts at once, and the variables hold a byte all over."""

    def __init__(self, make_vm: MakeVm, *, start: bool, boot: str = BOOT, made: bool = True) -> None:
        vm: FieldVm = make_vm("uefi1", "vda", directory=HOME, boot=boot)
        self.vm, self.host = vm, vm.host
        self.host.run(f"cp /opt/guest/halt.rom {CODE}")
        if made:
            self.fill(FILE, 1)
            self.host.run(f"chmod 640 {FILE}")
        if start:
            vm.start()
        vm.write("vda", 1)

    def fill(self, file: str, byte: int) -> None:
        code = f"open({file!r}, 'wb').write(bytes([{byte}]) * {SIZE})"
        self.host.run(["python3", "-c", code])

    def write(self, byte: int) -> None:
        """Have the VM write to its variables, or write to their file while it is off."""
        if self.vm.state != "running":
            self.host.run(f"printf '\\{byte:03o}%.0s' $(seq 4096) | dd of={FILE} conv=notrunc status=none")
            return
        # QEMU writes a flash through at once, and does not say when the monitor's command has come so far.
        self.vm.virsh("qemu-monitor-command", "--hmp", f'qemu-io libvirt-pflash1-storage "write -P {byte} 0 4k"')
        wait_for("the variables", lambda: self.holds(byte))

    def take_and_change(self, *, disk: bool = True) -> None:
        """Snapshot s1 holds variables 7 and disk 1; now they are 9 and, where the disk is written to, 2."""
        self.write(7)
        well(self.vm.take("s1"))
        self.write(9)
        if disk:
            self.vm.write("vda", 2)

    def bytes(self, file: str = FILE) -> list[int]:
        """Return its first byte and its last, and how many there are."""
        code = f"b = open({file!r}, 'rb').read(); print([b[0], b[-1], len(b)])"
        found: list[int] = json.loads(self.host.run(["python3", "-c", code]).stdout)
        return found

    def holds(self, byte: int, file: str = FILE) -> bool:
        return self.bytes(file) == [byte, 1, SIZE]

    def copies(self) -> set[str]:
        return {file for file in self.vm.files() if ".nvram." in file or file.startswith(FILE + ".")}

    def access(self, file: str) -> str:
        return self.host.run(["stat", "-c", "%a %U", file]).stdout.strip()


def snapshot(vm: FieldVm, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in vm.info()["snapshots"] if one["name"] == name)
    return found
