# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP to the agent: one request, one JSON answer, and a clear error for everything else. Nothing is ever sent twice."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
import urllib.error
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Optional
from urllib.parse import urljoin, urlsplit

from ansible.module_utils.urls import Request, make_context

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.connection_options import Address
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

LONGEST_ANSWER = 8 << 20  # bytes; a thousand VMs with twenty disks each are about 4 MiB
_LONGEST_TEXT = 2000  # characters of an agent's own words
_CHUNK = 1 << 16
_NO_CONTENT = 204


class InDoubtError(KvmError):
    """A request that was sent, or may have been, and has no usable answer: whether it was carried out must be looked up.

    ``silent`` tells that nothing came within the time, so that the agent may still be at work on it.
    """

    silent = False


class QxNodeError(KvmError):
    """The agent's own refusal: its ``status``, and its ``text`` as far as it has said any."""

    status = 0
    text = ""


@dataclass(frozen=True)
class _Answer:
    status: int
    content_type: str
    body: bytes
    location: str = ""

    @property
    def html(self) -> bool:
        return self.body.lstrip()[:1] == b"<"


class QxNodeClient:
    """One agent. May be used by many threads at once; every call is a connection of its own."""

    def __init__(self, address: Address) -> None:
        self.address = address
        headers = {"Accept": "application/json"}
        if address.token:
            headers["Authorization"] = f"Bearer {address.token}"
        self._request = Request(
            headers=headers,
            http_agent="limiquantix.kvm",
            follow_redirects="none",
            decompress=False,
            use_netrc=False,
            use_proxy=address.through_proxy,
            context=self._context(),
        )

    def _context(self) -> Any:
        """Read certificates once, and not for every request."""
        given = self.address
        try:
            return make_context(
                cafile=given.ca_path,
                validate_certs=given.validate_certs,
                client_cert=given.client_cert,
                client_key=given.client_key,
            )
        except (OSError, ValueError) as error:
            files = ", ".join(path for path in (given.ca_path, given.client_cert, given.client_key) if path)
            message = f"The certificates in {files or 'the system store'} cannot be used: {error}."
            raise KvmError("bad_request", message, "Nothing was changed. Give files in PEM format.") from error

    def get(self, path: str, doing: str, seconds: Optional[float] = None) -> dict[str, Any]:
        """Return the JSON object at a path of the API; it may take http_timeout unless something else is said."""
        answer = self._parsed(self._send("GET", path, None, seconds or self.address.timeout, doing), doing)
        if answer is None:
            raise self._bad(doing, "it answered nothing")
        return answer

    def change(self, method: str, path: str, body: Optional[dict[str, Any]], seconds: float, doing: str) -> None:
        """Have the agent change something, waiting so long for its answer: it comes when all is done.

        Raises `InDoubtError` where it may have been done all the same, `QxNodeError` where the agent says it was not.
        """
        self._parsed(self._send(method, path, body, seconds, doing), doing)

    def _send(self, method: str, path: str, body: Optional[dict[str, Any]], seconds: float, doing: str) -> _Answer:
        data = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        end = time.monotonic() + seconds
        try:
            response = self._request.open(method, self.address.base + path, data=data, headers=headers, timeout=seconds)
            return self._read(response, end, doing)
        except urllib.error.HTTPError as error:
            return self._read_refusal(error, end, doing)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._broken(error, seconds, doing) from error

    def _read_refusal(self, error: urllib.error.HTTPError, end: float, doing: str) -> _Answer:
        if error.fp is None:
            return _Answer(error.code, "", b"")
        try:
            return self._read(error, end, doing)
        except (OSError, http.client.HTTPException, ValueError):
            return _Answer(error.code, error.headers.get("Content-Type", ""), b"")  # its status says enough

    def _read(self, response: Any, end: float, doing: str) -> _Answer:
        """Read a bounded body, all of it, in bounded time. (`read(n)` of http.client does not miss what was cut off.)"""
        body = bytearray()
        with closing(response):
            while chunk := response.read(_CHUNK):
                body += chunk
                if len(body) > LONGEST_ANSWER:
                    raise self._bad(doing, f"its answer is longer than {LONGEST_ANSWER >> 20} MiB")
                if time.monotonic() > end:
                    raise socket.timeout("the answer never ended")
        headers = response.headers
        wanted = headers.get("Content-Length", "")
        if wanted.isdigit() and len(body) < int(wanted):
            raise self._bad(doing, f"the connection was cut after {len(body)} of {wanted} bytes")
        return _Answer(response.status, headers.get("Content-Type", ""), bytes(body), headers.get("Location", ""))

    def _parsed(self, answer: _Answer, doing: str) -> Optional[dict[str, Any]]:
        if 300 <= answer.status < 400:
            raise self._redirected(answer, doing)
        content = self._json(answer)
        if not 200 <= answer.status < 300:
            raise self._refused(answer, content, doing)
        if answer.status == _NO_CONTENT and not answer.body:
            return None
        if answer.html:
            page = "its web UI answers so at a wrong path: give url without a path"
            raise self._bad(doing, f"an HTML page came with status {answer.status} ({page})")
        if not isinstance(content, dict):
            raise self._bad(doing, f"something that is not a JSON object came with status {answer.status}")
        return content

    @staticmethod
    def _json(answer: _Answer) -> Any:
        try:
            return json.loads(answer.body)
        except (ValueError, RecursionError):
            return None

    def _refused(self, answer: _Answer, content: Any, doing: str) -> KvmError:
        where, status = self.address.where, answer.status
        told = content if isinstance(content, dict) else {}
        text = str(told.get("message") or told.get("error") or "").strip().rstrip(".")[:_LONGEST_TEXT]
        details = {"status": status, "agent_error": str(told.get("error", ""))[:_LONGEST_TEXT], "agent_message": text}
        if status in (401, 403):
            remedy = "Give the token or client_cert that it asks for."
            message = f"{where} refused {doing} with status {status}: {text or 'no reason given'}."
            return KvmError("permission_denied", message, remedy, **details)
        if not text and status >= 500:
            # A proxy before the agent, or a crash inside: neither knows what became of the request.
            return self._bad(doing, f"status {status} came without an error of qx-node", **details)
        if not text:
            return KvmError(
                "agent_bad_answer",
                f"{where} answered {doing} with status {status} and without an error of qx-node.",
                "Check that url is the address of qx-node. Its API is under /api/v1.",
                **details,
            )
        remedy = "Look at qx-node's log on that host, and at the VM there."
        failure = QxNodeError("agent_error", f"qx-node at {where} failed at {doing}: {text}.", remedy, **details)
        failure.status, failure.text = status, text
        return failure

    def _redirected(self, answer: _Answer, doing: str) -> KvmError:
        target = urlsplit(urljoin(self.address.base, answer.location))
        to = f"{target.scheme}://{target.hostname}" if target.hostname else "somewhere else"
        return KvmError(
            "agent_bad_answer",
            f"{self.address.where} answered {doing} with a redirect (status {answer.status}) to {to}; it was not followed.",
            "That changed nothing. If qx-node is at the new address, give that in url: redirects are never followed.",
            status=answer.status,
        )

    def _bad(self, doing: str, what: str, **details: Any) -> InDoubtError:
        remedy = "Check that url is the address of qx-node, and that it runs. See its log on that host."
        message = f"{self.address.where} gave no usable answer to {doing}: {what}."
        return InDoubtError("agent_bad_answer", message, remedy, **details)

    def _broken(self, error: Exception, seconds: float, doing: str) -> KvmError:
        """Return our error for one of the network's."""
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        where = self.address.where
        if isinstance(reason, ssl.SSLCertVerificationError):
            return KvmError(
                "certificate_invalid",
                f"The certificate of {where} is not trusted: {reason.verify_message}.",
                "Nothing was sent. Give its CA in ca_path, or in url the host's name as in the "
                "certificate. With validate_certs: false the module would trust anybody who answers "
                "there.",
            )
        if isinstance(reason, socket.timeout):  # TimeoutError only from Python 3.10 on
            remedy = "Look at qx-node and its host, or give a longer http_timeout."
            message = f"{where} has not answered {doing} within {seconds:.0f} seconds."
            doubt = InDoubtError("agent_unreachable", message, remedy)
            doubt.silent = True
            return doubt
        remedy = (
            "Check that qx-node runs there (rc-service qx-node status, systemctl status qx-node), and that "
            "url is right."
        )
        text = str(reason).strip().rstrip(".") or type(reason).__name__
        if isinstance(reason, ssl.SSLError):
            message = f"{where} failed to speak TLS at {doing}: {text}."
            return InDoubtError(
                "agent_unreachable",
                message,
                "Check whether it is https:// there, and whether it asks for a client_cert.",
            )
        if isinstance(reason, (ConnectionRefusedError, socket.gaierror)):
            message = f"qx-node at {where} cannot be reached for {doing}: {text}."
            return KvmError("agent_unreachable", message, f"Nothing was sent. {remedy}")
        return InDoubtError("agent_unreachable", f"{where} dropped the connection at {doing}: {text}.", remedy)
