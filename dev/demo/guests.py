"""What the demo does inside of web01, through its guest agent, as somebody who is logged in there would."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from lab.api import Host, hosts

FILE = "/data/release"
_BOOT = 180  # seconds; a guest that was reverted boots first, on a machine that has much else to do


def write(text: str) -> dict[str, str]:
    """Write the file in every web01, and return what is in it now, by host."""
    return {host.name: _shell(host, f"echo '{text}' >{FILE} && sync && cat {FILE}") for host in hosts()}


def read() -> dict[str, str]:
    """Return what is in the file of every web01, by host."""
    return {host.name: _shell(host, f"cat {FILE}") for host in hosts()}


def _shell(host: Host, script: str) -> str:
    arguments = {"path": "/bin/busybox", "arg": ["sh", "-c", script], "capture-output": True}
    end = time.monotonic() + _BOOT
    while True:
        try:
            started = _ask(host, "guest-exec", arguments)
            break
        except AssertionError:  # the agent is not there yet
            if time.monotonic() > end:
                raise
            time.sleep(1)
    while not (ended := _ask(host, "guest-exec-status", {"pid": started["pid"]}))["exited"]:
        time.sleep(0.1)
    return base64.b64decode(ended.get("out-data", "")).decode().strip()


def _ask(host: Host, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    request = json.dumps({"execute": command, "arguments": arguments})
    answer: dict[str, Any] = json.loads(host.virsh("qemu-agent-command", "web01", request))["return"]
    return answer
