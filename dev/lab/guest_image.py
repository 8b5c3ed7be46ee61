"""The guest: a kernel, an initramfs with busybox, qemu-ga and a writer, and an ext4 disk. A few MB, up in seconds."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from .builds import cached, recipe_hash
from .commands import run, run_or_die_with_us
from .packages import debian_mirror
from .paths import SOURCES

SUITE = "bookworm"
PACKAGES = "busybox-static,qemu-guest-agent,perl-base,linux-image-cloud-amd64"
# In the order in which the guest's init loads them (ext4 is part of the kernel).
MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
)
APPLETS = ("sh", "mount", "mkdir", "insmod", "ln", "cat", "sleep")
PROGRAMS = ("usr/bin/perl", "usr/sbin/qemu-ga")
STRICT = "usr/lib/x86_64-linux-gnu/perl-base/strict.pm"
INIT = SOURCES / "guest" / "init"
WRITER = SOURCES / "guest" / "writer.pl"
DISK_MIB = 256
# At the processor's first instruction, 16 bytes below the end: no interrupts (cli), halt, and again should it ever go on.
HALT = b"\xfa\xf4\xeb\xfd".ljust(16, b"\0").rjust(64 << 10, b"\0")


def guest_image() -> Path:
    """The folder with `vmlinuz`, `initramfs`, `data.qcow2`, and `halt.rom` for VMs without a system."""
    recipe = recipe_hash([SUITE, PACKAGES, str(DISK_MIB)], [INIT, WRITER, Path(__file__)])
    return cached("guest", recipe, _build)


def _build(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        debian, tree = Path(scratch, "debian"), Path(scratch, "tree")
        # "extract" unpacks packages without configuring them: five seconds, and no initramfs of Debian's own.
        command = ["mmdebstrap", "--quiet", "--variant=extract", f"--include={PACKAGES}", SUITE, str(debian)]
        run_or_die_with_us([*command, *debian_mirror()])
        shutil.copy(next(debian.glob("boot/vmlinuz-*")), folder / "vmlinuz")
        _fill_tree(debian, tree)
        _pack(tree, folder / "initramfs")
        _data_disk(Path(scratch), folder / "data.qcow2")
    (folder / "halt.rom").write_bytes(HALT)


def _fill_tree(debian: Path, tree: Path) -> None:
    for empty in ("proc", "sys", "dev", "run", "data", "tmp", "bin", "modules", "var"):
        (tree / empty).mkdir(parents=True)
    (tree / "var/run").symlink_to("/run")
    shutil.copy(debian / "bin/busybox", tree / "bin/busybox")
    for applet in APPLETS:
        (tree / "bin" / applet).symlink_to("busybox")
    (tree / "sbin").mkdir()
    (tree / "sbin/hwclock").symlink_to("/bin/busybox")  # without it qemu-ga does not set the time
    for program in PROGRAMS:
        for path in [program, *_libraries(debian, program)]:
            _copy(debian, tree, path)
    _copy(debian, tree, STRICT)
    for position, module in enumerate(MODULES):
        found = next(debian.glob(f"lib/modules/*/kernel/**/{module}.ko"))
        shutil.copy(found, tree / "modules" / f"{position}-{module}.ko")
    shutil.copy(INIT, tree / "init")
    shutil.copy(WRITER, tree / "writer.pl")
    (tree / "init").chmod(0o755)


def _libraries(debian: Path, program: str) -> list[str]:
    """What the program's own loader, in its own tree, says it needs."""
    listing = run(["chroot", str(debian), "/lib64/ld-linux-x86-64.so.2", "--list", f"/{program}"]).stdout
    return re.findall(r"(?:=> |^\s+)/(\S+) \(0x", listing, re.MULTILINE)


def _copy(debian: Path, tree: Path, path: str) -> None:
    (tree / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(debian / path, tree / path)


def _pack(tree: Path, archive: Path) -> None:
    """Not compressed: unpacking costs an emulated processor more than loading a few more MB."""
    names = "".join(f"{path.relative_to(tree)}\n" for path in sorted(tree.rglob("*")))
    options = ["--create", "--format=newc", "--owner=0:0", "--quiet", f"--directory={tree}", f"--file={archive}"]
    run(["cpio", *options], stdin=names)


def _data_disk(scratch: Path, disk: Path) -> None:
    raw, content = scratch / "data.raw", scratch / "content"
    with raw.open("wb") as file:
        file.truncate(DISK_MIB << 20)
    # The writer's file is there from the start and keeps its one block: so debugfs, which does not replay the journal,
    # reads the newest number from a disk whose guest is running or was killed.
    content.mkdir()
    (content / "sequence").write_text(f"{0:012}\n")
    features = ["-E", "lazy_itable_init=0,lazy_journal_init=0", "-J", "size=4"]
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "data", *features, "-d", str(content), str(raw)])
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(disk)])
