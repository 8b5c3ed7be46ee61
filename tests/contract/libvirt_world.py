# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor of the lab as a world: its virsh, its qemu-img, its files."""

from __future__ import annotations

import io
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lab import ssh
from lab.api import Host, reset_vm

from contract.world import _DRIVER, IMAGES, ROOT, Driver, World


class LibvirtWorld(World):
    """One hypervisor of the lab."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self.name = host.name
        self.invtsc = host.invtsc
        self.tpm = host.run("command -v swtpm_setup", check=False).returncode == 0
        self.host = host
        self.home = host.run("mktemp -d /run/limiquantix-kvm.XXXXXX").stdout.strip()
        host.run(["chmod", "755", self.home])
        command = [*ssh.command(host.name), f"tar -x -C {self.home}"]
        subprocess.run(command, input=_collection(), check=True)

    def driver(self) -> Driver:
        command = f"PYTHONPATH={self.home} exec python3 {self.home}/{_DRIVER.name}"
        return Driver([*ssh.command(self.host.name), command], {"backend": "libvirt", "uri": "qemu:///system"})

    def close(self) -> None:
        super().close()
        self.host.run(f"rm -rf {self.home}")

    def reset(self, *vms: str) -> None:
        reset_vm(self.host, *vms)

    def state(self, vm: str) -> str:
        return self.host.virsh("domstate", vm).strip().replace(" ", "")

    def pause(self, vm: str) -> None:
        self.host.virsh("suspend", vm)

    def make_transient(self, vm: str) -> None:
        self.host.virsh("undefine", vm)

    def start_block_job(self, vm: str, target: str) -> None:
        copy = f"{IMAGES}/{vm}-copy.qcow2"
        self.host.virsh("blockcopy", vm, target, copy, "--transient-job", "--format", "qcow2")

    def branch(self, vm: str) -> None:
        for name in ("s1", "s2"):  # inside the image: every libvirt goes back to such a one
            self.host.virsh("snapshot-create-as", vm, name)
        self.host.virsh("snapshot-revert", vm, "s1")

    def take_anew(self, vm: str, name: str) -> None:
        self.host.virsh("snapshot-delete", vm, name, "--metadata")
        time.sleep(1.1)  # snapshots of one second cannot be told apart
        overlay = f"vda,file={IMAGES}/{vm}-by-hand-{name}"
        self.host.virsh("snapshot-create-as", vm, name, "by hand", "--disk-only", "--diskspec", overlay)

    def take_outside(self, vm: str, name: str) -> None:
        others = [disk["target"] for disk in self.info(vm)["chains"] if disk["target"] != "vda"]
        specs = [f"vda,file={IMAGES}/{vm}-outside-{name}", *(f"{target},snapshot=no" for target in others)]
        options = [word for spec in specs for word in ("--diskspec", spec)]
        self.host.virsh("snapshot-create-as", vm, name, "by hand", "--disk-only", *options)

    def take_inside(self, vm: str, name: str) -> None:
        self.host.virsh("snapshot-create-as", vm, name, "by hand")

    def power_off(self, vm: str) -> None:
        self.host.virsh("destroy", vm)

    def write(self, path: str) -> None:
        self.host.run(["qemu-io", "-f", "qcow2", "-c", "write -P 7 0 64k", path])

    def spoil(self, path: str) -> None:
        self.write(path)

    def fingerprint(self, path: str) -> str:
        return self.host.run(["sha256sum", path]).stdout.split()[0]

    def build_upon(self, vm: str, path: str) -> str:
        overlay = f"{IMAGES}/{vm}-clone.qcow2"
        self.host.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", path, "-F", "qcow2", overlay])
        return overlay

    def attach_disk(self, vm: str, target: str) -> None:
        path = f"{IMAGES}/{vm}-{target}.qcow2"
        self.host.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1M"])
        options = ["--driver", "qemu", "--subdriver", "qcow2", "--config"]
        live = ["--live"] if self.state(vm) == "running" else []
        self.host.virsh("attach-disk", vm, path, target, *options, *live)

    def detach_disk(self, vm: str, target: str) -> None:
        self.host.virsh("detach-disk", vm, target, "--config")

    def add_tpm(self, vm: str) -> str:
        tpm = "<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm></devices>"
        self.host.put("/run/with-tpm.xml", self.host.virsh("dumpxml", vm, "--inactive").replace("</devices>", tpm))
        self.host.virsh("define", "/run/with-tpm.xml")
        path = f"/var/lib/libvirt/swtpm/{self.host.virsh('domuuid', vm).strip()}/tpm2/tpm2-00.permall"
        self.host.run(f"mkdir -p $(dirname {path})")
        self._fill_tpm(path, "one")
        return path

    def use_tpm(self, path: str) -> None:
        self._fill_tpm(path, "another")

    def _fill_tpm(self, path: str, content: str) -> None:
        """Write what swtpm's own files begin with, a header with the length of all; no VM is started with it."""
        header = f"struct.pack('>BBHHI', 2, 1, 10, 0, {10 + len(content)})"
        self.host.run(["python3", "-c", f"import struct; open({path!r}, 'wb').write({header} + {content.encode()!r})"])

    def save_memory(self, vm: str) -> None:
        self.host.virsh("managedsave", vm)

    def interrupt(self, vm: str, kind: str, snapshot: str) -> None:
        self._ask("plant", vm=vm, kind=kind, snapshot=snapshot, power="shutoff" if kind == "revert" else "")

    def files(self, vm: str) -> list[str]:
        return self.host.run(f"ls -d {IMAGES}/{vm}*").stdout.split()

    def remove_file(self, path: str) -> None:
        self.host.run(["rm", path])

    @contextmanager
    def directory(self, kind: str) -> Iterator[str]:
        path = f"{IMAGES}/contract-{kind}"
        options = {"read_only": "ro,size=64m", "full": "size=1m"}.get(kind)
        if kind != "missing":
            self.host.run(["mkdir", "-p", path])
        if options:
            self.host.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path])
        yield path
        if options:
            self.host.run(["umount", path])
        if kind != "missing":
            self.host.run(["rm", "-rf", path])


def _collection() -> bytes:
    """Pack what runs on a hypervisor."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(
            ROOT / "plugins/module_utils",
            "ansible_collections/limiquantix/kvm/plugins/module_utils",
            filter=lambda entry: None if "__pycache__" in entry.name else entry,
        )
        archive.add(_DRIVER, _DRIVER.name)
    return buffer.getvalue()
