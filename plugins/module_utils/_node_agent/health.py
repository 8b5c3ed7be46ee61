# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's own word on how it is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Optional
from urllib.error import HTTPError

from ansible.module_utils.urls import open_url

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.errors import NotServing


@dataclass(frozen=True)
class Health:
    """The agent's own word."""

    url: str
    validate_certs: bool
    ca_path: Optional[str]

    def ask(self) -> str:
        """Return the version that answers; raise NotServing when the answer is not a healthy agent's."""
        try:
            answer = open_url(
                self.url,
                timeout=3,
                validate_certs=self.validate_certs,
                ca_path=self.ca_path,
                follow_redirects="none",
                use_proxy=False,
            )
            body = answer.read(1 << 16)
        except HTTPError as error:
            raise NotServing(f"{self.url} answers with status {error.code}") from error
        except (OSError, ValueError) as error:
            raise NotServing(f"{self.url} does not answer: {getattr(error, 'reason', error)}") from error
        try:
            said = json.loads(body)
        except ValueError:
            said = None
        if not isinstance(said, dict) or "healthy" not in said:
            start = body[:60].decode(errors="replace").split("\n")[0]
            raise NotServing(f"{self.url} answers, but not with the JSON of qx-node: {start!r}")
        if said["healthy"] is not True:
            raise NotServing(f"{self.url} says healthy: {json.dumps(said['healthy'])}")
        return str(said.get("version", ""))
