"""receptor, as Debian has it: AWX divides work among machines with it. One program in Go, which runs here as it is."""

from __future__ import annotations

from pathlib import Path

from . import lifecycle
from .builds import cached, recipe_hash
from .commands import run_or_die_with_us
from .packages import debian_mirror

SUITE = "trixie"  # the oldest Debian that has it


def receptor() -> Path:
    """The program, unpacked and not installed."""

    def build(folder: Path) -> None:
        command = ["mmdebstrap", "--quiet", "--variant=extract", "--include=receptor"]
        run_or_die_with_us([*command, SUITE, str(folder), *debian_mirror()])

    with lifecycle.alone():
        return cached("receptor", recipe_hash([SUITE], []), build) / "usr/bin/receptor"
