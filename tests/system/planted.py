# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the collection's code on a host with a fault planted in it: killed at one step, delayed at another."""

from __future__ import annotations

import json
import shlex
import threading
from typing import Any, Optional

import pytest
from contract.libvirt_world import LibvirtWorld
from lab.api import Host, host_named
from shares import NAMES

from .loaded_python import LoadedPython

_WHERE = {"backend": "libvirt", "uri": "qemu:///system"}
_PRELUDE = """
import json, os, signal, subprocess, time
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge import live_commit
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge import merge_layers
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt import vm_handle
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect import connection
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.guest import freeze, hold
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations import remove, revert, take
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations import start_or_go_back, take_steps
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.operations import create_snapshot as switch
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware import put_back, take_copy
import driver

def before(owner, name, fault):
    original = getattr(owner, name)
    def planted(*args, **kwargs):
        fault()
        return original(*args, **kwargs)
    setattr(owner, name, planted)

def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Planted:
    """One host, and the collection on it to be spoilt at will."""

    def __init__(self, world: LibvirtWorld) -> None:
        self.host = world.host
        self.home = world.home
        self._loaded: Optional[LoadedPython] = None
        self._alone = threading.Lock()

    def close(self) -> None:
        if self._loaded:
            self._loaded.close()

    def snapshot(self, fault: str, vm: str, name: str, user: str = "root", **options: Any) -> dict[str, Any]:
        """Take a snapshot after running ``fault`` (Python); return the result, or what killed the run."""
        return self._call("snapshot", fault, [vm], user, name=name, **options)

    def group(self, fault: str, *vms: str, name: str, step: str, **options: Any) -> dict[str, Any]:
        """Do a step of a group's snapshot in the same way."""
        return self._call("group", fault, list(vms), name=name, step=step, **options)

    def revert(self, fault: str, vm: str, name: str, **options: Any) -> dict[str, Any]:
        """Revert a VM in the same way."""
        return self._call("revert", fault, [vm], name=name, **options)

    def remove(self, fault: str, *vms: str, name: str = "", **options: Any) -> dict[str, Any]:
        """Remove a snapshot of VMs in the same way."""
        return self._call("remove", fault, list(vms), name=name, **options)

    def prune(self, vm: str, *names: str, check: bool = False, orphans: bool = False) -> dict[str, Any]:
        """Prune a VM; nothing is spoilt."""
        return self._call("prune", "", [vm], check=check, names=names, orphans=orphans)

    def info(self, vm: str) -> dict[str, Any]:
        """Return what vm_snapshot_info says of a VM."""
        answer = json.loads(self.run_python(f"{_PRELUDE}\nprint(json.dumps(driver.info({_WHERE!r}, [{vm!r}])))"))
        entry: dict[str, Any] = answer["vms"][0]
        return entry

    def plant(self, vm: str, **journal: Any) -> None:
        """Write down on the host what a run does before its first step, as if it had been killed after that."""
        self.run_python(f"{_PRELUDE}\ndriver.plant({_WHERE!r}, {vm!r}, **{journal!r})")

    def _call(self, what: str, fault: str, vms: list[str], user: str = "root", **options: Any) -> dict[str, Any]:
        said = self.run_python(self.code(what, fault, vms, **options), user)
        result: dict[str, Any] = json.loads(said) if said.strip() else {"killed": True}
        return result

    def code(self, what: str, fault: str, vms: list[str], **options: Any) -> str:
        """Return the Python that runs ``fault`` and then does ``what`` of the driver, and prints the result."""
        where = {**_WHERE, "uri": options.pop("uri", _WHERE["uri"])}
        limits = {key: options.pop(key) for key in ("parallel", "timeout", "missing") if key in options}
        check = options.pop("check", False)
        call = f"driver.{what}({where!r}, {vms!r}, {check!r}, limits={limits!r}, **{options!r})"
        return f"""{_PRELUDE}
{fault}
try:
    print(json.dumps({call}))
except driver.KvmError as error:
    print(json.dumps(error.to_failure()))
"""

    def run_python(self, code: str, user: str = "root") -> str:
        """Run code beside the collection, and return what it printed before its end."""
        said, errors = self._in_loaded(code) if user == "root" else self._anew(code, user)
        assert "Traceback" not in errors, errors
        return said

    def _in_loaded(self, code: str) -> tuple[str, str]:
        # A machine of its own may lose its power, and all that is loaded; what is loaded does one thing at a time.
        if self.host.spec.metal or not self._alone.acquire(blocking=False):
            return self._anew(code, "root")
        try:
            loaded, self._loaded = self._loaded or LoadedPython(self.host.name, self.home, _PRELUDE), None
            answer = loaded.run(code, 120)
            self._loaded = loaded
            return answer
        finally:
            self._alone.release()

    def _anew(self, code: str, user: str) -> tuple[str, str]:
        command = f"cd /; PYTHONPATH={self.home} python3 -c {shlex.quote(code)}"
        done = self.host.run(["runuser", "-u", user, "--", "sh", "-c", command], check=False)
        return done.stdout, done.stderr


@pytest.fixture(scope="session", params=NAMES)
def planted(request: pytest.FixtureRequest) -> Any:
    """Each hypervisor of the lab, with the collection's code on it."""
    host = host_named(request.param)
    if host is None:
        pytest.skip(f"{request.param} is not up; start it with: dev/lab/lab up")
    world = LibvirtWorld(host)
    made = Planted(world)
    yield made
    made.close()
    world.close()


def only(result: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of the one VM there is in a result."""
    assert result.get("vms"), result
    entry: dict[str, Any] = result["vms"][0]
    return entry


def snapshot_names(host: Host, vm: str) -> list[str]:
    """Return the VM's snapshots by virsh's own word."""
    return host.virsh("snapshot-list", vm, "--name").split()
