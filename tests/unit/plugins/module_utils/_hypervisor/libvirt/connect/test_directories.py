# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's own libvirt and the system's have directories of their own."""

from __future__ import annotations

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.directories import (
    record_directory,
    swtpm_directory,
)


def test_where_records_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    assert record_directory("qemu:///system") == "/var/lib/limiquantix-kvm"
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert record_directory("qemu:///session") == "/state/limiquantix-kvm"


def test_where_the_states_of_tpms_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    assert swtpm_directory("qemu:///system") == "/var/lib/libvirt/swtpm"
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/a")
    assert swtpm_directory("qemu:///session") == "/home/a/.config/libvirt/qemu/swtpm"
