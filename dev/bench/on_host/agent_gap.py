# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the agent's API did not answer: runs on the hypervisor, asks it without pause, and prints one JSON object.

agent_gap.py OLD NEW       until the version NEW has answered in place of OLD for two seconds; the gap is the longest between two
                           good answers
"""

from __future__ import annotations

import http.client
import json
import sys
import time

SECONDS = 120  # for the whole upgrade


def version() -> str:
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=1)
    try:
        connection.request("GET", "/api/v1/host/health")
        health = json.load(connection.getresponse())
        return str(health["version"]) if health["healthy"] else ""
    except (OSError, ValueError, KeyError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def main(old: str, new: str) -> None:
    started = last = time.monotonic()
    longest, new_since = 0.0, 0.0
    while not new_since or time.monotonic() - new_since < 2:
        answered, now = version(), time.monotonic()
        if answered in {old, new}:
            longest, last = max(longest, now - last), now
            new_since = new_since or (now if answered == new else 0.0)
        if now - started > SECONDS:
            raise SystemExit(f"{new} did not answer within {SECONDS} s")
        time.sleep(0.01)
    print(json.dumps({"gap_ms": longest * 1000}))


if __name__ == "__main__":
    main(*sys.argv[1:])
