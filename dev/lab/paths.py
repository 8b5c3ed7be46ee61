"""Where the lab keeps things: what is shared and kept (cache) and what lives only while the lab is up (run)."""

from __future__ import annotations

import os
from pathlib import Path

# Short on purpose: ssh's control sockets live below it and a socket's path may have 108 bytes at most.
RUN = Path("/run/limiquantix-kvm-lab")
INVENTORY = RUN / "inventory.yml"
SSH_CONFIG = RUN / "ssh_config"
PRIVATE_KEY = RUN / "id_ed25519"
PUBLIC_KEY = PRIVATE_KEY.with_suffix(".pub")
CONTROL_SOCKETS = RUN / "cm"
ETC_HOSTS = RUN / "etc_hosts"

SOURCES = Path(__file__).resolve().parent


def cache() -> Path:
    return Path(os.environ.get("LIMIQUANTIX_KVM_CACHE") or "/var/cache/limiquantix-kvm")


def host_run(name: str) -> Path:
    """What belongs to one running host: its console log, the scripts it sees, and facts.json once it is usable."""
    return RUN / "hosts" / name


def host_disks(name: str) -> Path:
    """The host's /var/lib/libvirt/images.

    On the cache's disk, not in the host's own overlay: that is a tmpfs of a tenth of the memory, too small for a few
    disks and memory snapshots, and before Linux 6.6 a tmpfs refuses O_DIRECT, so `cache='none'` would fail on it.
    """
    return cache() / "disks" / name
