# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an agent is and how to prove who asks: the options of the task, checked before the first request."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional
from urllib.parse import urlsplit

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

_API = "/api/v1"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Address:
    """An agent's API. ``base`` has no slash at its end; ``token`` is in no text that this class makes of itself."""

    base: str
    validate_certs: bool = True
    ca_path: Optional[str] = None
    client_cert: Optional[str] = None
    client_key: Optional[str] = None
    token: Optional[str] = field(default=None, repr=False)
    timeout: int = 30

    @property
    def secure(self) -> bool:
        """Whether requests are encrypted."""
        return self.base.startswith("https:")

    @property
    def on_this_machine(self) -> bool:
        return urlsplit(self.base).hostname in _LOOPBACK

    @property
    def through_proxy(self) -> bool:
        """Whether a proxy of the environment may carry requests: to this machine none leads, and none is to read a token."""
        return not self.on_this_machine and (self.secure or not self.token)

    @property
    def where(self) -> str:
        """The agent as messages name it: host and port."""
        return urlsplit(self.base).netloc


def address(params: Mapping[str, Any]) -> Address:
    """Return the agent that the task names. Raises ``bad_request``, and never repeats what may be a secret."""
    base = _base(params.get("url") or "")
    found = Address(
        base=base,
        validate_certs=params.get("validate_certs", True),
        ca_path=params.get("ca_path"),
        client_cert=params.get("client_cert"),
        client_key=params.get("client_key"),
        token=params.get("token") or None,
        timeout=params.get("http_timeout", 30),
    )
    _check_files(found)
    _check_token(found)
    return found


def _base(url: str) -> str:
    if not url:
        raise _refused("url is missing: backend: qx_node needs it, such as https://host:8443.")
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise _refused("url is not an address: its host or port is not valid.") from None
    if parts.username is not None or parts.password is not None:
        raise _refused("url has a user or password in it, which logs would show. Give a token instead.")
    if parts.scheme not in ("http", "https") or not host or not url.isascii() or not url.isprintable() or " " in url:
        raise _refused("url must be http:// or https:// with a host and, usually, a port, such as https://host:8443.")
    if parts.query or parts.fragment:
        raise _refused("url has a '?' or '#' in it. Give only the address of qx-node, such as https://host:8443.")
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path if path.endswith(_API) else path + _API}"


def _check_files(found: Address) -> None:
    for option in ("ca_path", "client_cert", "client_key"):
        path = getattr(found, option)
        if path and not os.access(path, os.R_OK):
            raise _refused(f"{option} is {path}, which is not a readable file on the machine where the module runs.")
    if found.client_key and not found.client_cert:
        raise _refused("client_key is given without client_cert.")


def _check_token(found: Address) -> None:
    if not found.token:
        return
    if not (found.token.isascii() and found.token.isprintable()) or " " in found.token:
        raise _refused("token has white space, a line break or a character in it that no HTTP header can carry.")
    if not found.secure and not found.on_this_machine:
        raise _refused("token would be sent unencrypted to another host. Use https:// in url.")


def _refused(message: str) -> KvmError:
    return KvmError("bad_request", message, "Nothing was changed, and nothing was sent.")
