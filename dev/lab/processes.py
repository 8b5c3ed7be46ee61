"""Finding and ending our own processes, by id."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path


def command_line(pid: int) -> list[str]:
    """One empty word when the process is gone, or is a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode(errors="replace").split("\0")
    except OSError:
        return [""]


def everyone() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def mentioning(text: str) -> list[int]:
    """Processes (but for this one) with the text in their command line."""
    return [pid for pid in everyone() if pid != os.getpid() and text in "\0".join(command_line(pid))]


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_gone(pids: Iterable[int], seconds: float) -> list[int]:
    """Wait for them to end; those that did not in time are returned."""
    deadline = time.monotonic() + seconds
    alive = [pid for pid in pids if any(command_line(pid))]
    while alive and time.monotonic() < deadline:
        time.sleep(0.05)
        alive = [pid for pid in alive if any(command_line(pid))]
    return alive
