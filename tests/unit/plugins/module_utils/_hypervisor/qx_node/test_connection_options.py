# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where qx-node is: options that make no sense together, and what is missing."""

from __future__ import annotations

import json
from typing import Any, Optional

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.connection_options import address
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.qx_node.bad_agent import (
    TOKEN,
    BadAgent,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.qx_node.modules import (
    Run,
    agent,
    run,
)

__all__ = ("agent", "run")


@pytest.mark.parametrize(
    "wish",
    [
        {"url": "https://admin:hunter2@127.0.0.1:1"},
        {"url": "ftp://127.0.0.1"},
        {"url": "127.0.0.1:8443"},
        {"url": "https://127.0.0.1:port"},
        {"url": "https://127.0.0.1:1/?token=hunter2"},
        {"url": "http://192.0.2.1:8080"},  # with a token
        {"ca_path": "/no/such/file"},
        {"client_key": "/dev/null"},
        {"token": "hunter2\nX-Evil: 1"},
        {"http_timeout": 0},
    ],
)
def test_options_that_make_no_sense(agent: BadAgent, run: Run, wish: dict[str, Any]) -> None:
    result = run(agent, vm="web01", name="s", **wish)
    assert (result["failed"], result["error_code"]) == (True, "bad_request"), result
    result.pop("invocation", None)
    assert "hunter2" not in json.dumps(result)
    assert agent.requests == []


@pytest.mark.parametrize(
    ("url", "token", "proxy"),
    [
        ("http://127.0.0.1:8080", "t", False),
        ("http://127.0.0.1:8080", None, False),
        ("https://[::1]:8443", "t", False),
        ("http://192.0.2.1:8080", None, True),
        ("https://192.0.2.1:8443", "t", True),
    ],
)
def test_no_proxy_is_asked_for_this_machine(url: str, token: Optional[str], proxy: bool) -> None:
    assert address({"url": url, "token": token}).through_proxy == proxy


def test_a_token_does_not_go_to_the_proxy_of_the_environment(
    agent: BadAgent, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = BadAgent()
    try:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        assert run(agent, vm="web01", name="s", token=TOKEN)["changed"]
        assert (proxy.requests, agent.names) == ([], ["s"])
    finally:
        proxy.stop()


def test_url_is_required(agent: BadAgent, run: Run) -> None:
    for module in ("vm_snapshot", "vm_snapshot_info", "vm_snapshot_prune"):
        result = run(agent, module, vms=["*"], url=None)
        assert result["msg"] == "backend is qx_node but all of the following are missing: url"
        assert result["failed"]
