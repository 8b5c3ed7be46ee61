# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend qx_node through the modules, from their arguments to their JSON, over an agent that misbehaves."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible.module_utils import basic

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.qx_node import doubt as _doubt
from ansible_collections.limiquantix.kvm.plugins.modules import vm_snapshot, vm_snapshot_info, vm_snapshot_prune
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._hypervisor.qx_node.bad_agent import (
    PAGE,
    TOKEN,
    WEB01,
    BadAgent,
)

MODULES = {
    "vm_snapshot": vm_snapshot,
    "vm_snapshot_info": vm_snapshot_info,
    "vm_snapshot_prune": vm_snapshot_prune,
}
INVTSC = "error: cannot migrate domain: State blocked by non-migratable CPU device (invtsc flag)"
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def agent() -> Iterator[BadAgent]:
    """A good agent, until a test makes it a bad one."""
    found = BadAgent()
    yield found
    found.stop()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a module over an agent, with a token that is never to be seen again."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(_doubt, "_PAUSE", 0.05)
    monkeypatch.setattr(_doubt, "LOOK_SECONDS", 1.0)

    def run(agent: BadAgent, module: str = "vm_snapshot", check: bool = False, **wish: Any) -> dict[str, Any]:
        given = {"backend": "qx_node", "url": agent.url, "token": TOKEN, "http_timeout": 1, "timeout": 4, **wish}
        wish = {
            "_ansible_check_mode": check,
            "_ansible_remote_tmp": str(tmp_path),
            **{key: value for key, value in given.items() if value is not None},
        }
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": wish}).encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        with pytest.raises(SystemExit):
            MODULES[module].main()
        said = capsys.readouterr()
        assert TOKEN not in said.out + said.err
        assert "Traceback" not in said.out + said.err
        result: dict[str, Any] = json.loads(said.out.strip().splitlines()[-1])
        return {"failed": False, **result}

    return run


def only(result: dict[str, Any]) -> dict[str, Any]:
    (entry,) = result["vms"]
    found: dict[str, Any] = entry
    return found


def test_take_again_revert_and_remove(agent: BadAgent, run: Run) -> None:
    for check, changed in ((True, True), (False, True), (True, False), (False, False)):
        result = run(agent, vm="web*", name="s", check=check)
        assert (result["changed"], result["disk_only"]) == (changed, True)
    assert agent.bodies == [{"name": "s", "quiesce": False, "includeMemory": False}]
    assert {headers["Authorization"] for headers in agent.headers} == {f"Bearer {TOKEN}"}
    checked = run(agent, vm=WEB01, name="s", state="reverted", check=True)
    real = run(agent, vm=WEB01, name="s", state="reverted")
    assert checked["diff"] == real["diff"]
    assert (only(checked)["power"], only(real)["power"]) == (None, "running")
    for check, changed in ((True, True), (False, True), (True, False), (False, False)):
        assert run(agent, vm="web01", name="s", state="absent", check=check)["changed"] is changed
    assert [one for one in agent.requests if one[0] != "GET"] == [
        ("POST", f"/api/v1/vms/{WEB01}/snapshots"),
        ("POST", f"/api/v1/vms/{WEB01}/snapshots/id-s/revert"),
        ("DELETE", f"/api/v1/vms/{WEB01}/snapshots/id-s"),
    ]


def test_nothing_is_asked_needlessly(agent: BadAgent, run: Run) -> None:
    snapshots = f"/api/v1/vms/{WEB01}/snapshots"
    looks = [("GET", "/api/v1/vms"), ("GET", snapshots)]
    run(agent, vm="web01", name="s")
    assert agent.requests == [*looks, ("POST", snapshots), ("GET", snapshots)]
    agent.requests.clear()
    run(agent, vm="web01", name="s")
    assert agent.requests == looks


def test_a_vm_that_is_off_is_left_alone(agent: BadAgent, run: Run) -> None:
    agent.vms[0]["state"] = "STOPPED"
    for check in (True, False):
        entry = only(run(agent, vm="web01", name="s", running_only=True, check=check))
        assert (entry["changed"], entry["msg"]) == (False, "left alone: shutoff")
    assert agent.count("POST") == 0


def test_nothing_is_invented(agent: BadAgent, run: Run) -> None:
    run(agent, vm="web01", name="s", description="kept by nobody")
    (vm,) = run(agent, "vm_snapshot_info")["vms"]
    (snapshot,) = vm["snapshots"]
    assert snapshot.pop("name") == "s"
    assert set(snapshot.values()) == {None}
    assert vm["memory"] == {"can_be_saved": None, "blockers": None, "bytes": None}
    assert (vm["state"], vm["guest_agent"], vm["persistent"], vm["problems"], vm["chains"]) == (
        "running",
        None,
        None,
        None,
        [],
    )


