# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A play over guests, with hypervisors of the mock. What the guests do is shell on this machine, one folder each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from .guest import wait_for
from .playbook_run import Run, run

ROOT = Path(__file__).resolve().parents[2]
HERE = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
# Nobody listens at port 1: ssh says so at once.
UNREACHABLE = {
    "ansible_connection": "ssh",
    "ansible_host": "127.0.0.1",
    "ansible_port": 1,
    "ansible_ssh_common_args": "-o ConnectTimeout=2",
}
# The hypervisor that a task asks is in the loops of the two roles only.
_ASKED = "guarded_change_part.0 if guarded_change_part is defined else locate_hypervisor"
_MOCK = {"group/limiquantix.kvm.vm_snapshot": {"backend": "mock", "mock_path": f"{{{{ hostvars[{_ASKED}].mock }}}}"}}

CHANGE = """\
- name: Upgrade
  ansible.builtin.raw: "cd {folder}/{{{{ inventory_hostname }}}} && echo upgraded >> log && {{{{ upgrade | default('true') }}}}"

- name: Notify
  ansible.builtin.raw: "true"
  notify: Restart
"""
CHECK = """\
- name: Check
  ansible.builtin.raw: "cd {folder}/{{{{ inventory_hostname }}}} && {{{{ check | default('grep -q restarted log') }}}}"
"""


@dataclass
class GuestsPlay:
    """Two hypervisors, hv1 and hv2, and the guests of a play, each with the variables that a test gives."""

    folder: Path
    guests: dict[str, dict[str, Any]]
    on: dict[str, tuple[str, ...]]
    role: dict[str, Any] = field(default_factory=dict)
    hypervisors: dict[str, dict[str, Any]] = field(default_factory=dict)
    ignore_errors: bool = False

    def __post_init__(self) -> None:
        fleet = json.loads((ROOT / "tests/fixtures/mock/fleet.json").read_text("utf-8"))
        known = {vm["name"]: vm for vm in fleet["vms"]}
        for host, names in self.on.items():
            # One that two hosts have is one VM.
            vms = [{**known[name], "uuid": str(uuid5(NAMESPACE_DNS, name))} for name in names]
            self.state(host).write_text(json.dumps({**fleet, "vms": vms}), "utf-8")
        for guest in self.guests:
            (self.folder / guest).mkdir()
        (self.folder / "change.yml").write_text(CHANGE.format(folder=self.folder), "utf-8")
        (self.folder / "check.yml").write_text(CHECK.format(folder=self.folder), "utf-8")

    def state(self, host: str) -> Path:
        """Return the file that is a hypervisor of the mock."""
        return self.folder / f"{host}.json"

    def snapshots(self, vm: str) -> list[dict[str, Any]]:
        """Return what the mock has of a VM."""
        states = [json.loads(self.state(host).read_text("utf-8")) for host in self.on]
        return [
            snapshot
            for state in states
            for one in state["vms"]
            if one["name"] == vm
            for snapshot in one.get("snapshots", ())
        ]

    def set_power(self, host: str, vm: str, power: str) -> None:
        """Change a VM behind everybody's back."""
        state = json.loads(self.state(host).read_text("utf-8"))
        for one in state["vms"]:
            if one["name"] == vm:
                one["state"] = power
        self.state(host).write_text(json.dumps(state), "utf-8")

    def log(self, guest: str) -> list[str]:
        """Return what was done in a guest."""
        file = self.folder / guest / "log"
        return file.read_text("utf-8").split() if file.exists() else []

    def locate(self) -> Run:
        """Run the role locate alone, and have each guest say where it is."""
        told = {"ansible.builtin.debug": {"msg": "{{ inventory_hostname }} is on {{ kvm_host }}"}}
        return run(self._command({"roles": ["limiquantix.kvm.locate"], "tasks": [told]}), self._inventory())

    def change(self, *options: str, **variables: Any) -> Run:
        """Run the role guarded_change."""
        return run([*self._command(self._role(variables)), *options], self._inventory())

    def kill_in_change(self, guest: str, **variables: Any) -> None:
        """Run it, and kill the controller while a guest is at its change."""
        command = self._command(self._role(variables))
        process = subprocess.Popen(
            [*command, "-i", str(self._inventory())],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for("the change", lambda: self.log(guest) == ["upgraded"], 300)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _role(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        given = {"name": "patch", "tasks": "change.yml", "checks": "check.yml", "wait": 1, **self.role, **variables}
        role = {f"guarded_change_{name}": value for name, value in given.items()}
        restart = {"ansible.builtin.raw": f"cd {self.folder}/{{{{ inventory_hostname }}}} && echo restarted >> log"}
        return {
            "roles": [{"role": "limiquantix.kvm.guarded_change", **role}],
            "handlers": [{"name": "Restart", **restart}],
        }

    @property
    def _of_play(self) -> dict[str, Any]:
        return {"gather_facts": False, "module_defaults": _MOCK, "ignore_errors": self.ignore_errors}

    def _command(self, play: Mapping[str, Any]) -> Sequence[str]:
        (self.folder / "play.yml").write_text(json.dumps([{"hosts": "guests", **self._of_play, **play}]), "utf-8")
        return ["ansible-playbook", str(self.folder / "play.yml")]

    def _inventory(self) -> Path:
        hypervisors = {
            host: {**HERE, "mock": str(self.state(host)), **self.hypervisors.get(host, {})} for host in self.on
        }
        guests = {guest: {**HERE, **variables} for guest, variables in self.guests.items()}
        groups = {"hypervisors": {"hosts": hypervisors}, "guests": {"hosts": guests}}
        (self.folder / "inventory.yml").write_text(json.dumps({"all": {"children": groups}}), "utf-8")
        return self.folder / "inventory.yml"
