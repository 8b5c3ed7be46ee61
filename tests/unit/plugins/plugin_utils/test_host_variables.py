# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of hosts are read as they are, and a host that registered nothing tells nothing."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.plugin_utils.host_variables import of_hosts, registered_on


class HostVars(dict[str, Any]):
    """Ansible's: whoever asks it for a host in the usual way has every string looked at for templates."""

    def raw_get(self, host: str) -> dict[str, Any]:
        return dict(super().__getitem__(host))

    def __getitem__(self, host: str) -> Any:
        return pytest.fail("each string was looked at")


def test_nothing_that_a_module_returned_is_taken_for_a_template() -> None:
    assert of_hosts(HostVars(a={"x": "{{ y }}"}, b={}), ["a"]) == {"a": {"x": "{{ y }}"}}


def test_a_host_that_registered_nothing_tells_nothing() -> None:
    hosts = {"a": {"looked": {"vms": []}}, "b": {}, "c": {"looked": None}}
    assert registered_on(hosts, ["a", "b", "c"], "looked") == {"a": {"vms": []}, "b": {}, "c": {}}
