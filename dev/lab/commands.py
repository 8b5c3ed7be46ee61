"""Running programs, with their own words in the error when they fail."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Optional


class LabError(Exception):
    """Something the person at the keyboard must know; its text is all that is printed."""


def run(
    command: Sequence[str], *, check: bool = True, timeout: Optional[float] = None, stdin: Optional[str] = None
) -> subprocess.CompletedProcess[str]:
    """Run to the end, output captured. With check, failing raises LabError with the last lines the program said."""
    done = subprocess.run(
        command,
        check=False,
        timeout=timeout,
        input=stdin or "",  # never our own standard input
        capture_output=True,
        text=True,
    )
    if check and done.returncode:
        said = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-15:])
        raise LabError(f"{' '.join(command)}: exit status {done.returncode}\n{said}")
    return done


def run_or_die_with_us(command: Sequence[str]) -> None:
    """Run a build so that killing the lab, even with -9, kills all of it and unmounts what it mounted.

    The private mount and process namespaces end with `unshare`, and the kernel ends `unshare` when we die.
    """
    wrapper = ["setpriv", "--pdeathsig", "KILL"]
    wrapper += ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
    run([*wrapper, *command])
