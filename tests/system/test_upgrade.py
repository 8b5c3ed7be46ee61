# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An upgrade from 0.1.0 needs no step on the hosts: today's code goes on with what that release's own code wrote there.

`make walk` does it with 50 snapshots, `make test` with a few.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.world import IMAGES, ROOT
from lab import ssh
from lab.api import Host

from .field import FieldVm
from .planted import Planted, planted

__all__ = ("planted",)

OLD = ROOT / "tests/fixtures/releases/5c695b1.tar.xz"
HOW_MANY = 50 if os.environ.get("LIMIQUANTIX_KVM_UPGRADE") == "all" else 12
_ON_HOST = "/run/upgrade"
_UNPACK = "import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|xz').extractall(sys.argv[1])"


@pytest.fixture
def vm(planted: Planted) -> Iterator[FieldVm]:
    made = FieldVm(planted, "upgrade1", "vda")
    made.make()
    yield made
    made.wipe()
    planted.host.run(["rm", "-rf", _ON_HOST])


def of_old(host: Host, vm: str) -> None:
    """Have the old code take snapshots, and die in a removal."""
    host.run(["mkdir", "-p", _ON_HOST])
    unpack = [*ssh.command(host.name), f'python3 -c "{_UNPACK}" {_ON_HOST}']
    subprocess.run(unpack, check=True, input=OLD.read_bytes())
    script = f"{_ON_HOST}/written_by_old.py"
    host.put(script, Path(__file__).with_name("written_by_old.py").read_text("utf-8"))
    done = host.run(f"python3 {script} {vm} {HOW_MANY}; echo ended with $?", timeout=300)
    assert "ended with 137" in done.stdout, done.stdout + done.stderr


def record(vm: FieldVm) -> dict[str, object]:
    read: dict[str, object] = json.loads(vm.host.run(["cat", f"/var/lib/limiquantix-kvm/{vm.uuid}.json"]).stdout)
    return read


@pytest.mark.parametrize("planted", ["hv-openrc"], indirect=True)
def test_what_the_first_release_left_is_told_recovered_reverted_and_removed(vm: FieldVm) -> None:
    names = [f"s{number}" for number in range(1, HOW_MANY + 1)]
    interrupted, branch, trunk = HOW_MANY - 1, HOW_MANY, HOW_MANY // 2
    of_old(vm.host, vm.name)
    assert "schema" not in record(vm)

    told = vm.info()
    assert [one["name"] for one in told["snapshots"]] == names
    assert all(one["owned"] for one in told["snapshots"])
    operation = told["operation"]
    assert (operation["kind"], operation["snapshot"], operation["running"]) == ("remove", f"s{interrupted}", False)

    again = vm.remove(f"s{interrupted}")
    assert (again["error_code"], again["recovered"] is None) == (None, False), again
    names.remove(f"s{interrupted}")
    assert sorted(vm.snapshots()) == sorted(names)
    assert vm.disk_reads("vda", HOW_MANY + 1)
    vm.sound()

    for number in (trunk, branch):
        assert vm.revert(f"s{number}")["error_code"] is None
        assert vm.disk_reads("vda", number)

    assert vm.take("new")["error_code"] is None
    gone = vm.remove(all_snapshots=True)
    assert gone["error_code"] is None, gone
    assert sorted(gone["removed"]) == sorted([*names, "new"])
    assert vm.snapshots() == []
    assert vm.files() == {f"{IMAGES}/{vm.name}.qcow2"}
    assert vm.disk_reads("vda", branch)
    left = record(vm)
    assert (left["journal"], left["snapshots"], left["overlays"]) == (None, {}, [])
    vm.sound()
