"""The lab for pytest: the hosts that are up, and what a test does with them.

With the folder dev/ on sys.path:

    from lab.api import hosts, reset_vm

    for host in hosts():
        reset_vm(host, "web01")
        host.virsh("snapshot-create-as", "web01", "before", "--disk-only")
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

from . import hosts as _hosts
from . import lifecycle, ssh
from .host_table import HostSpec
from .images import host_image


@dataclass(frozen=True)
class Host:
    """One running hypervisor; commands go over one shared ssh connection, a few milliseconds each."""

    spec: HostSpec
    libvirt_version: str
    qemu_version: str
    python_version: str
    invtsc: bool  # whether tsc01 runs here

    @property
    def name(self) -> str:
        return self.spec.name

    def run(
        self,
        command: Union[str, Sequence[str]],
        *,
        check: bool = True,
        timeout: Optional[float] = 120,
        stdin: Optional[str] = None,
    ) -> subprocess.CompletedProcess[str]:
        """A text goes through the host's shell, a list word by word. With check, failing shows what was said."""
        words = command if isinstance(command, str) else shlex.join(command)
        done = subprocess.run(
            [*ssh.command(self.name), words],
            check=False,
            timeout=timeout * self.spec.patience if timeout else None,
            input=stdin or "",
            capture_output=True,
            text=True,
        )
        if check and done.returncode:
            raise AssertionError(f"{self.name}: {words}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def virsh(self, *arguments: str) -> str:
        return self.run(["virsh", "-c", "qemu:///system", *arguments]).stdout

    def put(self, path: str, text: str) -> None:
        self.run(f"mkdir -p $(dirname {shlex.quote(path)}) && cat > {shlex.quote(path)}", stdin=text)

    def cut_power(self) -> None:
        """Of a host that is a machine: what its kernel had not written to the disk is gone."""
        _hosts.cut_power(self.spec)

    def power_on(self) -> None:
        """Boot it again; it answers then. Its VMs are off."""
        _hosts.power_on(self.spec, host_image(self.spec))


def _host(spec: HostSpec, facts: dict[str, Any]) -> Host:
    return Host(spec, facts["libvirt"], facts["qemu"], facts["python"], facts["without_invtsc"] is None)


def host_named(name: str) -> Optional[Host]:
    """The host of that name; None while it is not up."""
    return next((host for host in all_hosts() if host.name == name), None)


def hosts() -> list[Host]:
    """The fleet for tests of snapshots; empty when the lab is not up."""
    return [host for host in all_hosts() if host.spec.snapshots and host.spec.whole]


def all_hosts() -> list[Host]:
    """Also those that are there for the agent's role alone, or for a part of the tests."""
    return [_host(spec, facts) for spec in lifecycle.running() if (facts := _hosts.facts_of(spec))]


def reset_vm(host: Host, *vms: str) -> None:
    """The VMs named as on the first day: new disks, no snapshots, guest booted.

    Without a name the whole host: VMs and files that tests made are gone too, also the fleet.
    """
    _hosts.on_host(host.spec, "reset", *vms)
