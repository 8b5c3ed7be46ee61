"""`make demo`: the fleet playbooks on the lab's hypervisors, or where the lab cannot run on mock ones, and what came of it.

A lab that was up stays up; one that is started here is taken down again, also after an error or Ctrl-C.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

DEV = Path(__file__).resolve().parents[1]
LAB = DEV / "lab" / "lab"
sys.path.insert(0, str(DEV))  # the demo is started as a folder, which puts only itself on the path

from demo.acts import show  # noqa: E402
from demo.stage import LAB_HOSTS, DemoError, Stage, call, mock_hypervisors, title  # noqa: E402
from lab import can_run, lifecycle  # noqa: E402
from lab.paths import INVENTORY  # noqa: E402


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
        if call([str(LAB), "up", "--only", ",".join(LAB_HOSTS)]):
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
