# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory and freeze in a snapshot: saved, refused, left out, and never claimed."""

from __future__ import annotations

import pytest

from contract.results import names, only, refused, taken
from contract.taking import name
from contract.world import World

__all__ = ("name",)


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True)])
def test_other_memory_is_a_mismatch(world: World, name: str, first: bool, second: bool) -> None:
    snapshot = taken(world.snapshot("files01", name, include_memory=first))
    assert snapshot["include_memory"] is first
    for check in (True, False):
        entry = refused(world.snapshot("files01", name, include_memory=second, check=check), "snapshot_mismatch")
        assert entry["details"]["existing"]["name"] == name


def test_memory_is_saved_and_the_vm_goes_on(world: World, name: str) -> None:
    snapshot = taken(world.snapshot("files01", name, include_memory=True))
    assert (snapshot["include_memory"], snapshot["state"], snapshot["quiesced"]) == (True, "running", False)
    assert snapshot["memory_file"] in world.files("files01")
    assert world.state("files01") == "running"


@pytest.mark.parametrize("check", [True, False])
def test_memory_of_an_invtsc_vm_is_refused(world: World, name: str, check: bool) -> None:
    if not world.invtsc:
        pytest.skip(f"{world.name}: no KVM that runs tsc01")
    files = world.files("tsc01")
    entry = refused(world.snapshot("tsc01", name, include_memory=True, check=check), "memory_blocked")
    assert any("invtsc" in blocker for blocker in entry["details"]["blockers"])
    assert "TSC frequency" in entry["msg"]
    assert "on_memory_blocked" in entry["msg"]
    assert world.files("tsc01") == files
    assert world.info("tsc01")["memory"]["can_be_saved"] is False


def test_memory_of_an_invtsc_vm_may_be_left_out(world: World, name: str) -> None:
    if not world.invtsc:
        pytest.skip(f"{world.name}: no KVM that runs tsc01")
    result = world.snapshot("tsc01", name, include_memory=True, on_memory_blocked="disk_only")
    assert taken(result)["include_memory"] is False
    assert (result["disk_only"], only(result)["disk_only"]) == (True, True)
    assert any(note.startswith("memory left out: ") and "invtsc" in note for note in only(result)["notes"])


def test_a_vm_that_is_off_has_no_memory(world: World, name: str) -> None:
    result = world.snapshot("off01", name, include_memory=True)
    assert (taken(result)["include_memory"], taken(result)["state"]) == (False, "shutoff")
    assert "off01 is shutoff and has no memory to save" in only(result)["notes"]
    assert not world.snapshot("off01", name, include_memory=False)["changed"]


@pytest.mark.parametrize(
    ("vm", "quiesce", "quiesced", "note"),
    [
        ("web01", "never", False, ""),
        ("web01", "auto", True, ""),
        ("web01", "required", True, ""),
        ("db01", "auto", False, "not quiesced: no guest agent answers"),
        ("off01", "required", False, "there is nothing to freeze"),
    ],
)
def test_a_guest_is_frozen_where_its_agent_answers(
    world: World, name: str, *, vm: str, quiesce: str, quiesced: bool, note: str
) -> None:
    result = world.snapshot(vm, name, quiesce=quiesce)
    assert (taken(result)["quiesced"], only(result)["quiesced"]) == (quiesced, quiesced)
    assert [note in given for given in only(result)["notes"]] == ([True] if note else [])
    assert ("quiesced" in only(result)["msg"]) is (quiesced or bool(note))
    again = world.snapshot(vm, name, quiesce=quiesce)
    assert only(again)["quiesced"] is quiesced


def test_a_freeze_is_not_claimed_for_a_snapshot_others_took(world: World, name: str) -> None:
    assert taken(world.snapshot("web01", name))["quiesced"] is True
    world.take_anew("web01", name)
    again = only(world.snapshot("web01", name))["snapshot"]
    assert (again["description"], again["quiesced"]) == ("by hand", None)


@pytest.mark.parametrize("check", [True, False])
def test_required_without_an_agent_changes_nothing(world: World, name: str, check: bool) -> None:
    files = world.files("db01")
    refused(world.snapshot("db01", name, quiesce="required", check=check), "agent_unavailable")
    assert world.files("db01") == files
    assert name not in names(world, "db01")


def test_a_paused_vm_stays_paused(world: World, name: str) -> None:
    world.reset("files01")
    world.pause("files01")
    try:
        refused(world.snapshot("files01", name, quiesce="required"), "agent_unavailable")
        assert "the guest is paused" in str(only(world.snapshot("files01", name))["notes"])
        memory = taken(world.snapshot("files01", f"{name}-memory", include_memory=True))
        assert (memory["state"], memory["include_memory"]) == ("paused", True)
        assert world.state("files01") == "paused"
    finally:
        world.reset("files01")
