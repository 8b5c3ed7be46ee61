"""Where the demo plays: the lab or mock hypervisors, and web01, the guest that is upgraded."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from demo.guests import FILE

DEMO = Path(__file__).resolve().parent
DEV = DEMO.parent
FLEET = DEV.parent / "tests" / "fixtures" / "mock" / "fleet.json"
LAB_HOSTS = ("hv-bullseye", "hv-bookworm", "hv-trixie")  # libvirt 7.0, 9.0 and 11.3
UPGRADED_ON = "hv-trixie"  # whose web01 the role guarded_change upgrades
MOCKS = ("mock-1", "mock-2", "mock-3")
MOCK_CONNECTION = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}

ENVIRONMENT = {
    "ANSIBLE_CALLBACK_PLUGINS": str(DEMO / "callback_plugins"),
    "ANSIBLE_CALLBACKS_ENABLED": "keep_results",
    # Ansible's way into the lab's guests, which have no network.
    "ANSIBLE_CONNECTION_PLUGINS": str(DEV.parent / "tests" / "system" / "connection_plugins"),
    "PYTHONPATH": str(DEV),
    "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false",
    "ANSIBLE_PIPELINING": "true",
}


class DemoError(Exception):
    """The demo did not show what it is there to show."""


@dataclass(frozen=True)
class Stage:
    """Where the demo plays: an inventory, and a folder for what Ansible returns."""

    inventory: Path
    folder: Path
    real: bool

    def play(self, playbook: str, variables: Mapping[str, str]) -> list[dict[str, Any]]:
        """Run a fleet playbook, seen by whoever watches, and return each host's result."""
        results = self.folder / "results"
        results.unlink(missing_ok=True)
        self.run(playbook, variables, results)
        if not results.exists():
            raise DemoError("the playbook reached no host")
        return sorted(map(json.loads, results.read_text("utf-8").splitlines()), key=lambda result: str(result["host"]))

    def run(self, playbook: str, variables: Mapping[str, str], results: Path) -> int:
        """Run a playbook, seen by whoever watches, and return how it ended; each host's result goes to ``results``."""
        words = ["ansible-playbook", playbook if "/" in playbook else f"limiquantix.kvm.{playbook}"]
        if self.real:  # other hosts of the lab may be up for something else
            words += ["-l", ",".join((*LAB_HOSTS, "guests"))]
        for name, value in variables.items():
            words += ["-e", f"{name}={value}"]
        print(f"$ {shlex.join(words)}", flush=True)
        environment = {
            **os.environ,
            **ENVIRONMENT,
            "ANSIBLE_INVENTORY": f"{self.inventory},{self.guests()}",
            "LIMIQUANTIX_KVM_RESULTS": str(results),
        }
        return call(words, environment)

    def guests(self) -> Path:
        """Return the inventory of the guest that is upgraded: web01, of one hypervisor."""
        on = UPGRADED_ON if self.real else MOCKS[-1]
        real = {"demo_file": FILE, "ansible_connection": "lab_guest", "lab_host": on}
        mock = {"demo_file": str(self.folder / "release"), **MOCK_CONNECTION}
        known = {**(real if self.real else mock), "demo_hypervisor": on}
        inventory = self.folder / "guests.yml"  # JSON is YAML
        inventory.write_text(json.dumps({"guests": {"hosts": {"web01": known}}}), "utf-8")
        return inventory


def call(words: Sequence[str], environment: Optional[Mapping[str, str]] = None) -> int:
    """Run a program to its end; it does not outlive the demo."""
    process = subprocess.Popen(words, env=environment)
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        raise


@contextmanager
def mock_hypervisors(folder: Path) -> Iterator[Path]:
    """Give an inventory of three hypervisors that are a JSON file each."""
    hosts = {}
    for name in MOCKS:
        hosts[name] = {"snapshot_mock_path": str(folder / f"{name}.json"), "libvirt_version": "mock"}
        shutil.copy(FLEET, folder / f"{name}.json")
    variables = {**MOCK_CONNECTION, "snapshot_backend": "mock"}
    inventory = folder / "inventory.yml"  # JSON is YAML
    inventory.write_text(json.dumps({"hypervisors": {"hosts": hosts, "vars": variables}}), "utf-8")
    yield inventory


def title(text: str) -> None:
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else ("", "")
    print(f"\n{bold}{text}{plain}\n", flush=True)
