# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to qx-node: bad answers, no answer, redirects, certificates."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.qx_node.bad_agent import (
    PAGE,
    BadAgent,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.qx_node.modules import (
    Run,
    agent,
    run,
)

__all__ = ("agent", "run")


@pytest.mark.parametrize(
    ("fault", "status", "error_code", "says"),
    [
        (PAGE, 200, "agent_bad_answer", "HTML page came with status 200 (its web UI answers so at a wrong path"),
        (b"[]", 200, "agent_bad_answer", "not a JSON object"),
        (b"[" * 200_000, 200, "agent_bad_answer", "not a JSON object"),
        (b'{"vms": {}}', 200, "agent_bad_answer", "no list 'vms'"),
        (b'{"vms": [{"name": "x"}]}', 200, "agent_bad_answer", "no text 'vmId'"),
        (PAGE, 502, "agent_bad_answer", "status 502"),
        (PAGE, 404, "agent_bad_answer", "status 404"),
        (PAGE, 401, "permission_denied", "token"),
        ((500, "libvirt is gone"), 0, "agent_error", "libvirt is gone"),
        ("half", 200, "agent_bad_answer", "was cut after"),
        ("big", 200, "agent_bad_answer", "longer than 8 MiB"),
        ("redirect", 200, "agent_bad_answer", "was not followed"),
        ("cut", 200, "agent_unreachable", "dropped the connection"),
        ("silent", 200, "agent_unreachable", "within 1 seconds"),
    ],
)
def test_an_answer_that_is_none(
    agent: BadAgent, run: Run, *, fault: Any, status: int, error_code: str, says: str
) -> None:
    agent.break_on("GET", fault, status)
    result = run(agent, vm="web01", name="s")
    assert (result["failed"], result["changed"], result["error_code"]) == (True, False, error_code)
    assert says in result["msg"]
    assert f"127.0.0.1:{agent.server_port}" in result["msg"] or "does not fit its API" in result["msg"]
    assert len(agent.requests) == 1


def test_an_agent_that_does_not_listen_is_told(agent: BadAgent, run: Run) -> None:
    agent.stop()
    result = run(agent, vm="web01", name="s")
    assert (result["error_code"], "Nothing was sent" in result["msg"]) == ("agent_unreachable", True)


def test_a_redirect_of_a_post_is_not_followed(agent: BadAgent, run: Run) -> None:
    agent.forgets = True
    agent.break_on("POST", "redirect")
    result = run(agent, vm="web01", name="s")
    assert (result["error_code"], agent.count("POST")) == ("agent_bad_answer", 1)
    assert "token=abc" not in json.dumps(result)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    if not shutil.which("openssl"):
        pytest.skip("there is no openssl to make a certificate with")
    file = tmp_path / "certificate.pem"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*command, "-keyout", str(file), "-out", str(tmp_path / "ca.pem")], check=True, capture_output=True)
    file.write_text(file.read_text() + (tmp_path / "ca.pem").read_text())
    return file


def test_a_certificate_is_verified(certificate: Path, run: Run) -> None:
    agent = BadAgent(certificate)
    try:
        refused = run(agent, vm="web01", name="s")
        assert refused["error_code"] == "certificate_invalid"
        assert "ca_path" in refused["msg"]
        assert agent.requests == []
        assert run(agent, vm="web01", name="s", ca_path=str(certificate.with_name("ca.pem")))["changed"]
        assert run(agent, vm="web01", name="t", validate_certs=False)["changed"]
        assert agent.names == ["s", "t"]
        plain = run(agent, vm="web01", name="s", url=agent.url.replace("https", "http"))
        assert plain["error_code"] in ("agent_unreachable", "agent_bad_answer")
    finally:
        agent.stop()


def test_https_to_one_that_speaks_http(agent: BadAgent, run: Run) -> None:
    result = run(agent, vm="web01", name="s", url=agent.url.replace("http", "https"))
    assert (result["error_code"], "TLS" in result["msg"]) == ("agent_unreachable", True)