def test_what_newer_agents_tell_is_used(agent: BadAgent, run: Run) -> None:
    agent.vms[0]["guestAgent"] = {"connected": True}
    agent.snapshots = [
        {"snapshotId": "2", "name": "below", "description": "", "parentId": "1"},
        {"snapshotId": "1", "name": "above", "description": "told", "parentId": None},
    ]
    (vm,) = run(agent, "vm_snapshot_info")["vms"]
    assert [(one["name"], one["parent"], one["description"]) for one in vm["snapshots"]] == [
        ("above", None, "told"),
        ("below", "above", None),
    ]
    assert vm["guest_agent"] is True
    entry = only(run(agent, vm="web01", name="s"))
    assert agent.bodies[-1]["quiesce"] is True
    assert entry["quiesced"] is None
    assert "does not tell whether it did" in entry["msg"]


# --- reading ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "status", "error_code", "says"),
    [
        (PAGE, 200, "agent_bad_answer", "HTML page came with status 200 (its web UI answers so at a wrong path"),
        (b"[]", 200, "agent_bad_answer", "not a JSON object"),
        (b"[" * 200_000, 200, "agent_bad_answer", "not a JSON object"),
        (b'{"vms": {}}', 200, "agent_bad_answer", "no list 'vms'"),
        (b'{"vms": [{"name": "x"}]}', 200, "agent_bad_answer", "no text 'vmId'"),
        (PAGE, 502, "agent_bad_answer", "status 502"),
        (PAGE, 404, "agent_bad_answer", "status 404"),
        (PAGE, 401, "permission_denied", "token"),
        ((500, "libvirt is gone"), 0, "agent_error", "libvirt is gone"),
        ("half", 200, "agent_bad_answer", "was cut after"),
        ("big", 200, "agent_bad_answer", "longer than 8 MiB"),
        ("redirect", 200, "agent_bad_answer", "was not followed"),
        ("cut", 200, "agent_unreachable", "dropped the connection"),
        ("silent", 200, "agent_unreachable", "within 1 seconds"),
    ],
)
def test_an_answer_that_is_none(
    agent: BadAgent, run: Run, *, fault: Any, status: int, error_code: str, says: str
) -> None:
    agent.break_on("GET", fault, status)
    result = run(agent, vm="web01", name="s")
    assert (result["failed"], result["changed"], result["error_code"]) == (True, False, error_code)
    assert says in result["msg"]
    assert f"127.0.0.1:{agent.server_port}" in result["msg"] or "does not fit its API" in result["msg"]
    assert len(agent.requests) == 1


def test_an_agent_that_does_not_listen_is_told(agent: BadAgent, run: Run) -> None:
    agent.stop()
    result = run(agent, vm="web01", name="s")
    assert (result["error_code"], "Nothing was sent" in result["msg"]) == ("agent_unreachable", True)


# --- taking -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["cut", "silent", "half", PAGE, b"not json"])
def test_taken_and_not_answered(agent: BadAgent, run: Run, fault: Any) -> None:
    agent.break_on("POST", fault)
    entry = only(run(agent, vm="web01", name="s"))
    assert (entry["changed"], entry["failed"], entry["disk_only"]) == (True, False, True)
    assert "The module looked: taking snapshot 's' of web01 was done" in entry["msg"]
    assert (agent.count("POST"), agent.names) == (1, ["s"])


@pytest.mark.parametrize(
    ("fault", "status", "error_code"),
    [
        ("cut_before", 200, "connection_lost"),
        ("silent_before", 200, "outcome_unknown"),
        (PAGE, 200, "agent_bad_answer"),
        (PAGE, 504, "agent_bad_answer"),
    ],
)
def test_not_taken_and_not_answered(agent: BadAgent, run: Run, fault: Any, status: int, error_code: str) -> None:
    agent.forgets = True
    agent.break_on("POST", fault, status)
    result = run(agent, vm="web01", name="s")
    assert (result["failed"], result["changed"], result["error_code"]) == (True, False, error_code)
    assert "'s' of web01" in result["msg"]
    assert "It was not tried again" in result["msg"]
    assert (agent.count("POST"), agent.names) == (1, [])


