# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The change to another release and the way back: what is kept for later, and what comes back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.errors import DeployError
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.host import Host
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.switch_release import change, recover
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._node_agent.fake_host import (
    OURS,
    THEIRS,
    bring,
    fake_host,
)


@pytest.fixture
def there(tmp_path: Path) -> Any:
    return fake_host(tmp_path)


def deployed(there: Any, content: str) -> str:
    sha = bring(there.host, content)
    change(there.host, sha, OURS, restart=True)
    return sha


def refused(there: Any, to: str, text: Any = None) -> str:
    there.probe.bad.add(to)
    with pytest.raises(DeployError) as raised:
        change(there.host, to, text, restart=True)
    there.probe.bad.discard(to)
    return raised.value.message


def killed(there: Any, to: str, **more: Any) -> None:
    """Leave what a run leaves that is killed before the switch."""
    noted = {"to": to, "release": there.releases.current(), "own_file": OURS, "changes_service_file": False, **more}
    there.host.unfinished_file.write_text(json.dumps(noted))


# --- which releases stay ------------------------------------------------------------------------------------------------


def test_a_new_release_that_does_not_serve_goes(there: Any) -> None:
    first = deployed(there, "first")
    assert "is back, runs and is healthy" in refused(there, bring(there.host, "second"))
    assert there.releases.all() == [first]


def test_the_operators_own_binary_stays_although_going_back_to_it_failed(there: Any) -> None:
    there.releases.path.write_text("by hand")
    by_hand = there.releases.current()
    second = deployed(there, "second")
    there.params["state"] = "previous"
    assert "is back, runs and is healthy" in refused(there, by_hand)
    assert (there.releases.current(), there.releases.previous()) == (second, by_hand)
    there.releases.leave()
    assert there.releases.path.read_text() == "by hand"


def test_a_release_that_has_served_stays_although_it_failed_this_time(there: Any) -> None:
    first = deployed(there, "first")
    for content in ("second", "third"):
        deployed(there, content)
    refused(there, first)
    assert there.releases.stored(first)


def test_a_release_of_a_run_that_was_killed_is_there_for_the_next(there: Any) -> None:
    deployed(there, "first")
    second = bring(there.host, "second")
    killed(there, second)
    assert "An earlier run was interrupted" in (recover(there.host) or "")
    assert there.releases.stored(second)
    change(there.host, second, None, restart=True)
    assert there.releases.current() == second


def test_an_old_release_is_still_there_for_the_run_that_finishes_anothers(there: Any) -> None:
    there.params["keep"] = 1
    wanted = bring(there.host, "wanted")
    os.utime(there.releases.binary(wanted).parent, (1, 1))
    first, second = bring(there.host, "first"), bring(there.host, "second")
    there.releases.use(first)
    there.service.runs = True
    killed(there, second)
    there.releases.use(second)
    assert "serves, and stays" in (recover(there.host) or "")
    assert there.releases.stored(wanted)
    change(there.host, bring(there.host, "third"), None, restart=True)
    assert set(there.releases.all()) == {second, there.releases.current()}


def test_a_release_that_was_damaged_meanwhile_is_not_put_back_in_place(there: Any) -> None:
    first, second = deployed(there, "first"), bring(there.host, "second")
    killed(there, second)
    there.releases.use(second)
    there.releases.binary(first).write_text("damaged")
    there.probe.bad.add(second)
    assert f"The release before ({first[:12]}) is missing or damaged" in (recover(there.host) or "")
    assert there.releases.current() == second
    assert there.host.unfinished() is None


def test_a_process_that_nobody_has_ended_is_no_proof(there: Any) -> None:
    first = deployed(there, "first")
    second = bring(there.host, "second")
    there.service.stop()
    there.probe.orphans = {8: (second, "/opt/qx-node")}
    with pytest.raises(DeployError, match=r"Process 8 is in the way\. .* QX-NODE ON THIS HOST DOES NOT SERVE"):
        change(there.host, second, None, restart=True)
    assert there.releases.current() == first


# --- the VMs ------------------------------------------------------------------------------------------------------------


def test_vms_that_ended_are_named_and_such_as_libvirt_does_not_tell_of_are_not(
    there: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = [{"web01", "db01"}, {"web01"}]
    monkeypatch.setattr(Host, "vms", lambda _host: told.pop(0))
    with pytest.raises(DeployError, match="do not run any more: db01"):
        change(there.host, bring(there.host, "first"), OURS, restart=True)
    for answers, when in (([{"web01"}, None], "after"), ([None, {"web01"}], "before")):
        told.extend(answers)
        _version, (warning,) = change(there.host, bring(there.host, when), OURS, restart=True)
        assert f"libvirt did not list them {when} the change" in warning


# --- the service's file, and whether it starts with the host ------------------------------------------------------------


def test_the_hosts_own_service_file_is_kept_with_its_rights(there: Any) -> None:
    deployed(there, "first")
    there.service.own.write_text(THEIRS)
    there.service.own.chmod(0o640)
    deployed(there, "second")
    kept = there.releases.original_service
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == (THEIRS, 0o640)
    change(there.host, bring(there.host, "first"), THEIRS, restart=True)
    assert (there.service.own.read_text(), there.service.own.stat().st_mode & 0o777) == (THEIRS, 0o640)


def test_the_hosts_own_service_file_comes_back_at_once_with_its_rights(there: Any) -> None:
    there.releases.path.write_text("by hand")
    there.service.own.write_text(THEIRS)
    there.service.own.chmod(0o640)
    refused(there, bring(there.host, "second"), OURS)
    assert (there.service.own.read_text(), there.service.own.stat().st_mode & 0o777) == (THEIRS, 0o640)


def test_a_service_file_of_the_hosts_that_lies_elsewhere_is_in_force_again_without_ours(there: Any) -> None:
    there.releases.path.write_text("by hand")
    by_hand = there.releases.current()
    there.service.vendors.write_text(THEIRS)
    deployed(there, "second")
    assert there.releases.original_service.read_text() == ""
    change(there.host, by_hand, "", restart=True)
    assert (there.service.file(), there.service.starts) == (there.service.vendors, True)


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("own", [True, False])
def test_whether_it_starts_with_the_host_comes_back_too(there: Any, own: bool, started: bool) -> None:
    there.releases.path.write_text("by hand")
    (there.service.own if own else there.service.vendors).write_text(THEIRS)
    there.service.starts = started
    refused(there, bring(there.host, "second"), OURS)
    assert (there.service.starts, there.service.text()) == (started, THEIRS)


def test_an_init_that_fails_does_not_keep_the_service_file_from_coming_back(there: Any) -> None:
    there.service.failing |= {"disable"}
    refused(there, bring(there.host, "first"), OURS)
    assert there.service.file() is None


def test_what_an_earlier_version_left_is_undone_as_before(there: Any) -> None:
    first = deployed(there, "first")
    killed(there, bring(there.host, "second"))
    assert f"({first[:12]}) is back, runs and is healthy" in (recover(there.host) or "")
    assert (there.service.starts, there.service.text()) == (True, OURS)
