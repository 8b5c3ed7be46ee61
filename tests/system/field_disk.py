# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk of a test's own VM, and its image."""

from __future__ import annotations

from dataclasses import dataclass

from lab.api import Host


@dataclass(frozen=True)
class Disk:
    """A disk of a `FieldVm`, with a new image.

    ``file`` "" is NAME.qcow2 for vda and NAME-TARGET.qcow2 for others in the VM's directory; ``size`` "" makes no image;
    with ``backing`` the image is an overlay on that one. ``attributes`` are put into the tag <disk>, ``inside`` within the
    element; ``xml`` is the whole element instead, whose image is made all the same where ``file`` says which.
    """

    target: str
    file: str = ""
    format: str = "qcow2"
    size: str = "64M"
    backing: str = ""
    backing_format: str = "qcow2"
    attributes: str = ""
    inside: str = ""
    xml: str = ""

    def path(self, vm: str, directory: str) -> str:
        suffix = "raw" if self.format == "raw" else "qcow2"
        own = f"{vm}.{suffix}" if self.target == "vda" else f"{vm}-{self.target}.{suffix}"
        return self.file or f"{directory}/{own}"

    def element(self, file: str) -> str:
        return (
            self.xml
            or f"""
    <disk type='file' device='disk' {self.attributes}>
      <driver name='qemu' type='{self.format}'/>
      <source file='{file}'/>
      <target dev='{self.target}' bus='virtio'/>{self.inside}
    </disk>"""
        )


def create_image(
    host: Host,
    file: str,
    image_format: str = "qcow2",
    *,
    size: str = "64M",
    backing: str = "",
    backing_format: str = "qcow2",
) -> str:
    """Make an image, with ``backing`` an overlay on that one and as large; return its path."""
    below = ["-b", backing, "-F", backing_format] if backing else []
    host.run(["mkdir", "-p", file.rpartition("/")[0]])
    host.run(["qemu-img", "create", "-q", "-f", image_format, *below, file, *([] if backing else [size])])
    return file
