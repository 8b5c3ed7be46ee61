"""The hosts' root folders, one per Debian suite and init; hosts run on an overlay and never change them."""

from __future__ import annotations

import shutil
from pathlib import Path

from .builds import cached, recipe_hash
from .commands import run, run_or_die_with_us
from .host_table import HostSpec
from .packages import debian_mirror
from .paths import SOURCES

PACKAGES = (
    "openssh-server",
    "python3",
    "python3-libvirt",
    "python3-lxml",
    "libvirt-daemon-system",
    "libvirt-clients",
    "qemu-system-x86",
    "qemu-utils",  # qemu-img and qemu-io
    "e2fsprogs",  # debugfs reads files out of a guest's disk
    "iproute2",
    "procps",
    "ca-certificates",
)
SWTPM_PACKAGES = ("swtpm", "swtpm-tools")  # what libvirt runs as a VM's TPM; Debian 11 has none
METAL_PACKAGES = ("linux-image-cloud-amd64", "initramfs-tools", "lz4", "apparmor", "udev", "kmod")
CUSTOMIZE = SOURCES / "image" / "customize.sh"
CUSTOMIZE_METAL = SOURCES / "image" / "machine.sh"
METAL_DISK = "disk.raw"
METAL_GIB = 8  # sparse


def host_image(spec: HostSpec) -> Path:
    """The folder with a host's root tree, or of one that is a machine with its disk, `vmlinuz` and `initrd.img`."""
    swtpm = () if spec.suite == "bullseye" else SWTPM_PACKAGES
    include = ",".join([*spec.init, *PACKAGES, *swtpm, *(METAL_PACKAGES if spec.metal else ())])
    hooks = [CUSTOMIZE, *([CUSTOMIZE_METAL] if spec.metal else [])]

    def build(folder: Path) -> None:
        # Given as a command of its own folder: mmdebstrap calls it with the root folder as its argument.
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={include}"]
        # That of a suite under way may be a week old on a mirror.
        command += ['--aptopt=Acquire::Check-Valid-Until "false"']
        command += [*(f"--customize-hook={hook}" for hook in hooks), spec.suite, str(folder), *debian_mirror()]
        run_or_die_with_us(command)

    def build_metal(folder: Path) -> None:
        tree = folder / "tree"
        build(tree)
        for name in ("vmlinuz", "initrd.img"):
            shutil.copy(tree / name, folder / name)  # Debian's links to the newest kernel
        disk = folder / METAL_DISK
        with disk.open("wb") as file:
            file.truncate(METAL_GIB << 30)
        run(["mkfs.ext4", "-q", "-F", "-d", str(tree), str(disk)])
        shutil.rmtree(tree)

    texts = [spec.suite, include, *([str(METAL_GIB)] if spec.metal else [])]
    return cached(f"host-{spec.image}", recipe_hash(texts, hooks), build_metal if spec.metal else build)