def test_memory_is_not_claimed_where_nobody_knows(agent: BadAgent, run: Run) -> None:
    agent.break_on("POST", "cut")
    result = run(agent, vm="web01", name="s", include_memory=True)
    assert (result["error_code"], result["changed"], agent.count("POST")) == ("outcome_unknown", True, 1)
    # What would show it, and what the next run makes of it.
    assert "virsh snapshot-dumpxml" in result["msg"]
    assert "remove 's' first" in result["msg"]
    assert "vm_snapshot_info" not in result["msg"]
    agent.fault = None
    again = only(run(agent, vm="web01", name="s", include_memory=True))
    assert (again["changed"], again["failed"], again["disk_only"]) == (False, False, None)
    assert again["msg"] == "snapshot 's' already exists; qx-node does not tell whether it holds the memory"


def test_looking_fails_too(agent: BadAgent, run: Run) -> None:
    agent.break_on("POST", "cut")
    original = agent.fault_of

    def also_after_the_post(method: str) -> Any:
        return "cut" if agent.count("POST") else original(method)

    agent.fault_of = also_after_the_post  # type: ignore[method-assign]
    result = run(agent, vm="web01", name="s")
    assert (result["error_code"], agent.count("POST")) == ("outcome_unknown", 1)


def test_a_redirect_of_a_post_is_not_followed(agent: BadAgent, run: Run) -> None:
    agent.forgets = True
    agent.break_on("POST", "redirect")
    result = run(agent, vm="web01", name="s")
    assert (result["error_code"], agent.count("POST")) == ("agent_bad_answer", 1)
    assert "token=abc" not in json.dumps(result)


@pytest.mark.parametrize(
    ("wish", "text", "error_code", "says"),
    [
        ({"include_memory": True}, INVTSC, "memory_blocked", "TSC frequency"),
        ({}, INVTSC, "agent_outdated", "deploy"),
        ({}, "error: guest agent is not connected", "agent_unavailable", "qemu-guest-agent"),
        ({}, "error: failed to get domain 'x'", "vm_not_found", "web01"),
        ({}, "error: domain snapshot s already exists", "busy", "Somebody else took"),
        ({}, "error: no space left on device", "agent_error", "no space left"),
    ],
)
def test_the_agents_refusals(
    agent: BadAgent, run: Run, *, wish: dict[str, Any], text: str, error_code: str, says: str
) -> None:
    agent.refusals = [(500, text)]
    result = run(agent, vm="web01", name="s", **wish)
    entry = only(result)
    assert (result["changed"], entry["error_code"], entry["details"]["agent_message"]) == (False, error_code, text)
    assert says in entry["msg"]
    assert text in entry["msg"]
    assert agent.count("POST") == 1


def test_memory_and_freeze_are_left_out_where_the_task_allows_it(agent: BadAgent, run: Run) -> None:
    agent.vms[0]["guestAgent"] = True
    agent.refusals = [(500, INVTSC), (500, "error: guest agent is not connected")]
    entry = only(run(agent, vm="web01", name="s", include_memory=True, on_memory_blocked="disk_only"))
    assert [(body["includeMemory"], body["quiesce"]) for body in agent.bodies] == [
        (True, False),
        (False, True),
        (False, False),
    ]
    assert (entry["changed"], entry["disk_only"], entry["quiesced"]) == (True, True, False)
    assert "memory left out" in entry["notes"][0]
    assert "not quiesced" in entry["notes"][1]


def test_it_is_said_to_be_taken_and_is_not_there(agent: BadAgent, run: Run) -> None:
    agent.forgets = True
    assert run(agent, vm="web01", name="s")["error_code"] == "verification_failed"
    assert agent.count("POST") == 1


def test_a_vm_that_goes_away(agent: BadAgent, run: Run) -> None:
    agent.break_on("GET", (500, "error: failed to get domain"), skip=1)
    assert run(agent, vm="web01", name="s")["error_code"] == "vm_not_found"
    assert agent.count("POST") == 0


# --- removing and reverting -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error_code"),
    [("cut", None), ("silent", None), ("cut_before", "connection_lost"), ("silent_before", "outcome_unknown")],
)
def test_a_removal_that_is_not_answered(agent: BadAgent, run: Run, fault: str, error_code: str | None) -> None:
    run(agent, vm="web01", name="s")
    agent.break_on("DELETE", fault)
    entry = only(run(agent, vm="web01", name="s", state="absent"))
    assert (entry["error_code"], entry["changed"]) == (error_code, error_code is None)
    assert agent.count("DELETE") == 1


@pytest.mark.parametrize("fault", ["cut", "silent", "cut_before", PAGE])
def test_a_revert_that_is_not_answered(agent: BadAgent, run: Run, fault: Any) -> None:
    run(agent, vm="web01", name="s")
    agent.break_on("POST", fault)
    result = run(agent, vm="web01", name="s", state="reverted")
    assert result["error_code"] == "outcome_unknown"
    assert "another revert would delete" in result["msg"]
    assert "vm_snapshot_info" not in result["msg"]  # it could not tell
    assert agent.count("POST") == 2  # with that of the taking


