# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options every module of this collection shares, and the one place that knows every backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.contract import Hypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


def hypervisor_arguments() -> dict[str, Any]:
    """Return the options of the doc fragment ``hypervisor``."""
    return {
        "backend": {"type": "str", "choices": ["libvirt", "mock", "qx_node"], "default": "libvirt"},
        "uri": {"type": "str", "default": "qemu:///system"},
        "mock_path": {"type": "path"},
        "url": {"type": "str", **_from_environment("url")},
        "validate_certs": {"type": "bool", "default": True},
        "ca_path": {"type": "path", **_from_environment("ca_path")},
        "client_cert": {"type": "path", **_from_environment("client_cert")},
        "client_key": {"type": "path", "no_log": False, **_from_environment("client_key")},
        "token": {"type": "str", "no_log": True, **_from_environment("token")},
        "http_timeout": {"type": "int", "default": 30},
        "missing": {"type": "str", "choices": ["fail", "skip"], "default": "fail"},
        "parallel": {"type": "int", "default": 4},
        "timeout": {"type": "int", "default": 600},
    }


def _from_environment(option: str) -> dict[str, Any]:
    """Return where an option's value comes from if the task gives none: the environment of the module, on its machine."""
    from ansible.module_utils.basic import env_fallback  # modules have it; who opens a hypervisor otherwise may not

    return {"fallback": (env_fallback, [f"LIMIQUANTIX_KVM_{option.upper()}"])}


def hypervisor_requirements() -> list[tuple[str, str, list[str]]]:
    """Return ``required_if`` for these options."""
    return [("backend", "mock", ["mock_path"]), ("backend", "qx_node", ["url"])]


def open_hypervisor(params: Mapping[str, Any]) -> Hypervisor:
    """Open the backend that the task names; what the others need is not even imported."""
    check_limits(params)
    if params["backend"] == "mock":
        from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor

        return MockHypervisor(params["mock_path"])
    if params["backend"] == "qx_node":
        from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.connection_options import (
            address,
        )
        from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.hypervisor import (
            QxNodeHypervisor,
        )
        from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node.unsupported import refuse

        refuse(params)
        return QxNodeHypervisor(address(params))
    from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.hypervisor import (
        LibvirtHypervisor,
    )

    return LibvirtHypervisor(params["uri"], may_adjust=params.get("apparmor") == "adjust")


def check_limits(params: Mapping[str, Any]) -> None:
    """Raise ``bad_request`` for a number of seconds or VMs that makes no sense."""
    for option in ("parallel", "timeout", "quiesce_timeout", "http_timeout"):
        value = params.get(option, 1)
        if value < 1:
            raise KvmError("bad_request", f"{option} is {value}. It must be 1 or more.", "Nothing was changed.")
