# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An agent that behaves as badly as a test wants, over real sockets, and counts what it is asked."""

from __future__ import annotations

import json
import ssl
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Optional

WEB01 = "11111111-1111-4111-8111-111111111111"
TOKEN = "s3cr3t-t0ken"  # noqa: S105
PAGE = b"<!doctype html><html><head><title>limiQuantix</title></head></html>\n"


class BadAgent(ThreadingHTTPServer):
    """VM web01, running. ``fault`` befalls requests of the method ``on``, from the ``skip``-th after that on.

    A fault is a status with a text (the agent's own error), bytes (sent as they are, with status ``status``), or a word:
    cut and silent come after the work was done, cut_before and silent_before instead of it; half, big, redirect.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, certificate: Optional[Path] = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
            self.scheme = "https"
        self.vms: Any = [{"vmId": WEB01, "name": "web01", "state": "RUNNING", "disks": [], "guestAgent": None}]
        self.snapshots: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.on, self.fault, self.status, self.skip = "", None, 200, 0  # type: str, Any, int, int
        self.refusals: list[tuple[int, str]] = []  # one after the other, to POSTs
        self.forgets = False
        self.end = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    @property
    def names(self) -> list[str]:
        return [one["name"] for one in self.snapshots]

    def count(self, method: str) -> int:
        return sum(asked == method for asked, _path in self.requests)

    def break_on(self, method: str, fault: Any, status: int = 200, skip: int = 0) -> None:
        self.on, self.fault, self.status, self.skip = method, fault, status, skip

    def stop(self) -> None:
        self.end.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up; that is what many tests are about."""

    def fault_of(self, method: str) -> Any:
        if self.on != method or self.fault is None:
            return None
        if self.skip:
            self.skip -= 1
            return None
        return self.fault


class _Handler(BaseHTTPRequestHandler):
    server: BadAgent

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""

    def handle(self) -> None:
        with suppress(OSError):
            super().handle()

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _answer(self, method: str) -> None:
        agent = self.server
        agent.requests.append((method, self.path))
        agent.headers.append(dict(self.headers))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if method == "POST" and body:
            agent.bodies.append(json.loads(body))
        if method == "POST" and agent.refusals:
            status, text = agent.refusals.pop(0)
            self._send(status, {"error": "create_snapshot_failed", "message": text})
            return
        fault = agent.fault_of(method)
        if fault == "silent_before":
            agent.end.wait(20)
        if fault in ("cut_before", "silent_before"):
            self.close_connection = True
            return
        if isinstance(fault, tuple):
            self._send(fault[0], {"error": "failed", "message": fault[1]})
            return
        self._tell(fault, *self._work(method, body))

    def _tell(self, fault: Any, status: int, answer: Any) -> None:
        agent = self.server
        if fault == "silent":
            agent.end.wait(20)
        if fault in ("cut", "silent"):
            self.close_connection = True
        elif fault == "redirect":
            self.send_response(307)
            self.send_header("Location", f"http://127.0.0.1:{agent.server_port}/elsewhere?token=abc")
            self.end_headers()
        elif fault == "half":
            self._send(status or 200, answer or {"some": "body"}, keep=0.5)
        elif fault == "big":
            self._raw(200, b'{"vms": [' + b" " * (10 << 20) + b"]}", "application/json")
        elif isinstance(fault, bytes):
            self._raw(agent.status, fault, "text/html")
        else:
            self._send(status, answer)

    def _work(self, method: str, body: bytes) -> tuple[int, Any]:
        agent, parts = self.server, self.path.strip("/").split("/")[2:]
        if method == "GET":
            return 200, {"vms": agent.vms} if parts == ["vms"] else {"snapshots": agent.snapshots}
        if method == "DELETE":
            agent.snapshots = [one for one in agent.snapshots if one["snapshotId"] != parts[3]]
            return 204, None
        if parts[-1] != "revert" and not agent.forgets:
            name = json.loads(body)["name"]
            made_up = {"createdAt": "2026-11-23T12:00:00Z", "vmState": "RUNNING", "parentId": None, "description": ""}
            agent.snapshots = [*agent.snapshots, {"snapshotId": f"id-{name}", "name": name, **made_up}]
        return (204, None) if parts[-1] == "revert" else (200, {"name": "what the agent says"})

    def _send(self, status: int, content: Any, keep: float = 1) -> None:
        self._raw(status, b"" if content is None else json.dumps(content).encode(), "application/json", keep)

    def _raw(self, status: int, body: bytes, kind: str, keep: float = 1) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: int(len(body) * keep)])
        self.close_connection = True
