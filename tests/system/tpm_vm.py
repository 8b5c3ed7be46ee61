# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM with an emulated TPM, told by a number in the TPM's own memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .field import FieldVm, MakeVm
from .other_users import well
from .planted import Planted
from .uefi_vm import slow, snapshot

__all__ = ("TpmVm", "home", "slow", "snapshot")

HOME = "/var/lib/libvirt/images/tpm"
SWTPM = "/var/lib/libvirt/swtpm"
COPY = f"{SWTPM}/tpm1.tpm.s1.permall"
_NUMBER = "/run/tpm_nv.py"
_LOOK = "/run/tpm_nv.look"


@pytest.fixture(autouse=True)
def home(planted: Planted) -> Iterator[None]:
    if planted.host.run("command -v swtpm_setup", check=False).returncode:
        pytest.skip("Debian 11 has no swtpm; another host has it in the image that dev/lab makes of it now")
    planted.host.put(_NUMBER, Path(__file__).with_name("tpm_nv.py").read_text("utf-8"))
    yield
    planted.host.run(f"rm -rf {HOME} {_LOOK} {SWTPM}/tpm1.*")


class TpmVm:
    """A VM whose TPM holds 1. Nothing in it runs, so the TPM is written to while the VM is off."""

    def __init__(
        self, make_vm: MakeVm, *, start: bool, made: bool = True, version: str = "2.0", within: str = "", at: str = ""
    ) -> None:
        backend = f"<tpm model='tpm-tis'><backend type='emulator' version='{version}'>{within}</backend></tpm>"
        vm: FieldVm = make_vm("tpm1", "vda", directory=HOME, directories=(SWTPM,), devices=backend)
        self.vm, self.host = vm, vm.host
        older = version == "1.2"
        self.directory = at or f"{SWTPM}/{vm.uuid}/{'tpm1.2' if older else 'tpm2'}"
        self.file = f"{self.directory}/{'tpm-00' if older else 'tpm2-00'}.permall"
        if made:
            self.host.run(f"mkdir -p {self.directory} && chmod 711 {SWTPM} && chmod 700 {self.directory}")
            self.write(1)
        if start:
            vm.start()
        vm.write("vda", 1)

    def write(self, number: int) -> None:
        """Write to the TPM of a VM, which is off for that."""
        runs = self.vm.state == "running"
        if runs:
            self.vm.off()
        self.host.run(["python3", _NUMBER, self.directory, str(number)])
        if runs:
            self.vm.start()

    def number(self, copy: str = "") -> int:
        """Return what the TPM holds, or what it would with a ``copy``: a swtpm of its own looks at a directory like the VM's."""
        put = f"cp {copy} {_LOOK}/tpm2-00.permall;" if copy else ""
        looked = f"rm -rf {_LOOK}; cp -a {self.directory} {_LOOK}; {put} python3 {_NUMBER} {_LOOK}"
        return int(self.host.run(looked).stdout)

    def take_and_change(self, *, disk: bool = True) -> None:
        """Snapshot s1 holds the number 7 and disk 1; now they are 9 and, where the disk is written to, 2."""
        self.write(7)
        well(self.vm.take("s1"))
        self.write(9)
        if disk:
            self.vm.write("vda", 2)

    def digest(self, file: str = "") -> str:
        return self.host.run(["sha256sum", file or self.file]).stdout.split()[0]

    def copies(self) -> set[str]:
        return {file for file in self.vm.files() if ".tpm." in file}

    def lying_there(self) -> list[str]:
        """Return what is in the TPM's directory, less swtpm's lock."""
        return self.host.run(["ls", self.directory]).stdout.split()

    def access(self, file: str = "") -> str:
        return self.host.run(["stat", "-c", "%a %U", file or self.file]).stdout.strip()
