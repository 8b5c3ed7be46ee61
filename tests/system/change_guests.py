# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests whose system lies on their disk: who damages it there and boots again has a guest that does not come up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from lab import ssh
from lab.api import Host, host_named
from lab.guest_image import INIT as LAB_INIT
from lab.on_host.domains import GUEST_DISK, INITRAMFS, Disk, Vm

from . import guest

_INITRAMFS = f"{guest.IMAGES}/change-initramfs"
# What the lab's guest does up to the mount of its disk, and then the system on that. An init that ends is a kernel's panic.
# With barriers: a sync of the guest is a flush of QEMU, and only then the image's file has what was written.
_MOUNTED = LAB_INIT.read_text("utf-8").partition("# Never with -F")[0].replace("-o nobarrier", "")
_INIT = f"""{_MOUNTED}
[ -e /data/system ] || {{ busybox cp /system /data/system; busybox sync; }}
exec sh /data/system
"""
_SYSTEM = """\
qemu-ga -m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0 -d
while :; do sleep 3600; done
"""


def make_guests(host: Host, *names: str) -> None:
    """Define and start them, all at once, and wait until their agents answer."""
    _put_initramfs(host)
    for name in names:
        remove_guests(host, name)
        vm = Vm(name, (Disk("vda", kind="guest"),), guest=True, agent=True, memory_mib=192)
        host.run(f"cp {GUEST_DISK} {_image(name)}")
        host.put(f"{guest.IMAGES}/{name}.xml", vm.xml().replace(INITRAMFS, _INITRAMFS))
        host.virsh("define", f"{guest.IMAGES}/{name}.xml")
        host.virsh("start", name)
    for name in names:
        guest.wait_for(f"{name}'s agent", lambda name=name: guest.freeze_status(host, name) == "thawed", 300)


def remove_guests(host: Host, *names: str) -> None:
    """Leave nothing of them."""
    for name in names:
        host.run(["virsh", "destroy", name], check=False)
        uuid = host.run(["virsh", "domuuid", name], check=False).stdout.strip()
        host.run(["virsh", "undefine", name, "--snapshots-metadata"], check=False)
        record = f" /var/lib/limiquantix-kvm/{uuid}*" if uuid else ""
        host.run(f"rm -rf {guest.IMAGES}/{name}.*{record}")


def number_on_disk(host: Host, name: str) -> str:
    """Return what the file `sequence` holds in the image that the VM has now, with all that backs it."""
    image = host.run(f"virsh domblklist {name} | awk '$1 == \"vda\" {{print $2}}'").stdout.strip()
    raw = f"{guest.IMAGES}/{name}.look"
    shown = host.run(
        f"qemu-img convert -U -f qcow2 -O raw '{image}' {raw} && debugfs -R 'cat /sequence' {raw} 2>/dev/null; rm -f {raw}"
    )
    return shown.stdout.strip()


def layers(host: Host, name: str) -> Sequence[str]:
    """Return the images beside the VM's first one."""
    return host.run(
        f"cd {guest.IMAGES} && ls {name}.* | grep -v '[.]xml$\\|^{name}.qcow2$'", check=False
    ).stdout.split()


def _image(name: str) -> str:
    return f"{guest.IMAGES}/{name}.qcow2"


def _put_initramfs(host: Host) -> None:
    """The lab's with another init: of several archives the last has the last word."""
    with TemporaryDirectory() as folder:
        for file, text in (("init", _INIT), ("system", _SYSTEM)):
            Path(folder, file).write_text(text, "utf-8")
            Path(folder, file).chmod(0o755)
        command = ["cpio", "--create", "--format=newc", "--owner=0:0", "--quiet", f"--directory={folder}"]
        archive = subprocess.run(command, input=b"init\nsystem\n", capture_output=True, check=True).stdout
    words = [*ssh.command(host.name), f"cat {INITRAMFS} - > {_INITRAMFS}"]
    subprocess.run(words, input=archive, check=True, timeout=60)


def main() -> None:
    """Make or remove guests for molecule's scenario guarded_change: ``make HOST NAME,NAME``."""
    work = {"make": make_guests, "remove": remove_guests}[sys.argv[1]]
    host = host_named(sys.argv[2])
    if host is None:
        raise SystemExit(f"{sys.argv[2]} is not up; start it with: dev/lab/lab up")
    work(host, *sys.argv[3].split(","))


if __name__ == "__main__":
    main()
