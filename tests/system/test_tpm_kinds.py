# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TPMs of every kind, and wherever libvirt keeps their states: each comes back, or is told to be left out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .field import MakeVm, agreed, make_vm
from .other_users import well
from .planted import Planted, planted
from .tpm_vm import COPY, HOME, SWTPM, TpmVm, home, slow

__all__ = ("home", "make_vm", "planted")


@pytest.fixture
def secret(planted: Planted) -> Iterator[str]:
    uuid = "5b1c6a2f-6f6b-4f3e-9a39-1f0f2c8f7d11"
    usage = "<usage type='vtpm'><name>tpm1</name></usage>"
    planted.host.put("/run/secret.xml", f"<secret private='yes'><uuid>{uuid}</uuid>{usage}</secret>")
    planted.host.virsh("secret-define", "/run/secret.xml")
    planted.host.run(f"virsh secret-set-value {uuid} $(printf letmein | base64)")
    yield uuid
    planted.host.run(f"virsh secret-undefine {uuid}; rm -rf {SWTPM}/tpm1.*")


@slow
def test_a_copy_outlives_the_directory_that_libvirt_deletes(make_vm: MakeVm) -> None:
    tpm = TpmVm(make_vm, start=False)
    vm = tpm.vm
    well(vm.take("s1"))
    vm.start()
    assert tpm.access(COPY) == "600 root", "libvirt gives swtpm's user all that is in the TPM's directory"
    vm.off()
    vm.virsh("undefine", "--snapshots-metadata")
    assert tpm.host.run(["ls", tpm.directory], check=False).returncode
    assert tpm.copies() == {COPY}


@slow
def test_an_older_tpm_and_an_encrypted_one_come_back(make_vm: MakeVm, secret: str) -> None:
    """What is in them nobody sees from outside: what libvirt has made of it comes back byte for byte, and swtpm takes it."""
    for words in ({"version": "1.2"}, {"within": f"<encryption secret='{secret}'/>"}):
        tpm = TpmVm(make_vm, start=False, made=False, **words)
        vm = tpm.vm
        vm.start()
        well(agreed(vm.take, "s1")[1])
        digest = tpm.digest(COPY)
        vm.off()
        vm.write("vda", 2)
        tpm.host.run(f"echo no > {tpm.file}")
        assert tpm.host.run(["virsh", "start", vm.name], check=False).returncode
        well(agreed(vm.revert, "s1")[1])
        assert (tpm.digest(), vm.disk_reads("vda", 1)) == (digest, True)
        vm.start()
        vm.off()
        assert COPY in well(agreed(vm.remove, "s1")[1])["files_removed"]
        vm.wipe()


@slow
def test_a_state_may_lie_in_another_directory(make_vm: MakeVm, planted: Planted) -> None:
    """Libvirt knows this element since 10.10."""
    _new_enough(planted)
    tpm = TpmVm(make_vm, start=True, within=f"<source type='dir' path='{HOME}/tpm1'/>", at=f"{HOME}/tpm1")
    vm, copy = tpm.vm, f"{HOME}/tpm1.tpm.s1.permall"
    tpm.write(7)
    entry = well(agreed(vm.take, "s1")[1])
    assert (entry["snapshot"]["tpm"], tpm.number(copy)) == (copy, 7)
    tpm.write(9)
    vm.write("vda", 2)
    well(agreed(vm.revert, "s1")[1])
    assert (tpm.number(), vm.disk_reads("vda", 1), tpm.lying_there()) == (7, True, ["tpm2-00.permall"])
    assert copy in well(agreed(vm.remove, "s1")[1])["files_removed"]


@slow
def test_one_file_for_all_states_is_copied_while_the_vm_is_off(make_vm: MakeVm, planted: Planted) -> None:
    _new_enough(planted)
    file, copy = f"{HOME}/states/all", f"{HOME}/states/tpm1.tpm.s1.permall"
    planted.host.run(f"mkdir -p {HOME}/states && chown tss: {HOME}/states")  # whose user makes it
    tpm = TpmVm(make_vm, start=False, made=False, within=f"<source type='file' path='{file}'/>")
    vm = tpm.vm
    vm.start()
    vm.off()
    entry = well(agreed(vm.take, "s1")[1])
    digest = tpm.digest(copy)
    assert (entry["snapshot"]["tpm"], tpm.digest(file)) == (copy, digest)
    vm.write("vda", 2)
    tpm.host.run(f"echo no > {file}")
    well(agreed(vm.revert, "s1")[1])
    assert (tpm.digest(file), vm.disk_reads("vda", 1)) == (digest, True)
    vm.start()
    entry = well(agreed(vm.take, "s2")[1])
    assert (entry["snapshot"]["tpm"], vm.state) == (None, "running")
    assert any("all states" in one["reason"] for one in entry["snapshot"]["left_out"] if one["target"] == "tpm")


def _new_enough(planted: Planted) -> None:
    if tuple(map(int, planted.host.libvirt_version.split(".")[:2])) < (10, 10):
        pytest.skip("libvirt 10.10")
