"""The hosts' root folders, one per Debian suite and init; hosts run on an overlay and never change them."""

from __future__ import annotations

from pathlib import Path

from .builds import cached, recipe_hash
from .commands import run_or_die_with_us
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
CUSTOMIZE = SOURCES / "image" / "customize.sh"


def host_image(spec: HostSpec) -> Path:
    include = ",".join([*spec.init, *PACKAGES])

    def build(folder: Path) -> None:
        # Given as a command of its own folder: mmdebstrap calls it with the root folder as its argument.
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={include}"]
        command += [f"--customize-hook={CUSTOMIZE}", spec.suite, str(folder), *debian_mirror()]
        run_or_die_with_us(command)

    return cached(f"host-{spec.image}", recipe_hash([spec.suite, include], [CUSTOMIZE]), build)
