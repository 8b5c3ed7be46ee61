# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chromium without a screen, driven over the DevTools protocol: two pipes of JSON, so no library is needed."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PROGRAM = "chromium-headless-shell"
_SECONDS = 60.0


class Browser:
    """One page of a browser; ``said`` are the errors and warnings of its console."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._numbers = itertools.count(1)
        self._rest = b""
        self.said: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol on the page."""
        return self._call(method, self._session, **parameters)

    def open(self, path: Path) -> None:
        """Open a file and wait until it says that it can be used, which it does in data-ready."""
        self.said.clear()
        self.call("Page.navigate", url=path.as_uri())
        until = time.monotonic() + _SECONDS
        while not self.run("document.documentElement?.dataset.ready || ''"):
            assert time.monotonic() < until, "\n".join(self.said) or "the page is never ready"
            time.sleep(0.02)

    def run(self, script: str) -> Any:
        """Return what an expression is on the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def window(self, width: int, height: int, *, dark: bool = False) -> None:
        """Be a screen of that size, by day or by night."""
        phone = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)

    def shoot(self, path: Path) -> None:
        """Keep a picture of what is seen."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def names(self) -> list[tuple[str, str]]:
        """Return what a screen reader says of the page: each thing's role and name."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        seen = (one for one in nodes if not one["ignored"])
        return [(one["role"]["value"], one.get("name", {}).get("value", "")) for one in seen]

    def spent(self) -> float:
        """Return the seconds of the processor that the page has taken, once the time domain is threadTicks."""
        metrics = self.call("Performance.getMetrics")["metrics"]
        return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))

    def _call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + _SECONDS
        while b"\0" not in self._rest:
            ready, _writable, _failed = select.select([self._read], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            chunk = os.read(self._read, 1 << 20)
            assert chunk, "the browser ended"
            self._rest += chunk
        line, _nul, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _note(self, event: dict[str, Any]) -> None:
        told = event.get("params", {})
        if event["method"] == "Runtime.exceptionThrown":
            self.said.append(str(told["exceptionDetails"]))
        if event["method"] == "Log.entryAdded":
            self.said.append(told["entry"]["text"])
        if event["method"] == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.said.append(str(told["args"]))


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser with a profile of its own, and end it."""
    (theirs_in, write), (read, theirs_out) = os.pipe(), os.pipe()
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # The protocol goes over file descriptors 3 and 4, for which bash can have any other (sh those up to 9 only).
        # No sandbox: the tests may be root, and the page is theirs.
        command = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", PROGRAM, "--no-sandbox"]
        command += ["--remote-debugging-pipe", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
        process = subprocess.Popen(
            command, pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            yield Browser(write, read)
        finally:
            os.close(write)  # and it ends by itself, with all that it has started
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
            os.close(read)
