# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that the environment of the module gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.qx_node.bad_agent import (
    TOKEN,
    BadAgent,
)
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import IMPORT_PATH

RUN = f"""
import json, sys
sys.path[:0] = {IMPORT_PATH!r}
from ansible.module_utils import basic
basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = sys.argv[1].encode(), "legacy"
from ansible_collections.limiquantix.kvm.plugins.modules.vm_snapshot_info import main
main()
"""


@pytest.fixture
def agent() -> Iterator[BadAgent]:
    agent = BadAgent()
    yield agent
    agent.stop()


def look(environment: dict[str, str], **arguments: Any) -> dict[str, Any]:
    command = [sys.executable, "-c", RUN, json.dumps({"ANSIBLE_MODULE_ARGS": arguments})]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, **environment})
    assert TOKEN not in done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def test_the_environment_gives_address_and_token(agent: BadAgent) -> None:
    environment = {"LIMIQUANTIX_KVM_URL": agent.url, "LIMIQUANTIX_KVM_TOKEN": TOKEN}
    assert [vm["vm"] for vm in look(environment, backend="qx_node")["vms"]] == ["web01"]
    assert {headers.get("Authorization") for headers in agent.headers} == {f"Bearer {TOKEN}"}


def test_what_the_task_gives_comes_before_the_environment(agent: BadAgent) -> None:
    environment = {"LIMIQUANTIX_KVM_URL": "http://127.0.0.1:1", "LIMIQUANTIX_KVM_TOKEN": "of-somebody-else"}
    assert "failed" not in look(environment, backend="qx_node", url=agent.url, token=TOKEN)
    assert {headers.get("Authorization") for headers in agent.headers} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("option", ["ca_path", "client_cert", "client_key"])
def test_the_environment_gives_the_files_too(agent: BadAgent, option: str) -> None:
    given = {f"LIMIQUANTIX_KVM_{option.upper()}": "/nowhere.pem"}
    result = look({**given, "LIMIQUANTIX_KVM_URL": agent.url}, backend="qx_node")
    assert (result["error_code"], result["msg"][: len(option)]) == ("bad_request", option)
    assert agent.requests == []


def test_an_empty_variable_is_as_none_at_all(agent: BadAgent) -> None:
    """Of a credential's fields that nobody filled in, AWX makes empty variables."""
    names = ("TOKEN", "CA_PATH", "CLIENT_CERT", "CLIENT_KEY")
    empty = {f"LIMIQUANTIX_KVM_{name}": "" for name in names}
    assert "failed" not in look({**empty, "LIMIQUANTIX_KVM_URL": agent.url}, backend="qx_node")
    assert {headers.get("Authorization") for headers in agent.headers} == {None}
