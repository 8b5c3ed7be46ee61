# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where on this host things are kept that belong to a libvirt: its own, by its source, and this collection's."""

from __future__ import annotations

import os

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.firmware_states import SWTPM_HOME

_RECORDS = "/var/lib/limiquantix-kvm"


def record_directory(uri: str) -> str:
    """Return where the records of a hypervisor lie."""
    return os.path.join(_home("XDG_STATE_HOME", "~/.local/state"), "limiquantix-kvm") if _is_session(uri) else _RECORDS


def swtpm_directory(uri: str) -> str:
    """Return where libvirt keeps the states of TPMs, a directory for each VM, unless the VM's definition says otherwise."""
    return os.path.join(_home("XDG_CONFIG_HOME", "~/.config"), "libvirt/qemu/swtpm") if _is_session(uri) else SWTPM_HOME


def _is_session(uri: str) -> bool:
    return uri.endswith("/session")


def _home(variable: str, default: str) -> str:
    return os.environ.get(variable) or os.path.expanduser(default)
