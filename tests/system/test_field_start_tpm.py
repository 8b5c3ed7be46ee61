# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM with a TPM whose program was removed from its host does not start: that is seen before anything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .field import MakeVm, make_vm
from .planted import Planted, only, planted
from .ready_vm import refused, snapshot, well

__all__ = ("make_vm", "planted")

HOME = "/srv/more"  # nothing of these VMs lies anywhere else
PLANTED = "/usr/local/bin/swtpm"
FEATURES = '{"type":"swtpm_setup","features":["tpm-1.2","tpm-2.0","tpm12-not-need-root"],"version":"0.7.0"}'
# Debian's own programs are put aside, and those that pass for them go.
NO_SWTPM = f"rm -f {PLANTED}*; for one in /usr/bin/swtpm*; do mv $one /usr/bin/away-${{one##*/}}; done 2>/dev/null"
BACK = f"rm -f {PLANTED}*; for one in /usr/bin/away-swtpm*; do mv $one /usr/bin/${{one##*/away-}}; done 2>/dev/null"
TPM = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"


@pytest.fixture
def swtpm(planted: Planted) -> Iterator[None]:
    """Debian's swtpm, or something that passes for it: without one libvirt defines no VM with a TPM."""
    planted.host.run(f"rm -rf {HOME}; mkdir -p {HOME}; chmod 755 {HOME}")
    if planted.host.run("command -v swtpm", check=False).returncode:
        for end in ("", "_setup", "_ioctl"):
            planted.host.put(f"{PLANTED}{end}", f"#!/bin/sh\necho '{FEATURES}'\n")
        planted.host.run(f"chmod 755 {PLANTED}*")
    yield
    planted.host.run(f"virsh destroy more2; {BACK}; rm -rf {HOME}", check=False)


@pytest.mark.usefixtures("swtpm")
def test_a_program_that_was_removed(make_vm: MakeVm, planted: Planted) -> None:
    vm = snapshot(make_vm("more2", directory=HOME, devices=TPM), disks=["vda"])
    planted.host.run(NO_SWTPM, check=False)
    assert planted.host.run(["virsh", "start", "more2"], check=False).returncode
    for action, options in ((vm.revert, {"power": "running"}), (vm.revert, {}), (vm.remove, {})):
        assert "needs the program swtpm" in refused(vm, "missing_library", action, "s1", **options)["msg"]


@pytest.mark.usefixtures("swtpm")
def test_a_definition_that_libvirt_takes_no_more(make_vm: MakeVm, planted: Planted) -> None:
    """It runs without that device, which was added for its next start."""
    vm = snapshot(make_vm("more2", directory=HOME, start=True), disks=["vda"])
    vm.redefine("<memballoon", f"{TPM}<memballoon")
    planted.host.run(NO_SWTPM, check=False)
    fault = (
        "from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.starting import can_start\n"
    )
    fault += "can_start.emulated_tpm = lambda *_words: ''"  # whatever else there is that only a definition tells
    entry = only(planted.revert(fault, "more2", "s1"))
    assert (entry["error_code"], vm.state, vm.disk_reads("vda", 42)) == ("libvirt_error", "running", True), entry["msg"]
    assert "Nothing was changed, and the VM was not stopped" in entry["msg"]
    assert well(vm.take("s2", disks=["vda"]))["recovered"] is None
