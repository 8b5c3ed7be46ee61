# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mock as a whole: the example can be used, and what is kept is all that goes."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._task.revert import Reverted
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import RevertRequest
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import do, state_file, take


def test_what_is_kept_is_all_that_goes(tmp_path: Path) -> None:
    """A snapshot of the present, before a revert, covers the disks that go back, and asks nothing of the others."""
    disks = [{"target": "vda", "source": "/vm/a"}, {"target": "vdb", "source": "/vm/b", "snapshot": "no"}]
    path = state_file(tmp_path, {"name": "a", "disks": disks})
    take(path, "s", disks=("vdb",))
    (outcome,) = do(path, Reverted(RevertRequest("s", keep_current=True)))
    kept = next(one for one in outcome.after if one.name == "before-s")
    assert sorted(disk.target for disk in kept.disks) == ["vda", "vdb"]
    network = {"target": "vdn", "type": "network", "source": "x"}
    path = state_file(tmp_path, {"name": "a", "disks": [disks[0], network]})
    take(path, "s", on_uncovered="leave_out")
    (outcome,) = do(path, Reverted(RevertRequest("s", keep_current=True)))
    kept = next(one for one in outcome.after if one.name == "before-s")
    assert [disk.target for disk in kept.disks] == ["vda"]


def test_the_example_can_be_used() -> None:
    example = Path(__file__).parents[5] / "fixtures/mock/fleet.json"
    hypervisor = MockHypervisor(str(example))
    vms = {domain.name: hypervisor.inspect(domain) for domain in hypervisor.vms()}
    assert list(vms) == ["db01", "files01", "off01", "tsc01", "web01"]
    assert [name for name, vm in vms.items() if vm.memory_blockers] == ["tsc01"]
    assert [name for name, vm in vms.items() if vm.guest_agent] == ["web01"]
