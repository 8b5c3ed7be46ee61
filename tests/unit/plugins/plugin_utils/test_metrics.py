# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus is told: each number once, nothing that is not known, and names that may have anything in them."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.filter.snapshot_metrics import snapshot_metrics

NOW = "1970-01-01T00:01:40+00:00"
SIZES = {"s2": 5, "s1": 2, None: 9}
LAYERS = [{"size": size, "snapshot": snapshot} for snapshot, size in SIZES.items()]


def vm(name: str, **values: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {key: [] for key in ("snapshots", "chains", "problems", "missing_files", "orphans", "kept")}
    return {**empty, "vm": name, "failed": False, "operation": None, **values}


def chain(**values: Any) -> dict[str, Any]:
    return {"target": "vda", "depth": 4, "complete": True, "layers": LAYERS, **values}


def told(*vms: dict[str, Any], filesystems: Any = ()) -> dict[str, str]:
    """Return each sample by its name and labels."""
    lines = snapshot_metrics({"vms": list(vms), "filesystems": filesystems}, NOW).splitlines()
    samples = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    assert len(samples) == len({name for name, _space, _value in samples})
    return {name.replace("limiquantix_kvm_", ""): value for name, _space, value in samples}


def test_a_vm_with_everything() -> None:
    snapshots = [
        {"created_at": "1970-01-01T00:00:30+00:00"},
        {"created_at": "1970-01-01T00:00:10+00:00"},
        {"created_at": None},
    ]
    found = told(
        vm(
            "a", snapshots=snapshots, chains=[chain()], problems=["p"],
            missing_files=[{}], orphans=["o"], kept=[{}, {}], operation={"interrupted": True},
        ),
        filesystems=[{"path": "/srv", "total": 10, "free": 3}],
    )  # fmt: skip
    assert found == {
        'vm_readable{vm="a"}': "1",
        'vm_snapshots{vm="a"}': "3",
        'vm_snapshot_oldest_timestamp_seconds{vm="a"}': "10",
        'vm_chain_layers{vm="a",disk="vda"}': "4",
        'vm_overlay_bytes{vm="a"}': "7",
        'vm_problems{vm="a"}': "2",
        'vm_orphan_overlays{vm="a"}': "1",
        'vm_kept_overlays{vm="a"}': "2",
        'vm_operation_interrupted{vm="a"}': "1",
        'image_filesystem_size_bytes{path="/srv"}': "10",
        'image_filesystem_free_bytes{path="/srv"}': "3",
        "last_success_timestamp_seconds": "100",
    }


def test_what_is_not_known_has_no_sample() -> None:
    untold = dict.fromkeys(("problems", "missing_files", "orphans", "kept"))
    found = told(
        vm("agent", **untold), vm("bad", failed=True), filesystems=[{"path": "/dead", "total": None, "free": None}]
    )
    assert found == {
        'vm_readable{vm="agent"}': "1",
        'vm_readable{vm="bad"}': "0",
        'vm_snapshots{vm="agent"}': "0",
        "last_success_timestamp_seconds": "100",
    }
    assert told(filesystems=None) == {"last_success_timestamp_seconds": "100"}


def test_a_sum_of_which_a_part_is_not_known_has_no_sample() -> None:
    found = told(vm("a", chains=[chain(layers=[*LAYERS, {"size": None, "snapshot": "s0"}])]))
    assert 'vm_chain_layers{vm="a",disk="vda"}' in found
    assert 'vm_overlay_bytes{vm="a"}' not in found


def test_a_chain_that_was_not_read_to_its_end_has_no_samples_of_its_own() -> None:
    found = told(vm("a", chains=[chain(), chain(target="vdb", depth=1, complete=False)]))
    assert 'vm_chain_layers{vm="a",disk="vda"}' in found
    assert 'vm_chain_layers{vm="a",disk="vdb"}' not in found
    assert 'vm_overlay_bytes{vm="a"}' not in found


@pytest.mark.parametrize(
    ("failed", "succeeds"), [((), True), ((True,), False), ((True, True), False), ((True, False), True)]
)
def test_where_no_vm_could_be_read_there_was_no_success(failed: tuple[bool, ...], succeeds: bool) -> None:
    found = told(*(vm(str(number), failed=one) for number, one in enumerate(failed)))
    assert ("last_success_timestamp_seconds" in found) is succeeds


def test_names_and_numbers_are_whole() -> None:
    found = told(vm('a"b\\c\nd'), filesystems=[{"path": "/", "total": (1 << 53) - 1, "free": 0}])
    assert 'vm_readable{vm="a\\"b\\\\c\\nd"}' in found
    assert found['image_filesystem_size_bytes{path="/"}'] == "9007199254740991"


def test_each_metric_has_one_help_and_one_type_before_its_samples() -> None:
    lines = snapshot_metrics({"vms": [vm("a"), vm("b")], "filesystems": []}, NOW).splitlines()
    at = lines.index("# TYPE limiquantix_kvm_vm_snapshots gauge")
    assert lines[at - 1].startswith("# HELP limiquantix_kvm_vm_snapshots ")
    assert lines[at + 1 : at + 3] == [
        'limiquantix_kvm_vm_snapshots{vm="a"} 0',
        'limiquantix_kvm_vm_snapshots{vm="b"} 0',
    ]
