"""A host that is a machine of its own: Debian's kernel, booted by a QEMU that emulates it, on a disk whose power can be cut."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Optional

from . import network, processes
from .commands import run
from .host_table import HostSpec
from .images import METAL_DISK
from .paths import ETC_HOSTS, PUBLIC_KEY, host_disks, host_run

QEMU = "qemu-system-x86_64"
SECONDS_TO_BOOT = 900  # on a quiet machine 60; on a busy one 9 minutes were seen
MEMORY_MIB = 2048


def process(spec: HostSpec) -> Optional[int]:
    """Its QEMU, known by the name that was given to it."""
    for pid in processes.everyone():
        words = processes.command_line(pid)
        if words[0].endswith(QEMU) and network.namespace(spec) in words:
            return pid
    return None


def make(spec: HostSpec, image: Path, guest: Path) -> None:
    """A new disk for it, and what it is given at its first boot."""
    backing = image / METAL_DISK
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(backing), "-F", "raw", str(_disk(spec))])
    with tarfile.open(_given(spec), "w") as archive:
        _add(archive, PUBLIC_KEY, "root/.ssh/authorized_keys", 0o600)
        _add(archive, ETC_HOSTS, "etc/hosts", 0o644)
        for file in sorted(guest.iterdir()):
            _add(archive, file, f"opt/guest/{file.name}", 0o644)


def power_on(spec: HostSpec, image: Path) -> None:
    """Boot it, from the disk as that is."""
    network.attach_tap(spec)
    # A session of its own: neither the end of `lab up` nor a Ctrl-C at its terminal reaches the host.
    with (host_run(spec.name) / "console.log").open("ab") as console:
        subprocess.Popen(
            _qemu(spec, image),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def power_off(spec: HostSpec) -> None:
    """Cut its power: what its kernel had not written yet is gone."""
    pid = process(spec)
    if pid is not None:
        processes.kill([pid])
        processes.wait_gone([pid], 10)
    network.detach(spec)


def put_scripts(ssh: list[str], scripts: Path) -> None:
    """A container sees the folder itself; a machine gets a copy."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for file in sorted(scripts.glob("*.py")):
            _add(tar, file, file.name, 0o644)
    unpack = "mkdir -p /opt/lab && tar -xf - -C /opt/lab"
    subprocess.run([*ssh, unpack], input=archive.getvalue(), check=True, capture_output=True, timeout=60)


def _disk(spec: HostSpec) -> Path:
    return host_disks(spec.name) / "machine.qcow2"


def _given(spec: HostSpec) -> Path:
    return host_disks(spec.name) / "given.tar"


def _add(archive: tarfile.TarFile, source: Path, name: str, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = source.stat().st_size, mode
    with source.open("rb") as file:
        archive.addfile(entry, file)


def _qemu(spec: HostSpec, image: Path) -> list[str]:
    gateway = network.GATEWAY.partition("/")[0]
    kernel = ["root=/dev/vda", "rw", "console=ttyS0", "net.ifnames=0", "mitigations=off", "quiet"]
    kernel += [f"ip={spec.address}::{gateway}:255.255.255.0:{spec.name}:eth0:off", f"systemd.hostname={spec.name}"]
    command = [QEMU, "-name", network.namespace(spec), "-nodefaults", "-no-user-config", "-display", "none"]
    command += ["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(MEMORY_MIB)]
    command += ["-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd.img"), "-append", " ".join(kernel)]
    # What the machine flushes is on this machine's disk: never cache=unsafe, and a cut power is told from a reset.
    command += ["-drive", f"file={_disk(spec)},format=qcow2,if=virtio,cache=writeback"]
    command += ["-drive", f"file={_given(spec)},format=raw,if=virtio,readonly=on"]
    command += ["-netdev", f"tap,id=lab,ifname={network.link(spec)},script=no,downscript=no"]
    command += ["-device", f"virtio-net-pci,netdev=lab,mac=52:54:00:77:00:{spec.number:02x}"]
    return [*command, "-device", "virtio-rng-pci", "-serial", "stdio"]
