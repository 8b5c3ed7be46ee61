# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
from typing import Optional

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent import health as _health
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.errors import NotServing
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.health import Health

URL = "http://127.0.0.1:8080/api/v1/host/health"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"healthy": true, "version": "2"}', None),
        ('{"healthy": false}', "says healthy: false"),
        ('{"healthy": "true"}', 'says healthy: "true"'),
        ('{"status": "ok"}', "not with the JSON of qx-node"),
        ("[true]", "not with the JSON of qx-node"),
        ("<!doctype html>\n<html>", "not with the JSON of qx-node: '<!doctype html>'"),
        ('{"healthy": tr', "not with the JSON of qx-node"),
        ("", "not with the JSON of qx-node"),
    ],
)
def test_only_a_plain_true_is_healthy(monkeypatch: pytest.MonkeyPatch, body: str, reason: Optional[str]) -> None:
    monkeypatch.setattr(_health, "open_url", lambda *_words, **_options: io.BytesIO(body.encode()))
    health = Health(URL, True, None)
    if reason is None:
        assert health.ask() == "2"
    else:
        with pytest.raises(NotServing, match=reason.replace("[", r"\[")):
            health.ask()
