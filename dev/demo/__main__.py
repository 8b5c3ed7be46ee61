"""`make demo`: the fleet playbooks on the lab's hypervisors, or where the lab cannot run on mock ones, and what came of it.

A lab that was up stays up; one that is started here is taken down again, also after an error or Ctrl-C.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

DEMO = Path(__file__).resolve().parent
DEV = DEMO.parent
FLEET = DEV.parent / "tests" / "fixtures" / "mock" / "fleet.json"
LAB = DEV / "lab" / "lab"
PAGE = DEV.parent / ".cache" / "fleet.html"
sys.path.insert(0, str(DEV))

from demo import guests  # noqa: E402
from demo.table import failed, refusals, removed, reverted, taken  # noqa: E402
from lab import can_run, lifecycle  # noqa: E402 - the demo is started as a folder, which puts only itself on the path
from lab.paths import INVENTORY  # noqa: E402

ENVIRONMENT = {
    "ANSIBLE_CALLBACK_PLUGINS": str(DEMO / "callback_plugins"),
    "ANSIBLE_CALLBACKS_ENABLED": "keep_results",
    "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false",
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
        words = ["ansible-playbook", f"limiquantix.kvm.{playbook}"]
        for name, value in variables.items():
            words += ["-e", f"{name}={value}"]
        print(f"$ {shlex.join(words)}", flush=True)
        environment = {
            **os.environ,
            **ENVIRONMENT,
            "ANSIBLE_INVENTORY": str(self.inventory),
            "LIMIQUANTIX_KVM_RESULTS": str(results),
        }
        return call(words, environment)


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


def obstacle() -> Optional[str]:
    """Return why this machine cannot run the lab, if so."""
    found = can_run.obstacle()
    if found and os.geteuid() == 0 and shutil.which("apt-get"):
        # A fresh machine may not know any package yet.
        call(["apt-get", "update", "-qq"])
        found = can_run.obstacle()
    return found


@contextmanager
def lab() -> Iterator[Path]:
    """Give the inventory of the lab, started where it is not up."""
    with lifecycle.alone():  # not while somebody else's `lab up` is half done
        mine = not lifecycle.running()
    try:
        if call([str(LAB), "up"]):
            raise DemoError("the lab did not start")
        yield INVENTORY
    finally:
        if mine:
            title("The lab was started for this demo, and is taken down again")
            # Nobody wants half a lab left: once begun, this is not interrupted.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            call([str(LAB), "down"])
        else:
            print("\nThe lab was up before, and stays up. To begin anew: dev/lab/lab reset HOST")


@contextmanager
def mock_hypervisors(folder: Path) -> Iterator[Path]:
    """Give an inventory of three hypervisors that are a JSON file each."""
    hosts = {}
    for name in ("mock-1", "mock-2", "mock-3"):
        hosts[name] = {"snapshot_mock_path": str(folder / f"{name}.json"), "libvirt_version": "mock"}
        shutil.copy(FLEET, folder / f"{name}.json")
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "snapshot_backend": "mock",
    }
    inventory = folder / "inventory.yml"  # JSON is YAML
    inventory.write_text(json.dumps({"hypervisors": {"hosts": hosts, "vars": variables}}), "utf-8")
    yield inventory


def title(text: str) -> None:
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else ("", "")
    print(f"\n{bold}{text}{plain}\n", flush=True)


def show(stage: Stage) -> None:
    """The acts, each with its table: a snapshot is taken, refused, reverted to and removed; then a page of the fleet.

    What shows something else than it should must not look like a demo that went well.
    """
    name = time.strftime("demo-%H%M%S", time.gmtime())
    write(stage, "release 1, which works")
    title("1. A snapshot of every VM on every hypervisor")
    results = stage.play("snapshot", {"snapshot_name": name, "snapshot_memory": "no"})
    title("What was taken where")
    print("\n".join((*taken(results), *refusals(results))))
    if any(failed(result) or not result["vms"] for result in results):
        raise DemoError("not every VM has its snapshot")
    if not any(vm["vm"] == "tsc01" and vm["disk_only"] for result in results for vm in result["vms"]):
        raise DemoError("no hypervisor has tsc01, the VM with invtsc")

    title("2. The same with memory, of the VM whose CPU has invtsc")
    wish = {"snapshot_name": f"{name}-memory", "snapshot_memory": "yes", "snapshot_vms": "tsc01"}
    results = stage.play("snapshot", wish)
    title("What was refused, and why")
    print("\n".join(refusals(results)))
    for result in results:
        if any(vm["error_code"] != "memory_blocked" for vm in result["vms"]):
            raise DemoError(f"{result['host']} did not refuse the memory of tsc01")

    title("3. web01 is upgraded, the upgrade is bad, and it goes back")
    write(stage, "release 2, which is broken")
    results = stage.play("revert", {"snapshot_name": name, "snapshot_vms": "web01", "snapshot_confirm": "yes"})
    title("What was reverted where")
    print("\n".join((*reverted(results), *refusals(results))))
    if any(failed(result) or not result["changed"] for result in results):
        raise DemoError("not every web01 was reverted")
    read(stage, "release 1, which works")

    title("4. The snapshots have done their work, and are removed while the VMs run")
    results = stage.play("remove", {"snapshot_name": name, "snapshot_vms": "*"})
    title("What was removed where")
    print("\n".join((*removed(results), *refusals(results))))
    if any(failed(result) for result in results) or not all(vm["removed"] for one in results for vm in one["vms"]):
        raise DemoError("not every snapshot was removed")
    read(stage, "release 1, which works")

    title("5. One page shows the whole fleet, and whether something needs a hand")
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.unlink(missing_ok=True)
    if stage.run("report", {"report_dest": str(PAGE)}, stage.folder / "looked") or not PAGE.exists():
        raise DemoError("the page was not made")
    print(f"Open it in a browser: {PAGE}")


def write(stage: Stage, text: str) -> None:
    """Change web01 from inside, where it has an inside."""
    if not stage.real:
        print(f"(Here {guests.FILE} of web01 would become: {text}. Mock guests have no files.)")
        return
    for name, said in guests.write(text).items():
        print(f"{guests.FILE} of web01 on {name}: {said}")


def read(stage: Stage, expected: str) -> None:
    """Show what web01 says of itself from inside, where it has an inside."""
    print()
    for name, said in (guests.read() if stage.real else {}).items():
        print(f"{guests.FILE} of web01 on {name}: {said}")
        if said != expected:
            raise DemoError(f"web01 on {name} does not hold what it held before")


def end(number: int, _frame: Any) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    try:
        if not shutil.which("ansible-playbook"):
            raise DemoError("there is no ansible-playbook; start the demo with: make demo")
        with tempfile.TemporaryDirectory(prefix="limiquantix-kvm-demo-") as folder:
            reason = obstacle()
            if reason:
                print(f"This machine cannot run the lab: {reason}.\nHere are the same playbooks on mock hypervisors.")
            else:
                print(
                    "The lab: three hypervisors with libvirt 7.0, 9.0 and 11.3. The first start takes minutes.",
                    flush=True,
                )
            with mock_hypervisors(Path(folder)) if reason else lab() as inventory:
                show(Stage(inventory, Path(folder), real=not reason))
    except DemoError as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
