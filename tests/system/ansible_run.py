# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a module of this collection on hosts of the lab as an operator would: `ansible HOST -m limiquantix.kvm.MODULE`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lab.api import Host
from lab.paths import INVENTORY

from .loaded_ansible import LoadedAnsible

CALLBACKS = Path(__file__).with_name("callback_plugins")
KEEP_PAYLOADS = {"ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS), "ANSIBLE_CALLBACKS_ENABLED": "keep_payloads"}
_ENVIRONMENT = {
    **KEEP_PAYLOADS,
    "ANSIBLE_STDOUT_CALLBACK": "as_json",
    "ANSIBLE_LOAD_CALLBACK_PLUGINS": "true",  # `ansible` (not ansible-playbook) uses its own callback otherwise
    "ANSIBLE_NOCOLOR": "true",
}


def run_module(
    host: Host, module: str, args: Mapping[str, Any], check: bool = False, timeout: float = 300, *, python: str = ""
) -> dict[str, Any]:
    """Return the module's result as Ansible has it, `failed` always in it; a failed task is a result too."""
    return run_module_on(host.name, module, args, check, timeout, python=python)[host.name]


def run_module_on(
    pattern: str, module: str, args: Mapping[str, Any], check: bool = False, timeout: float = 300, *, python: str = ""
) -> dict[str, dict[str, Any]]:
    """Run it on every host of an inventory pattern (`hypervisors`), under a ``python`` of theirs; return the results by host."""
    command = ["ansible", pattern, "-i", str(INVENTORY), "-m", f"limiquantix.kvm.{module}"]
    if args:  # "{}" is no arguments to Ansible, but a text
        command += ["-a", json.dumps(args)]
    if python:
        command += ["-e", f"ansible_python_interpreter={python}"]
    said, errors = _loaded().run([*command, "--check"] if check else command, timeout)
    try:
        results = [json.loads(line) for line in said.splitlines()]
    except ValueError:
        results = []
    if not results:
        raise AssertionError(f"{' '.join(command)} said no result:\n{said}{errors}")
    return {result.pop("host"): result for result in results}


@cache
def _loaded() -> LoadedAnsible:
    return LoadedAnsible(_ENVIRONMENT)
