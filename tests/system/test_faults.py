# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is killed, late or missing: the guest goes on, nothing is orphaned, a rerun gets there, the error says so."""

from __future__ import annotations

import re

import pytest
from lab.api import Host, reset_vm

from .guest import at_nudges, files_of, freeze_status, is_writing, nudge, wait_for
from .planted import Planted, only, planted, snapshot_names

__all__ = ("planted",)


def fresh_guest(planted: Planted, vm: str = "web01") -> Host:
    """Return the host with a pristine guest that writes."""
    reset_vm(planted.host, vm)
    wait_for(f"the writer of {vm}", lambda: is_writing(planted.host, vm), 60)
    return planted.host


@pytest.mark.parametrize(
    "step", ["take_steps, 'create_overlay'", "take_steps.Taking, '_switch'", "take_steps.Taking, '_verify'"]
)
def test_a_module_killed_at_any_step_leaves_a_thawed_guest_and_no_orphan(planted: Planted, step: str) -> None:
    host = fresh_guest(planted)
    assert "killed" in planted.snapshot(f"before({step}, die)", "web01", "killed")
    assert is_writing(host, "web01"), "the guest is frozen"
    again = only(planted.snapshot("", "web01", "killed"))
    assert again["error_code"] is None
    assert snapshot_names(host, "web01") == ["killed"]
    assert files_of(host, "web01") == {"web01.qcow2", "web01.vda.killed.qcow2"}


@pytest.mark.parametrize(("quiesce", "error_code"), [("auto", None), ("required", "quiesce_lost")])
def test_no_freeze_outlives_its_limit_and_none_is_reported_that_did_not_last(
    planted: Planted, quiesce: str, error_code: str | None
) -> None:
    host = fresh_guest(planted)
    # The limit is a time: the switch begins when it is over.
    fault = "before(take_steps.Taking, '_switch', lambda: time.sleep(4))"
    entry = only(planted.snapshot(fault, "web01", "slow", quiesce=quiesce, quiesce_timeout=2))
    assert entry["error_code"] == error_code
    assert entry["quiesced"] is False
    assert "not quiesced" in entry["msg"]
    assert snapshot_names(host, "web01") == ["slow"]
    gaps = re.findall(r"longest_gap_ms=([\d.]+)", host.run("tail -n 12 /var/log/lab/web01.log").stdout)
    assert 1500 < max(map(float, gaps)) < 5000, "the guest was not thawed at the limit"


def test_libvirtd_killed_while_the_guest_is_frozen(planted: Planted) -> None:
    host = fresh_guest(planted)
    fault = "before(take_steps.Taking, '_switch', lambda: subprocess.run(['pkill', '-KILL', '-x', 'libvirtd']))"
    entry = only(planted.snapshot(fault, "web01", "lost"))
    assert entry["failed"]
    host.run("systemctl start libvirtd")
    assert is_writing(host, "web01", 30), "the guest is frozen"
    assert only(planted.snapshot("", "web01", "lost"))["error_code"] is None
    assert files_of(host, "web01") == {"web01.qcow2", "web01.vda.lost.qcow2"}


def test_an_agent_that_does_not_answer(planted: Planted) -> None:
    host = fresh_guest(planted)
    at_nudges(host, "web01", "kill -STOP $agent")
    host.run(nudge("web01", 1))
    required = only(planted.snapshot("", "web01", "hung", quiesce="required", quiesce_timeout=5))
    # Libvirt 7.0 may have noticed by itself that the agent is gone.
    assert required["error_code"] in ("quiesce_failed", "agent_unavailable")
    assert snapshot_names(host, "web01") == []
    assert files_of(host, "web01") == {"web01.qcow2"}
    auto = only(planted.snapshot("", "web01", "hung", quiesce_timeout=5))
    assert auto["error_code"] is None
    assert auto["quiesced"] is False
    assert "not quiesced" in auto["msg"]
    assert is_writing(host, "web01")


def test_an_agent_that_freezes_long_after_it_was_asked(planted: Planted) -> None:
    host = fresh_guest(planted)
    at_nudges(host, "web01", "kill -STOP $agent", "kill -CONT $agent")
    # It answers, on a busy machine late, and is stopped just before it is asked to freeze.
    patient = "answers = freeze._answers; freeze._answers = lambda domain, _few, freeze: answers(domain, 60, freeze)"
    stop = f"lambda: subprocess.run({nudge('web01', 1)!r}, shell=True, check=True)"
    fault = f"{patient}\nbefore(freeze, '_freeze', {stop})"
    entry = only(planted.snapshot(fault, "web01", "late", quiesce_timeout=2))
    assert entry["error_code"] == "thaw_failed"
    assert entry["quiesced"] is False
    assert "virsh domfsthaw web01" in entry["msg"]
    assert snapshot_names(host, "web01") == ["late"]
    # The agent wakes up, freezes as it was asked to before all else, and the guard is still there to thaw.
    host.run(nudge("web01", 2))
    wait_for("the thaw", lambda: freeze_status(host, "web01") == "thawed", 60)
    assert is_writing(host, "web01"), "the guest is frozen"


