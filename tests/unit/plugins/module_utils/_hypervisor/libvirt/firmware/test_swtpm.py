# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Swtpm's lock on a state is waited for, and held while the state is replaced."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import parse
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware import swtpm
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.firmware.swtpm import (
    firmware_of,
    let_go,
)

HOLDER = """
import fcntl, sys, time
stream = open(sys.argv[1], "r+b")
fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


def hold(file: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(file), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / ".lock").touch()
    made = tmp_path / "tpm2-00.permall"
    made.touch()
    return made


def test_a_swtpm_that_is_ending_is_waited_for(state: Path) -> None:
    began = time.monotonic()
    with hold(state.parent / ".lock", 0.5) as process, let_go("tpm", str(state)):
        assert time.monotonic() - began >= 0.4
        assert process.wait() == 0


def test_a_swtpm_that_does_not_end_is_told(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swtpm, "_ENDS_WITHIN", 0.1)
    with hold(state.parent / ".lock", 30) as process:
        try:
            with pytest.raises(OSError, match="swtpm process still has it"), let_go("tpm", str(state)):
                pass
        finally:
            process.kill()


def test_the_lock_is_held_for_the_block(state: Path) -> None:
    words = [sys.executable, "-c", HOLDER, str(state.parent / ".lock"), "0"]
    with let_go("tpm", str(state)):
        assert subprocess.run(words, check=False, capture_output=True).returncode != 0
    assert subprocess.run(words, check=False, capture_output=True).returncode == 0


def test_one_file_for_all_states_is_locked_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swtpm, "_ENDS_WITHIN", 0.1)
    linear = tmp_path / "web01"
    linear.touch()
    with hold(linear, 30) as process:
        try:
            with pytest.raises(OSError, match="swtpm"), let_go("tpm", str(linear)):
                pass
        finally:
            process.kill()


@pytest.mark.parametrize(("part", "name"), [("nvram", "VARS.fd"), ("tpm", "gone/tpm2-00.permall")])
def test_where_nobody_locks_nothing_is_locked(tmp_path: Path, part: str, name: str) -> None:
    with let_go(part, str(tmp_path / name)):
        pass


@pytest.mark.parametrize(
    ("uri", "home"),
    [("qemu:///system", "/var/lib/libvirt/swtpm"), ("qemu:///session", "/config/libvirt/qemu/swtpm")],
)
def test_a_users_own_libvirt_keeps_tpms_elsewhere(monkeypatch: pytest.MonkeyPatch, uri: str, home: str) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/config")
    xml = "<domain><uuid>4b1d</uuid><devices><tpm><backend type='emulator' version='2.0'/></tpm></devices></domain>"
    assert (
        firmware_of(SimpleNamespace(getURI=lambda: uri), parse(xml))["tpm"].file == f"{home}/4b1d/tpm2/tpm2-00.permall"
    )
