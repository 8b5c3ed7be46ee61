"""One bridge on this machine, and for every host a network namespace with one link to it. Nothing leads outside."""

from __future__ import annotations

from .commands import run
from .host_table import HostSpec

BRIDGE = "lqlab"
GATEWAY = "198.18.77.1/24"  # from the range set aside for benchmarks: no real network is hidden by it


def namespace(spec: HostSpec) -> str:
    return f"lqlab-{spec.name}"


def link(spec: HostSpec) -> str:
    """The name of its link on this machine."""
    return f"lqlab{spec.number}"


def _ip(*arguments: str, check: bool = True) -> bool:
    return run(["ip", *arguments], check=check).returncode == 0


def bridge_up() -> None:
    if not _ip("link", "show", BRIDGE, check=False):
        _ip("link", "add", BRIDGE, "type", "bridge")
    _ip("address", "replace", GATEWAY, "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")


def bridge_down() -> None:
    _ip("link", "delete", BRIDGE, check=False)


def attach(spec: HostSpec) -> None:
    """A new namespace for a host; what an interrupted start left of it must be detached before."""
    inside, outside = namespace(spec), link(spec)
    _ip("netns", "add", inside)
    _ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", inside)
    _ip("link", "set", outside, "master", BRIDGE, "up")
    _ip("-n", inside, "link", "set", "lo", "up")
    _ip("-n", inside, "address", "add", f"{spec.address}/24", "dev", "eth0")
    _ip("-n", inside, "link", "set", "eth0", "up")


def attach_tap(spec: HostSpec) -> None:
    """A link for a host that is a machine; one that is there already stays."""
    if not _ip("link", "show", link(spec), check=False):
        _ip("tuntap", "add", "dev", link(spec), "mode", "tap")
    _ip("link", "set", link(spec), "master", BRIDGE, "up")


def detach(spec: HostSpec) -> None:
    _ip("link", "delete", link(spec), check=False)
    _ip("netns", "delete", namespace(spec), check=False)


def processes_inside(spec: HostSpec) -> list[int]:
    """Every process of the host: its init, its daemons, its guests."""
    listing = run(["ip", "netns", "pids", namespace(spec)], check=False)
    return [int(pid) for pid in listing.stdout.split()] if listing.returncode == 0 else []
