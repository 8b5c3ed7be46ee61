# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bare Debian, the artifact, README and the guide's first section: a stranger gets to snapshots on real hypervisors.

`make walk` runs it, on a lab that is up: with hv-forky, where the VM is, and hv-openrc. A short part without a lab is
tests/system/test_installed.py.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest
from lab.api import host_named
from lab.can_run import obstacle
from lab.host_table import named
from lab.paths import PRIVATE_KEY, cache
from system.field import FieldVm
from system.guide_blocks import blocks, examples

from .artifact import build_artifact
from .debian import HOME, PYTHONS, Debian

GUIDE = "guide_first_steps"
HOSTS = {"hv1": "hv-forky", "hv2": "hv-openrc"}  # the guide's names, and whom they lead to
SSH = "Host {name}\n  HostName {address}\n  IdentityFile {home}/.ssh/key\n  StrictHostKeyChecking accept-new\n"
IN_VENV = ". ~/ansible/bin/activate; export ANSIBLE_INVENTORY=hosts.yml\n"


@pytest.fixture(params=list(PYTHONS))
def debian(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Debian]:
    if reason := obstacle():
        pytest.skip(f"no root of its own can be made here: {reason}")
    cache().mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="walk-", dir=cache()) as root:
        Path(root).chmod(0o755)
        wheels = tmp_path / "wheels"
        wheels.mkdir(mode=0o755)  # others than root read them
        made = Debian(request.param, Path(root), wheels)
        yield made
        made.close()


@pytest.fixture
def vm() -> Iterator[FieldVm]:
    """The stranger's VM, running."""
    for name in HOSTS.values():
        if host_named(name) is None:
            pytest.skip(f"{name} is not up; start it with: dev/lab/lab up")
    made = FieldVm(SimpleNamespace(host=host_named(HOSTS["hv1"])), "walk01", "vda")  # type: ignore[arg-type]
    made.make(start=True)
    yield made
    made.wipe()


def of_guide(test: str) -> list[str]:
    """Return the guide's blocks that this test runs, from its top."""
    return [block.text for block in blocks(GUIDE) if block.what == f"{Path(__file__).name}::{test}"]


def of_readme(name: str) -> str:
    """Return a command of README, for the stranger's VM: the lab's own are others'."""
    text = examples()[name].text.replace("web01", "walk01").replace("web*", "walk*").replace("vm=*", "vm=walk*")
    assert "walk" in text
    return IN_VENV + text


def test_a_stranger_gets_from_a_bare_debian_to_snapshots(debian: Debian, vm: FieldVm, tmp_path: Path) -> None:
    as_root, install, inventory, look, playbook = of_guide("test_a_stranger_gets_from_a_bare_debian_to_snapshots")
    debian.run(as_root, "root")
    built = tmp_path / "walk"
    built.mkdir()
    artifact = build_artifact(built)
    shutil.copy(artifact, debian.root / HOME[1:] / artifact.name)
    debian.run(install)

    reach_hosts(debian)
    debian.put("hosts.yml", inventory)
    said = debian.run(". ~/ansible/bin/activate\n" + look)
    assert '"vm": "walk01"' in said
    assert said.count("SUCCESS") == len(HOSTS), said
    takes_reverts_and_removes(debian, vm)
    rehearses_without_a_hypervisor(debian, playbook)
    does_as_the_errors_say(debian)


def reach_hosts(debian: Debian) -> None:
    """Set up SSH as somebody does who administers the hypervisors."""
    debian.put(".ssh/key", PRIVATE_KEY.read_text("utf-8"))
    entries = (SSH.format(name=name, address=named(host).address, home=HOME) for name, host in HOSTS.items())
    debian.put(".ssh/config", "".join(entries))


def takes_reverts_and_removes(debian: Debian, vm: FieldVm) -> None:
    vm.write("vda", 1)
    assert "hv1 | CHANGED" in debian.run(of_readme("ad-hoc"))
    assert "CHANGED" not in debian.run(of_readme("ad-hoc"))
    vm.write("vda", 2)
    assert '"look": "ok"' in debian.run(of_readme("look"))
    misspelled = of_readme("revert").replace("pre-patch", "pre-pach")
    remedy = re.search(r"Give one of its snapshots: (\S+)\.", debian.run(misspelled, status=2))
    assert remedy
    assert "hv1 | CHANGED" in debian.run(misspelled.replace("pre-pach", remedy[1]))
    assert vm.disk_reads("vda", 1)
    assert "hv1 | CHANGED" in debian.run(of_readme("ad-hoc").replace("pre-patch", "later"))
    prune = "ansible hypervisors -m limiquantix.kvm.vm_snapshot_prune -a 'vms=walk* keep_last=1'"
    assert "hv1 | CHANGED" in debian.run(IN_VENV + prune)
    assert vm.snapshots() == ["later"]
    assert "hv1 | CHANGED" in debian.run(of_readme("remove").replace("pre-patch", "later"))
    assert vm.snapshots() == []
    assert vm.disk_reads("vda", 1)


def rehearses_without_a_hypervisor(debian: Debian, playbook: str) -> None:
    *files, commands = [block.text for block in blocks(GUIDE) if block.what.startswith("test_installed.py::")]
    for name, text in zip(("mock.json", "mock.yml", "rehearsal.yml"), files):
        debian.put(name, text)
    said = debian.run(IN_VENV + commands + playbook)
    assert "rehearsal                  : ok=" in said
    kept = (debian.root / HOME[1:] / "mock.json").read_text("utf-8")
    assert kept.count('"name": "wednesday"') == 2


def does_as_the_errors_say(debian: Debian) -> None:
    """On a machine that is to become a hypervisor: the remedy is carried out, and the next error is another one."""
    look = f"{IN_VENV}ansible localhost -m limiquantix.kvm.vm_snapshot_info -e ansible_connection=local"
    said = debian.run(look, status=2)
    assert '"error_code": "missing_library"' in said
    remedy = re.search(r"Install it with: (apt-get install [\w -]+)\. ", said)
    assert remedy, said
    debian.run(remedy[1], "root", stdin="y\n")
    assert '"error_code": "connection_failed"' in debian.run(look, status=2)
