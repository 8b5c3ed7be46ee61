# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each state of a task does with a host's files and service."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent import actions, preflight
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.actions import absent, present, previous
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.errors import DeployError
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._node_agent.fake_host import (
    OURS,
    THEIRS,
    bring,
    fake_host,
)


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(actions.Host, "version", lambda *_: "1.0")
    monkeypatch.setattr(preflight, "TIME_TO_END", 0, raising=False)
    return fake_host(tmp_path)


def deploy(there: Any, content: str, service_file: str = "auto") -> str:
    sha = bring(there.host, content)
    there.params.update(state="present", sha256=sha, service_file=service_file)
    assert present(there.host, False)["changed"]
    return sha


def go_back(there: Any, service_file: str = "auto") -> dict[str, Any]:
    there.params.update(state="previous", sha256="", service_file=service_file)
    return previous(there.host, False)


def refused(there: Any) -> DeployError:
    with pytest.raises(DeployError) as raised:
        absent(there.host, False)
    return raised.value


def test_a_service_file_of_the_hosts_that_comes_back_is_left_alone(there: Any) -> None:
    """Of a run that was to replace it, and was killed."""
    there.releases.path.write_text("by hand")
    there.releases.keep_current()
    noted = {"to": "f" * 64, "release": there.releases.current(), "own_file": THEIRS, "changes_service_file": True}
    there.host.unfinished_file.write_text(json.dumps(noted))
    there.service.own.write_text(OURS)
    sha = deploy(there, "second")
    assert (there.releases.current(), there.service.own.read_text()) == (sha, THEIRS)


# --- going back ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [True, False])
def test_going_back_brings_the_hosts_own_service_file(there: Any, own: bool) -> None:
    file = there.service.own if own else there.service.vendors
    there.releases.path.write_text("by hand")
    file.write_text(THEIRS)
    file.chmod(0o640)
    by_hand = there.releases.current()
    second = deploy(there, "second", "always")
    assert (there.service.text(), there.service.is_ours()) == (OURS, True)
    assert go_back(there)["changed"]
    assert (there.releases.current(), there.service.file(), there.service.text()) == (by_hand, file, THEIRS)
    assert file.stat().st_mode & 0o777 == 0o640
    go_back(there, "always")  # and forward again
    assert (there.releases.current(), there.service.text()) == (second, OURS)


def test_going_back_brings_the_service_file_that_the_release_ran_with(there: Any) -> None:
    deploy(there, "first")
    there.params["systemd_unit"] = f"{OURS}other\n"
    deploy(there, "second")
    go_back(there)
    assert there.service.text() == OURS


# --- removing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [True, False])
def test_removing_leaves_the_host_as_it_was(there: Any, own: bool) -> None:
    file = there.service.own if own else there.service.vendors
    there.releases.path.write_text("by hand")
    file.write_text(THEIRS)
    file.chmod(0o640)
    deploy(there, "second", "always")
    deploy(there, "third", "always")
    told = absent(there.host, True)["diff"][0]["after"]
    assert (str(file) in told) == own
    assert absent(there.host, False)["changed"]
    assert (there.service.file(), file.read_text(), file.stat().st_mode & 0o777) == (file, THEIRS, 0o640)
    assert (there.releases.path.read_text(), there.releases.base.exists()) == ("by hand", False)
    assert not absent(there.host, False)["changed"]


def test_removing_takes_the_lock_and_undoes_what_a_killed_run_left(there: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    there.releases.path.write_text("by hand")
    there.service.own.write_text(THEIRS)
    by_hand = there.releases.current()
    there.releases.keep_current()
    noted = {"to": "f" * 64, "release": by_hand, "own_file": THEIRS, "changes_service_file": True}
    there.host.unfinished_file.write_text(json.dumps(noted))
    there.service.own.write_text(OURS)
    held = []
    real = there.releases.leave

    def leave(_releases: Any) -> None:
        with (there.releases.base / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(True)
        real()

    monkeypatch.setattr(type(there.releases), "leave", leave)
    assert absent(there.host, False)["changed"]
    assert held == [True]
    assert (there.service.own.read_text(), there.releases.path.read_text()) == (THEIRS, "by hand")


@pytest.mark.parametrize("orphan", [True, False])
def test_an_agent_that_runs_on_is_not_called_removed(there: Any, orphan: bool) -> None:
    sha = deploy(there, "first")
    if orphan:
        there.probe.orphans = {8: (sha, "/opt/qx-node")}
    else:
        there.service.failing = {"stop"}
    error = refused(there)
    assert (error.error_code, f"(kill {8 if orphan else 7})" in error.remedy) == ("still_running", True)
    assert there.releases.stored(sha)
    there.probe.orphans, there.service.failing = {}, set()
    there.service.stop()
    assert absent(there.host, False)["changed"]
    assert not os.path.lexists(there.releases.path)


@pytest.mark.parametrize("what", ["disable", "reload"])
def test_an_init_that_fails_is_told_and_the_next_run_removes_the_rest(there: Any, what: str) -> None:
    deploy(there, "first")
    there.service.failing = {what}
    error = refused(there)
    assert (error.error_code, f"`{what}` failed" in error.message) == ("init_failed", True)
    there.service.failing = set()
    assert absent(there.host, False)["changed"]
    assert (there.service.file(), there.releases.base.exists()) == (None, False)


def test_a_folder_that_cannot_be_written_is_told_before_anything_stops(
    there: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(there, "first")
    monkeypatch.setattr("os.access", lambda path, _mode: path != there.releases.path.parent)
    assert (refused(there).error_code, there.service.runs) == ("read_only", True)