def test_a_freeze_of_somebody_else_is_left_to_them(planted: Planted) -> None:
    host = fresh_guest(planted)
    host.virsh("domfsfreeze", "web01")
    entry = only(planted.snapshot("", "web01", "theirs"))
    assert entry["quiesced"] is False
    assert freeze_status(host, "web01") == "frozen", "their freeze was ended"
    host.virsh("domfsthaw", "web01")
    assert is_writing(host, "web01")


def test_the_agent_time_limit_is_put_back(planted: Planted) -> None:
    host = fresh_guest(planted)
    host.virsh("guest-agent-timeout", "web01", "--timeout", "17")
    assert only(planted.snapshot("", "web01", "limit"))["quiesced"] is True
    assert "<agentTimeout>17</agentTimeout>" in host.run("cat /run/libvirt/qemu/web01.xml").stdout


def test_memory_that_is_not_saved_in_time_is_given_up_cleanly(planted: Planted) -> None:
    fault = "real = switch.alarm; switch.alarm = lambda seconds, ring: real(0, ring); switch._ABORT_AGAIN = 0.001"
    for _attempt in range(5):  # a quick machine may have saved the memory before the abort comes
        host = fresh_guest(planted, "db01")
        entry = only(planted.snapshot(fault, "db01", "late", include_memory=True))
        if entry["error_code"]:
            break
    assert entry["error_code"] == "timeout"
    assert snapshot_names(host, "db01") == []
    assert files_of(host, "db01") == {"db01.qcow2"}
    assert is_writing(host, "db01")


def test_a_refusal_of_libvirt_leaves_nothing_behind(planted: Planted) -> None:
    reset_vm(planted.host, "off01")
    entry = only(planted.snapshot("switch.to_xml = lambda *_: '<domainsnapshot><disks><disk/>'", "off01", "bad"))
    assert entry["error_code"] == "libvirt_error"
    assert files_of(planted.host, "off01") == {"off01.qcow2"}


def test_libvirtd_that_does_not_run(planted: Planted) -> None:
    units = "libvirtd.service libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket"
    planted.host.run(f"systemctl stop {units}")
    try:
        result = planted.snapshot("", "off01", "down")
    finally:
        planted.host.run("systemctl start libvirtd.socket libvirtd.service")
    assert result["error_code"] == "connection_failed"
    assert "systemctl start libvirtd" in result["msg"]


def test_libvirtd_that_hangs(planted: Planted) -> None:
    planted.host.run("pkill -STOP -x libvirtd")
    try:
        result = planted.snapshot("connection._OPEN_SECONDS = 5", "off01", "hanging")
    finally:
        planted.host.run("pkill -CONT -x libvirtd")
    assert result["error_code"] == "connection_failed"
    assert "has not answered" in result["msg"]


def test_a_vm_with_a_managed_save_is_refused(planted: Planted) -> None:
    host = fresh_guest(planted, "db01")
    host.virsh("managedsave", "db01")
    entry = only(planted.snapshot("", "db01", "saved"))
    assert entry["error_code"] == "managed_save"
    assert files_of(host, "db01") == {"db01.qcow2"}


def test_a_user_without_permission_is_told_of_become(planted: Planted) -> None:
    result = planted.snapshot("", "off01", "denied", user="nobody")
    assert result["error_code"] == "permission_denied"
    assert "become" in result["msg"]


@pytest.mark.parametrize("uri", ["qemu+ssh://elsewhere/system", "test:///default", "nonsense", "", "qemu:///"])
def test_a_uri_that_is_not_of_this_host(planted: Planted, uri: str) -> None:
    assert planted.snapshot("", "off01", "uri", uri=uri)["error_code"] == "bad_uri"


@pytest.mark.parametrize(("library", "package"), [("lxml", "python3-lxml"), ("libvirt", "python3-libvirt")])
def test_a_missing_library_is_named_with_its_package(planted: Planted, library: str, package: str) -> None:
    code = f"""import sys; sys.modules[{library!r}] = None
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.hypervisor import LibvirtHypervisor
try:
    LibvirtHypervisor("qemu:///system")
except Exception as error:
    print(error.error_code, error.full_message)
"""
    said = planted.run_python(code)
    assert said.startswith("missing_library")
    assert f"apt-get install {package}" in said
