"""The hosts of the lab, one entry each. Another kind of host is one more entry here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from .commands import LabError

SYSTEMD = ("systemd", "systemd-sysv", "dbus")
OPENRC = ("sysvinit-core", "openrc", "libvirt-daemon-system-sysv")


@dataclass(frozen=True)
class HostSpec:
    name: str
    suite: str  # of Debian; decides the versions of libvirt, QEMU and Python
    number: int  # the last part of its address, and of the name of its network link
    init: tuple[str, ...] = SYSTEMD  # the packages that make it boot
    # Whether it is one of the fleet that the tests of snapshots work on. For those another init is no other hypervisor.
    snapshots: bool = True
    # Whether it is in the inventory group `hypervisors`, over which playbooks run. Else in `newest`.
    whole: bool = True
    agent: bool = False  # whether the role of the host agent is tested on it: one host of each init
    # A machine of its own, with its own kernel, booted by QEMU; the others are containers. Started only where it is asked for.
    metal: bool = False
    vms: Optional[tuple[str, ...]] = None  # those of domains.py that it has; None: all that name no other host

    @property
    def patience(self) -> int:
        """How many times as long as another host it may take: an emulated machine that has its share of a busy one."""
        return 10 if self.metal else 1

    @property
    def image(self) -> str:
        """Hosts with the same image share its folder."""
        return self.suite + ("-openrc" if self.init == OPENRC else "-metal" if self.metal else "")

    @property
    def address(self) -> str:
        return f"198.18.77.{self.number}"


HOSTS = (
    HostSpec("hv-bullseye", "bullseye", 11),  # libvirt 7.0, QEMU 5.2, Python 3.9
    HostSpec("hv-bookworm", "bookworm", 12, agent=True),  # libvirt 9.0, QEMU 7.2, Python 3.11
    HostSpec("hv-trixie", "trixie", 13),  # libvirt 11.3, QEMU 10.0, Python 3.13
    HostSpec("hv-forky", "forky", 16, whole=False),  # libvirt 12.8, QEMU 11.1, Python 3.14
    HostSpec("hv-openrc", "bookworm", 14, OPENRC, snapshots=False, agent=True, vms=("db01", "tsc01")),
    # For playbooks over a fleet: a host that has no VM. The image is hv-bookworm's.
    HostSpec("hv-empty", "bookworm", 15, snapshots=False, vms=()),
    # Stock Debians as people run them: AppArmor enforces, and their power can be cut.
    HostSpec("hv-metal", "bookworm", 26, snapshots=False, metal=True, vms=()),
    HostSpec("hv-metal13", "trixie", 27, snapshots=False, metal=True, vms=()),
)

FLEET = tuple(spec for spec in HOSTS if spec.snapshots)
USUAL = tuple(spec for spec in HOSTS if not spec.metal)  # what `lab up` starts


def named(name: str) -> HostSpec:
    for spec in HOSTS:
        if spec.name == name:
            return spec
    raise LabError(f"no host {name!r} in the lab; there are {', '.join(spec.name for spec in HOSTS)}")
