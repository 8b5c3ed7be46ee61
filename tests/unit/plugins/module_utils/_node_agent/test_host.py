# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was there before a change that is under way."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent import host as host_file
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.host import Host, Unfinished, does_not_run


def host(base: Path, run: Any = None) -> Host:
    releases: Any = SimpleNamespace(base=base)
    missing: Any = None
    return Host(releases, missing, missing, run, {"libvirt_uri": "qemu:///system", "health_timeout": 1, "stay_up": 1})


def test_a_change_under_way_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert host(tmp_path).unfinished() is None
    noted = Unfinished("new", "old", None, changes_service_file=True)
    host(tmp_path).unfinished_file.write_text(json.dumps(asdict(noted)))
    assert host(tmp_path).unfinished() == noted


def test_one_change_at_a_time_holds_the_lock(tmp_path: Path) -> None:
    with host(tmp_path / "base").alone():
        assert (tmp_path / "base/lock").exists()


def test_a_lock_that_a_removal_has_deleted_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, removing = host(tmp_path), host(tmp_path)
    monkeypatch.setattr(host_file.time, "sleep", lambda _seconds: removal.close())
    with ExitStack() as removal:
        removal.enter_context(removing.alone())
        removal.callback((tmp_path / "lock").unlink)
        with waiting.alone(), (tmp_path / "lock").open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_goes_wrong_under_the_lock_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"), host(tmp_path).alone():
        raise FileNotFoundError("gone")


def test_vms_are_those_that_virsh_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_file.shutil, "which", lambda _name: "/usr/bin/virsh")
    assert host(tmp_path, lambda _words: (0, "web01\nweb02\n\n")).vms() == {"web01", "web02"}
    assert host(tmp_path, lambda _words: (1, "error: no connection")).vms() is None


def test_a_warning_of_virsh_is_no_vm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    virsh = tmp_path / "virsh"
    virsh.write_text('#!/bin/sh\necho "warning: old" >&2\necho "$5 of $3"\n')
    virsh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def run(words: Sequence[str]) -> tuple[int, str]:
        done = subprocess.run(words, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.returncode, done.stdout

    assert host(tmp_path, run).vms() == {"--name of qemu:///system"}


def test_a_release_that_cannot_run_says_why_and_that_nothing_was_changed() -> None:
    error = does_not_run("it is made for aarch64")
    assert (error.error_code, "it is made for aarch64. Nothing was changed" in error.message) == ("does_not_run", True)
