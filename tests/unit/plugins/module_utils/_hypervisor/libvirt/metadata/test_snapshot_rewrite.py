# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which overlay a snapshot should name for a disk, in trees with siblings: virsh deletes or merges what is named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("lxml")
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata import snapshot_rewrite
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.saved_snapshot import (
    SavedDisk,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.metadata.snapshot_rewrite import (
    OnDisk,
)

OLD, NEW = False, True  # whether this libvirt reverts by itself (9.9)


def on_disk(
    folder: Path, chain: Sequence[str], based_on: dict[str, tuple[str, ...]], ours: str = "top left right"
) -> OnDisk:
    """Return a host on which every image that is named is a file."""
    at = {name: str(folder / name) for name in ("base", "top", "left", "right", "under")}
    for name in {*chain, *based_on, *(one for above in based_on.values() for one in above)}:
        Path(at[name]).touch()
    return OnDisk(
        chains={"vda": [at[name] for name in chain]},
        based_on={at[name]: tuple(at[one] for one in above) for name, above in based_on.items()},
        spelled={},
        moved={},
        ours={at[name] for name in ours.split()},
    )


def wanted(folder: Path, disk: OnDisk, named: str, reverts: bool) -> str | None:
    part = SavedDisk("vda", str(folder / "base"), "qcow2", str(folder / named))
    found = snapshot_rewrite._overlay(part, disk, reverts)
    return None if found is None else Path(found).name


@pytest.mark.parametrize("reverts", [OLD, NEW])
def test_a_snapshot_in_a_chain_names_the_overlay_the_vm_is_on(tmp_path: Path, reverts: bool) -> None:
    disk = on_disk(tmp_path, ["top", "base"], {"base": ("top",)})
    assert wanted(tmp_path, disk, "gone", reverts) == "top"


def test_beside_a_sibling_only_a_libvirt_that_reverts_names_the_vms_own(tmp_path: Path) -> None:
    """An older one would write into what the other branch is based on: it is told of that branch, and refuses."""
    disk = on_disk(tmp_path, ["top", "base"], {"base": ("left", "top")})
    assert wanted(tmp_path, disk, "top", NEW) == "top"
    assert wanted(tmp_path, disk, "top", OLD) == "left"
    assert wanted(tmp_path, disk, "left", OLD) == "left"


def test_a_sibling_of_somebody_else_is_never_named(tmp_path: Path) -> None:
    disk = on_disk(tmp_path, ["top", "base"], {"base": ("left", "top")}, ours="top")
    assert wanted(tmp_path, disk, "top", OLD) == "top.gone"


def test_of_several_siblings_the_one_that_is_named_stays(tmp_path: Path) -> None:
    disk = on_disk(tmp_path, ["top", "base"], {"base": ("left", "right", "top")})
    assert wanted(tmp_path, disk, "right", OLD) == "right"


def test_an_overlay_that_branches_share_is_not_named_to_a_libvirt_that_merges_it(tmp_path: Path) -> None:
    disk = on_disk(tmp_path, ["top", "under", "base"], {"base": ("under",), "under": ("left", "top")}, ours="top under")
    assert wanted(tmp_path, disk, "under", OLD) == "under.gone"
    assert wanted(tmp_path, disk, "under", NEW) == "under"


def test_a_snapshot_of_another_branch_keeps_a_name_that_is_right(tmp_path: Path) -> None:
    disk = on_disk(tmp_path, ["top"], {"base": ("left", "right")})
    assert wanted(tmp_path, disk, "left", NEW) is None
    assert wanted(tmp_path, disk, "gone", NEW) is None
    (tmp_path / "gone").touch()
    assert wanted(tmp_path, disk, "gone", NEW) == "left"


def test_a_name_that_is_never_there_avoids_every_file(tmp_path: Path) -> None:
    path = tmp_path / "o"
    (tmp_path / "o.gone").touch()
    (tmp_path / "o.gone-2").symlink_to("nowhere")
    assert snapshot_rewrite._never_there(str(path)) == f"{path}.gone-3"


def test_the_oldest_root_is_no_child_however_old() -> None:
    found = [
        SimpleNamespace(name=name, parent=parent, created_at=at)
        for name, parent, at in (("b", None, "2026-03"), ("a", None, "2026-02"), ("c", "b", "2026-01"))
    ]
    assert snapshot_rewrite._oldest_root(found) == "a"
    assert snapshot_rewrite._oldest_root(found[2:]) is None
