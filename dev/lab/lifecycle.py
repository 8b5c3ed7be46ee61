"""The lab as a whole: up, down, one at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from . import hosts, inventory, network, packages, ssh
from .commands import LabError
from .guest_image import guest_image
from .host_table import HOSTS, HostSpec
from .images import host_image
from .paths import INVENTORY, RUN, cache, host_run


@contextmanager
def alone() -> Iterator[None]:
    """One `lab` at a time changes things. The lock is on the folder /run itself: a lock file would be left behind."""
    folder = os.open("/run", os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another lab command to finish", flush=True)
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def up(specs: Sequence[HostSpec]) -> None:
    packages.install_missing(*(packages.NEEDED_FOR_METAL if any(spec.metal for spec in specs) else ()))
    guest, images = build_images(specs)
    started = time.monotonic()
    RUN.mkdir(exist_ok=True)
    ssh.prepare()
    hosts.write_etc_hosts()
    hosts.open_kvm()
    network.bridge_up()

    def bring(spec: HostSpec) -> str:
        hosts.ensure(spec, images[spec], guest)
        answered = time.monotonic() - started
        hosts.note_facts(spec, hosts.on_host(spec, "ensure"))
        return f"{spec.name}: answered after {answered:.1f} s, VMs ready after {time.monotonic() - started:.1f} s"

    with ThreadPoolExecutor(len(specs)) as pool:
        for line in pool.map(bring, specs):
            print(line, flush=True)
    inventory.write()
    print(f"inventory: {INVENTORY}")


def build_images(specs: Sequence[HostSpec]) -> tuple[Path, dict[HostSpec, Path]]:
    """All at once: a build waits for the network or for dpkg most of the time."""
    with ThreadPoolExecutor() as pool:
        guest = pool.submit(guest_image)
        images = {image: pool.submit(host_image, spec) for image, spec in {s.image: s for s in specs}.items()}
        return guest.result(), {spec: images[spec.image].result() for spec in specs}


def down(specs: Sequence[HostSpec] = HOSTS) -> None:
    """Nothing is left but the cached images; also after a start that was cut short, also when nothing runs."""
    for spec in specs:
        hosts.stop(spec)
    if len(specs) < len(HOSTS):
        if RUN.is_dir():
            inventory.write()
        return
    ssh.disconnect()
    network.bridge_down()
    shutil.rmtree(RUN, ignore_errors=True)
    with suppress(OSError):  # not there, or in use by the lab of another checkout
        (cache() / "disks").rmdir()
    for lock in cache().glob(".#host-*.lck"):  # systemd-nspawn's
        lock.unlink()


def running() -> list[HostSpec]:
    """Hosts that are up and set up."""
    return [spec for spec in HOSTS if hosts.facts_of(spec) is not None]


def need(spec: HostSpec) -> None:
    if spec not in running():
        raise LabError(f"{spec.name} is not up; console: {host_run(spec.name) / 'console.log'}; start it with: lab up")