# --- what cannot be had -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "wish"),
    [
        ("vm_snapshot", {"name": "s", "disks": ["vda"]}),
        ("vm_snapshot", {"name": "s", "overlay_dir": "/srv"}),
        ("vm_snapshot", {"name": "s", "protected": True}),
        ("vm_snapshot", {"name": "s", "labels": {"a": "b"}}),
        ("vm_snapshot", {"name": "s", "quiesce": "required"}),
        ("vm_snapshot", {"name": "s", "state": "reverted", "power": "shutoff"}),
        ("vm_snapshot", {"name": "s", "state": "absent", "children": True}),
        ("vm_snapshot", {"name": "s", "state": "absent", "bandwidth": 5}),
        ("vm_snapshot_prune", {"older_than": "7d", "include_foreign": True}),
        ("vm_snapshot_prune", {"keep_last": 3, "include_foreign": True}),
        ("vm_snapshot_prune", {"orphans": True, "include_foreign": True}),
        ("vm_snapshot_prune", {"names": ["s"]}),
    ],
)
def test_what_nobody_could_promise_is_refused(agent: BadAgent, run: Run, module: str, wish: dict[str, Any]) -> None:
    result = run(agent, module, vms=["*"], **wish)
    assert (result["failed"], result["changed"], result["error_code"]) == (True, False, "not_supported")
    assert result["details"]["options"][0] in result["msg"]
    assert agent.requests == []


def test_pruning_by_name(agent: BadAgent, run: Run) -> None:
    for name in ("nightly-1", "nightly-2", "golden"):
        run(agent, vm="web01", name=name)
    result = run(agent, "vm_snapshot_prune", vms=["*"], names=["*"], protect=["golden"], include_foreign=True)
    assert sorted(only(result)["removed"]) == ["nightly-1", "nightly-2"]
    assert agent.names == ["golden"]


@pytest.mark.parametrize(
    "wish",
    [
        {"url": "https://admin:hunter2@127.0.0.1:1"},
        {"url": "ftp://127.0.0.1"},
        {"url": "127.0.0.1:8443"},
        {"url": "https://127.0.0.1:port"},
        {"url": "https://127.0.0.1:1/?token=hunter2"},
        {"url": "http://192.0.2.1:8080"},  # with a token
        {"ca_path": "/no/such/file"},
        {"client_key": "/dev/null"},
        {"token": "hunter2\nX-Evil: 1"},
        {"http_timeout": 0},
    ],
)
def test_options_that_make_no_sense(agent: BadAgent, run: Run, wish: dict[str, Any]) -> None:
    result = run(agent, vm="web01", name="s", **wish)
    assert (result["failed"], result["error_code"]) == (True, "bad_request"), result
    result.pop("invocation", None)
    assert "hunter2" not in json.dumps(result)
    assert agent.requests == []


def test_url_is_required(agent: BadAgent, run: Run) -> None:
    for module in ("vm_snapshot", "vm_snapshot_info", "vm_snapshot_prune"):
        result = run(agent, module, vms=["*"], url=None)
        assert result["msg"] == "backend is qx_node but all of the following are missing: url"
        assert result["failed"]


# --- TLS ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    if not shutil.which("openssl"):
        pytest.skip("there is no openssl to make a certificate with")
    file = tmp_path / "certificate.pem"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*command, "-keyout", str(file), "-out", str(tmp_path / "ca.pem")], check=True, capture_output=True)
    file.write_text(file.read_text() + (tmp_path / "ca.pem").read_text())
    return file


def test_a_certificate_is_verified(certificate: Path, run: Run) -> None:
    agent = BadAgent(certificate)
    try:
        refused = run(agent, vm="web01", name="s")
        assert refused["error_code"] == "certificate_invalid"
        assert "ca_path" in refused["msg"]
        assert agent.requests == []
        assert run(agent, vm="web01", name="s", ca_path=str(certificate.with_name("ca.pem")))["changed"]
        assert run(agent, vm="web01", name="t", validate_certs=False)["changed"]
        assert agent.names == ["s", "t"]
        plain = run(agent, vm="web01", name="s", url=agent.url.replace("https", "http"))
        assert plain["error_code"] in ("agent_unreachable", "agent_bad_answer")
    finally:
        agent.stop()


def test_https_to_one_that_speaks_http(agent: BadAgent, run: Run) -> None:
    result = run(agent, vm="web01", name="s", url=agent.url.replace("http", "https"))
    assert (result["error_code"], "TLS" in result["msg"]) == ("agent_unreachable", True)
