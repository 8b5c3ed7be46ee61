# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All layers of a VM: what stays because somebody may need it, and what nothing needs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import Image
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.layer_forest import (
    Forest,
    chain_of,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_users import User, Users
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.mounts import Mount
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.users.surroundings import (
    Surroundings,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.vm_record import Made, Record
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import MOST_LAYERS, Layers

_CHAIN: dict[str, Optional[str]] = {"/base": None, "/one": "/base", "/two": "/one", "/side": "/one"}


def forest() -> Forest:
    """Snapshots freeze the base and the layer above it; the disk is on one branch, nothing is on the other."""
    layers = Layers(
        dict(_CHAIN), frozen={"/base", "/one"}, active={"/two"}, ours={"/one", "/two", "/side"}, released=set()
    )
    return Forest(layers, {"vda": "/two"}, running=False)


def around(users: Optional[Users] = None, kind: str = "ext4") -> Surroundings:
    """What is beside the VM on a file system of this kind."""
    mounts: Any = SimpleNamespace(of=lambda _path: Mount("/", kind, "1:1"), answers=lambda _path: True)
    files: Any = SimpleNamespace(mounts=mounts, why_unknown=lambda _file: None, above=lambda _file: [])
    return Surroundings(files, users or Users(), "own")


def test_a_chain_ends_at_its_base_and_a_circle_ends_too() -> None:
    assert chain_of(_CHAIN, "/two") == ["/two", "/one", "/base"]
    assert len(chain_of({"/a": "/b", "/b": "/a"}, "/a")) == MOST_LAYERS + 1


def test_only_a_branch_that_nothing_is_on_is_unneeded() -> None:
    assert forest().unneeded() == ["/side"]


def test_a_copy_is_changed_without_the_first() -> None:
    first = forest()
    first.copy().layers.backing.clear()
    assert first.layers.backing == _CHAIN


def test_what_another_vm_uses_stays_with_all_that_is_under_it() -> None:
    found, users = forest(), Users()
    users.add("/one", User("VM other", "other", True, False))
    found.leave_to_others(["/base", "/one", "/two", "/side"], [], around(users), {})
    assert found.layers.fixed == {"/one", "/base"}
    assert found.why["/one"] == "VM other uses it"
    assert found.used_by_others("/one")
    assert not found.used_by_others("/two")


def test_the_vms_own_use_fixes_nothing() -> None:
    found, users = forest(), Users()
    users.add("/one", User("VM own", "own", True, True))
    found.leave_to_others(["/base", "/one", "/two", "/side"], [], around(users), {})
    assert found.layers.fixed == set()


def test_a_layer_whose_users_nobody_knows_stays() -> None:
    found, users = forest(), Users()
    users.unknown["/"] = "a home cannot be read"
    found.leave_to_others(["/one"], [], around(users), {})
    assert found.why["/one"] == "nobody can tell who uses it: a home cannot be read"


def test_an_overlay_of_somebody_else_fixes_what_it_is_based_on() -> None:
    found = forest()
    found.layers.backing["/clone"] = "/two"
    found.leave_to_others(["/base", "/one", "/two", "/side"], [], around(), {})
    assert found.layers.fixed == {"/two", "/one", "/base"}
    assert found.why["/two"] == "/clone is based on it"


def test_a_definition_in_a_snapshot_names_what_stays() -> None:
    found = forest()
    saved: Any = SimpleNamespace(name="s", also_defined=("/side",))
    found.leave_to_others(["/side"], [saved], around(), {})
    assert found.why["/side"] == "the definition in snapshot 's' names it"


def test_on_shared_storage_an_overlay_is_kept() -> None:
    found = forest()
    found.keep(Record(), around(kind="nfs4"))
    assert found.shared == {"/one", "/side"}
    assert found.layers.kept == {"/one", "/side"}
    local = forest()
    local.keep(Record(), around())
    assert local.layers.kept == set()


def test_another_file_under_the_name_of_ours_is_kept(tmp_path: Any) -> None:
    file = str(tmp_path / "side")
    (tmp_path / "side").touch()
    found = forest()
    found.layers.backing[file] = "/one"
    found.layers.ours.add(file)
    found.keep(Record(made={file: Made("vda", [0, None])}), around())
    assert found.why[file] == "another file has this name now: it is not the overlay that was made"


def test_what_a_disk_was_on_last_is_kept_though_the_vm_is_elsewhere() -> None:
    found = forest()
    found.keep(Record(active={"vda": "/side"}, made={"/side": Made("vda")}), around())
    assert found.detached == {"/side": "vda"}
    assert "/side" in found.layers.fixed


def test_an_image_that_is_larger_than_the_overlay_on_it_is_not_merged_into() -> None:
    found = forest()
    sizes = {"/base": 64, "/one": 32, "/two": 64}
    found.images = {file: Image(file, "qcow2", 0, size) for file, size in sizes.items()}
    found.keep_sizes(in_part=())
    assert (found.layers.fixed, found.why) == ({"/base"}, {"/base": "it is larger than /one, which is based on it"})


def test_the_size_of_an_image_that_is_used_in_part_says_nothing() -> None:
    found = forest()
    found.images = {file: Image(file, "qcow2", 0, size) for file, size in {"/base": 64, "/one": 32}.items()}
    found.keep_sizes(in_part=("/base",))
    assert found.layers.fixed == set()


def test_what_somebody_builds_upon_while_a_layer_is_merged_is_not_merged_into() -> None:
    found, now = forest(), forest()
    now.layers.backing["/clone"] = "/base"
    now.layers.backing["/merged"] = "/one"
    found.leave_to_newcomers(now, ["/merged"])
    assert "/base" in found.layers.fixed
    assert "/one" not in found.layers.fixed
    now.others = {"/one"}
    found.leave_to_newcomers(now, ["/merged"])
    assert "/one" in found.layers.fixed


def test_what_stays_since_somebody_came_meanwhile_is_told_with_the_reason() -> None:
    found, now = forest(), forest()
    found.layers.released, found.layers.frozen = {"/base"}, set()
    now.layers.backing["/clone"] = "/base"
    now.why["/base"] = "/clone is based on it"
    found.leave_to_newcomers(now, ["/merged"])
    found.leave("/one", "process 7 has it open")
    assert found.late_notes() == ("/base stays a layer of its own, because /clone is based on it",)
