# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A policy becomes jobs, or everything wrong with it is said by name."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.filter.schedule_jobs import FilterModule, schedule_jobs

KNOWN = {
    "snapshot": ["snapshot_hosts", "snapshot_memory", "snapshot_name", "snapshot_vms", "snapshot_timeout"],
    "prune": ["snapshot_hosts", "snapshot_keep_last", "snapshot_names", "snapshot_vms", "snapshot_timeout"],
}
NAMES = f"nightly-{'[0-9]' * 8}T{'[0-9]' * 4}"  # and nothing that another entry has taken
ENTRY = {"name": "nightly", "inventory": "/hosts.yml", "when": "02:30", "snapshot": "nightly-%Y%m%dT%H%M"}


def faults(**changed: Any) -> list[str]:
    found: list[str] = schedule_jobs([{**ENTRY, **changed}], KNOWN)["faults"]
    return found


def test_an_entry_becomes_a_job_of_two_steps() -> None:
    entry = {**ENTRY, "vms": "web*", "vars": {"snapshot_memory": True}, "prune": {"keep_last": 7}}
    assert schedule_jobs([entry], KNOWN) == {
        "faults": [],
        "jobs": [
            {
                "name": "nightly",
                "when": "02:30",
                "jitter": None,
                "inventory": ["/hosts.yml"],
                "limit": None,
                "steps": [
                    {
                        "playbook": "snapshot",
                        "name": "nightly-%Y%m%dT%H%M",
                        "vars": {"snapshot_vms": "web*", "snapshot_memory": True},
                    },
                    {
                        "playbook": "prune",
                        "vars": {
                            "snapshot_names": NAMES,
                            "snapshot_vms": "web*",
                            "snapshot_keep_last": 7,
                        },
                    },
                ],
            }
        ],
    }


def test_a_prune_alone_is_of_all_snapshots_or_of_the_names_given() -> None:
    alone = {key: value for key, value in ENTRY.items() if key != "snapshot"}
    jobs = schedule_jobs([{**alone, "prune": {}}, {**ENTRY, "name": "b", "prune": {"names": "x-*"}}], KNOWN)["jobs"]
    assert [job["steps"][-1]["vars"] for job in jobs] == [{}, {"snapshot_names": "x-*"}]
    assert [step["playbook"] for step in jobs[0]["steps"]] == ["prune"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"whn": "02:30"}, "Entry nightly: whn is not known. Did you mean when?"),
        ({"prune": {"keep_lats": 3}}, "Entry nightly: prune.keep_lats is not known. Did you mean prune.keep_last?"),
        ({"prune": {"memory": True}}, "Entry nightly: prune.memory is not known."),
        ({"prune": 7}, "Entry nightly: prune must be a mapping."),
        ({"vars": {"snapshot_vm": 1}}, "Entry nightly: vars.snapshot_vm is not known."),
        ({"vars": {"snapshot_confirm": True}}, "Entry nightly: vars.snapshot_confirm is not known."),
        ({"vars": {"snapshot_name": "x"}}, "Entry nightly: vars.snapshot_name is not known."),
        ({"inventory": None}, "Entry nightly: inventory is missing."),
        ({"inventory": ["hosts.yml"]}, "Entry nightly: inventory hosts.yml must be an absolute path"),
        ({"when": ""}, "Entry nightly: when is missing."),
        ({"when": 230}, "Entry nightly: when must be a text."),
        ({"when": "02:30\nExecStart=/x"}, "Entry nightly: a line break is in one of its texts."),
        ({"name": "../x"}, "Entry ../x: name may have a-z"),
        ({"name": "a" * 65}, "name may have a-z"),
        ({"snapshot": "nightly"}, "Entry nightly: snapshot nightly must have the day, %H and %M in it"),
        ({"snapshot": "nightly-%Y%m%d"}, "snapshot nightly-%Y%m%d must have the day, %H and %M in it"),
        ({"prune": {"keep_daily": None}}, "Entry nightly: prune.keep_daily is empty."),
        ({"prune": None}, "Entry nightly: prune is empty."),
        ({"vms": None}, "Entry nightly: vms is empty."),
        ({"snapshot": "n-%c"}, "Entry nightly: snapshot n-%c may have letters"),
        ({"snapshot": "%Y"}, "Entry nightly: snapshot %Y may have letters"),
        ({"snapshot": None}, "Entry nightly: it has neither snapshot nor prune"),
    ],
)
def test_what_is_wrong_is_said_by_name(changed: dict[str, Any], said: str) -> None:
    assert [one for one in faults(**changed) if said in one], faults(**changed)


def test_all_that_is_wrong_is_said_at_once() -> None:
    assert len(faults(whn=1, name="B", when=None)) == 3
    assert schedule_jobs([ENTRY, ENTRY], KNOWN) == {"faults": ["Entry nightly: 2 entries have this name."], "jobs": []}


@pytest.mark.parametrize("policy", [None, {}, "nightly", [ENTRY, "nightly"], [None]])
def test_what_is_no_list_of_entries_is_refused(policy: Any) -> None:
    assert [one[:30] for one in schedule_jobs(policy, KNOWN)["faults"]] == ["The policy is not a list of en"]


def test_an_empty_policy_does_not_remove_all_jobs() -> None:
    (fault,) = schedule_jobs([], KNOWN)["faults"]
    assert "set schedule_state: absent" in fault


def test_the_filter_has_its_name() -> None:
    assert FilterModule().filters() == {"schedule_jobs": schedule_jobs}
