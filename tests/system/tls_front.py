# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The TLS that the agent of the fixtures has not: passes each request on to it."""

from __future__ import annotations

import http.client
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class TlsFront(ThreadingHTTPServer):
    """Listens at ``address`` until it is stopped; the agent is at ``port`` of the loopback."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], port: int, certificate: Path, key: Path) -> None:
        super().__init__(address, _PassOn)
        self.agent_port = port
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _PassOn(BaseHTTPRequestHandler):
    server: TlsFront

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        agent = http.client.HTTPConnection("127.0.0.1", self.server.agent_port, timeout=30)
        agent.request(self.command, self.path, body or None)
        answer = agent.getresponse()
        content = answer.read()
        agent.close()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
