# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which variables are slips, and which are somebody else's."""

from __future__ import annotations

import pytest

from ansible_collections.limiquantix.kvm.plugins.filter.misspelled import FilterModule, distance, misspelled

KNOWN = [
    f"snapshot_{one}"
    for one in (
        *("backend", "bandwidth", "children", "confirm", "description", "hosts", "include_foreign", "keep_current"),
        *("allow_keep_nothing", "expired", "expires", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly"),
        *("keep_yearly", "labels", "timezone", "on_uncovered", "url"),
        *("keep_last", "memory", "mock_path", "name", "names", "older_than", "on_memory_blocked", "orphans"),
        *("overlay_dir", "parallel", "power", "protect", "quiesce", "running_only", "timeout", "uri", "vms"),
    )
] + ["watch_interval", "watch_timeout"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("snapshot_vm", "snapshot_vms"),
        ("snapshots_vms", "snapshot_vms"),
        ("snapshots_vm", "snapshot_vms"),
        ("snapshot_vms_", "snapshot_vms"),
        ("_snapshot_vms", "snapshot_vms"),
        ("snapshot__vms", "snapshot_vms"),
        ("snapshot_vsm", "snapshot_vms"),
        ("snapshot_vns", "snapshot_vms"),
        ("snapshot_vmss", "snapshot_vms"),
        ("snapsht_vms", "snapshot_vms"),
        ("snpasht_vms", "snapshot_vms"),
        ("snapshotvms", "snapshot_vms"),
        ("snapshot-vms", "snapshot_vms"),
        ("snapshotVms", "snapshot_vms"),
        ("SNAPSHOT_VMS", "snapshot_vms"),
        ("snapshot_nmae", "snapshot_name"),
        ("snapshots_name", "snapshot_name"),
        ("snapshots_names", "snapshot_names"),
        ("snapshot_host", "snapshot_hosts"),
        ("snapshot_keep_lst", "snapshot_keep_last"),
        ("snapshot_keeplast", "snapshot_keep_last"),
        ("snapshot_kep_lsat", "snapshot_keep_last"),
        ("snapshot_older_then", "snapshot_older_than"),
        ("snapshot_confrim", "snapshot_confirm"),
        ("snapshot_expirs", "snapshot_expires"),
        ("snapshot_keep_dayly", "snapshot_keep_daily"),
        ("snapshot_label", "snapshot_labels"),
        ("snapshot_time_zone", "snapshot_timezone"),
        ("snapshot_run_only", ""),
        ("snapshot_runing_onyl", "snapshot_running_only"),
    ],
)
def test_a_slip_is_told_with_what_was_meant(name: str, meant: str) -> None:
    assert misspelled([name, "web", *KNOWN], KNOWN) == ({name: meant} if meant else {})


@pytest.mark.parametrize(
    "others",
    [
        # linux-system-roles.snapshot's
        [
            f"snapshot_lvm_{one}"
            for one in (
                *("action", "all_vgs", "bootable", "fstype", "lv", "mount_options", "mount_origin", "mountpoint"),
                *("mountpoint_create", "percent_space_required", "set", "snapset_name", "unmount_all", "verify_only"),
                *("vg", "vg_include"),
            )
        ],
        # what this collection's playbooks set themselves
        [
            f"snapshot_{one}"
            for one in ("elsewhere", "fleet", "found", "given", "here", "meant", "needed", "read", "result", "work")
        ],
        [
            f"snapshot_{one}"
            for one in ("date", "dir", "id", "policy", "retention", "schedule", "size", "state", "time")
        ],
        [
            "vms",
            "name",
            "hosts",
            "vm_name",
            "vm_snapshot",
            "snapshot",
            "snapshots",
            "snap",
            "ansible_host",
            "groups",
            "",
        ],
    ],
)
def test_other_peoples_variables(others: list[str]) -> None:
    assert misspelled(others, KNOWN) == {}


def test_what_is_known_is_no_slip_of_another() -> None:
    assert misspelled(KNOWN, KNOWN) == {}


@pytest.mark.parametrize(
    ("first", "second", "errors"),
    [("", "", 0), ("a", "", 1), ("", "ab", 2), ("ab", "ba", 1), ("abc", "acb", 1), ("abc", "xbz", 2), ("ca", "abc", 3)],
)
def test_the_distance_is_the_number_of_errors_both_ways(first: str, second: str, errors: int) -> None:
    assert distance(first, second) == distance(second, first) == errors


def test_ansible_finds_it() -> None:
    assert FilterModule().filters() == {"misspelled": misspelled}
