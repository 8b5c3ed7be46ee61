# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Has modules loaded on a host of the lab, and forks for each piece of code: loading is most of what a small one costs there."""

from __future__ import annotations

import json
import select
import shlex
import subprocess
from typing import Any

from lab import ssh

# The files take what a child says, however it ends, and although whoever it leaves behind may keep them open. sys.exit runs
# what is registered for a program's end.
_SERVER = """
import sys, tempfile
for line in sys.stdin:
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        pid = os.fork()
        if not pid:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            exec(json.loads(line), {"__name__": "__main__"})
            sys.exit()
        os.waitpid(pid, 0)
        said = [(file.seek(0), file.read())[1] for file in (out, err)]
    print(json.dumps(said), flush=True)
"""


class LoadedPython:
    """A Python on a host that has run ``prelude``, which imports json and os among others."""

    def __init__(self, host: str, home: str, prelude: str) -> None:
        command = f"cd /; PYTHONPATH={home} exec python3 -c {shlex.quote(prelude + _SERVER)}"
        self._process = subprocess.Popen(
            [*ssh.command(host), command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def run(self, code: str, timeout: float) -> tuple[str, str]:
        """Return what the code says on stdout and on stderr until it ends.

        :raises TimeoutError: that takes longer than ``timeout`` seconds.
        """
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(code) + "\n")
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            self.close()
            raise TimeoutError(f"no end after {timeout} s: {code}")
        said: list[Any] = json.loads(self._process.stdout.readline())
        return said[0], said[1]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
