# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vm_snapshot_info on real hypervisors, against what virsh made and what qemu-img says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from lab.api import Host, reset_vm

from system.ansible_run import run_module

IMAGES = "/var/lib/libvirt/images"
CLONE = """
<domain type='qemu'>
  <name>off01-clone</name>
  <memory unit='MiB'>16</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/srv/clones/top.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
  </devices>
</domain>"""


@pytest.fixture
def off01(host: Host) -> Iterator[str]:
    """A shut-off VM that a test may do anything to."""
    reset_vm(host, "off01")
    yield "off01"
    reset_vm(host, "off01")


@pytest.fixture
def files01(host: Host) -> Iterator[str]:
    """A running one, with two qcow2 disks, a raw one and a cdrom."""
    reset_vm(host, "files01")
    yield "files01"
    reset_vm(host, "files01")


def info(host: Host, vm: str, **options: Any) -> dict[str, Any]:
    """The entry of one VM."""
    result = run_module(host, "vm_snapshot_info", {"vms": [vm], **options})
    assert not result["failed"], result["msg"]
    assert result["changed"] is False
    (entry,) = result["vms"]
    assert entry["vm"] == vm
    return entry


def snapshot(host: Host, vm: str, name: str, *options: str) -> None:
    host.virsh("snapshot-create-as", vm, name, *options)


def overlay(host: Host, path: str, backing: str) -> None:
    host.run(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", backing, path, "64M"])


def told_by_qemu(host: Host, file: str) -> list[dict[str, Any]]:
    command = ["qemu-img", "info", "-U", "--backing-chain", "--output=json", file]
    return json.loads(host.run(command).stdout)


def no_trouble(entry: dict[str, Any]) -> bool:
    return not (entry["problems"] or entry["missing_files"] or entry["unknown_overlays"])


def test_chains_are_as_qemu_img_tells_them(host: Host, files01: str) -> None:
    snapshot(host, files01, "one", "--disk-only", "--atomic")
    snapshot(host, files01, "two", "--disk-only", "--atomic", "--diskspec", "vdb,snapshot=no")

    entry = info(host, files01)

    assert no_trouble(entry), entry["msg"]
    assert {chain["target"]: chain["depth"] for chain in entry["chains"]} == {"vda": 3, "vdb": 2, "vdc": 3}
    for chain in entry["chains"]:
        layers = chain["layers"]
        told = told_by_qemu(host, layers[0]["file"])
        assert [layer["file"] for layer in layers] == [image["filename"] for image in told]
        assert [layer["format"] for layer in layers] == [image["format"] for image in told]
        assert [layer["size"] for layer in layers] == [image["actual-size"] for image in told]
        assert [layer["virtual_size"] for layer in layers] == [image["virtual-size"] for image in told]
        assert chain["size"] == sum(image["actual-size"] for image in told)
    owners = {chain["target"]: [layer["snapshot"] for layer in chain["layers"]] for chain in entry["chains"]}
    assert owners == {"vda": ["two", "one", None], "vdb": ["one", None], "vdc": ["two", "one", None]}


def test_snapshots_are_told_with_their_tree(host: Host, files01: str) -> None:
    snapshot(host, files01, "pre-one", "--disk-only", "--description", "before <the> first")
    snapshot(host, files01, "two", "--disk-only")

    entry = info(host, files01)

    one, two = entry["snapshots"]
    assert (one["name"], one["description"], one["parent"], one["current"]) == (
        "pre-one", "before <the> first", None, False,
    )  # fmt: skip
    assert (two["name"], two["parent"], two["current"]) == ("two", "pre-one", True)
    assert two["kind"] == "external"
    assert two["state"] == "disk-snapshot"
    assert two["include_memory"] is False
    assert [disk["file"] for disk in two["disks"] if disk["target"] == "vda"] == [f"{IMAGES}/files01.two"]
    assert [left["target"] for left in two["left_out"]] == ["sda"]
    assert entry["tree"] == [
        {"name": "pre-one", "depth": 0, "current": False, "include_memory": False, "children": ["two"]},
        {"name": "two", "depth": 1, "current": True, "include_memory": False, "children": []},
    ]
    assert entry["state"] == "running"

    chosen = info(host, files01, names=["t*"])

    assert [one["name"] for one in chosen["snapshots"]] == ["two"]
    assert [node["name"] for node in chosen["tree"]] == ["two"]
    assert chosen["chains"] == entry["chains"]


def test_internal_snapshots_and_siblings(host: Host, off01: str) -> None:
    snapshot(host, off01, "root")
    snapshot(host, off01, "left")
    host.virsh("snapshot-revert", off01, "root")
    snapshot(host, off01, "right")

    entry = info(host, off01)

    assert no_trouble(entry), entry["msg"]
    assert {one["kind"] for one in entry["snapshots"]} == {"internal"}
    assert [one["name"] for one in entry["snapshots"]] == ["root", "left", "right"]
    tree = [(node["name"], node["depth"], node["current"], node["children"]) for node in entry["tree"]]
    assert tree == [("root", 0, False, ["left", "right"]), ("left", 1, False, []), ("right", 1, True, [])]
    assert [chain["depth"] for chain in entry["chains"]] == [1]
    assert entry["state"] == "shutoff"


def test_overlays_that_nobody_knows(host: Host, off01: str) -> None:
    snapshot(host, off01, "one", "--disk-only")
    overlay(host, f"{IMAGES}/off01-on-base.qcow2", f"{IMAGES}/off01.qcow2")
    overlay(host, f"{IMAGES}/off01-on-top.qcow2", f"{IMAGES}/off01.one")
    overlay(host, f"{IMAGES}/off01-on-both.qcow2", f"{IMAGES}/off01-on-top.qcow2")

    entry = info(host, off01)

    names = ["off01-on-base.qcow2", "off01-on-both.qcow2", "off01-on-top.qcow2"]
    assert entry["unknown_overlays"] == [f"{IMAGES}/{name}" for name in names]
    assert "3 unknown overlays" in entry["msg"]
    assert entry["problems"] == []
    for other in ("files01", "db01"):
        assert not set(info(host, other)["unknown_overlays"]) & set(entry["unknown_overlays"])


def test_a_clone_on_this_vms_image_is_known(host: Host, off01: str) -> None:
    # The layer in between is named by nothing but the clone's own image, which lies elsewhere.
    overlay(host, f"{IMAGES}/off01-between.qcow2", f"{IMAGES}/off01.qcow2")
    host.run("mkdir -p /srv/clones")
    overlay(host, "/srv/clones/top.qcow2", f"{IMAGES}/off01-between.qcow2")
    try:
        unused = info(host, off01)["unknown_overlays"]
        host.put("/srv/clones/clone.xml", CLONE)
        host.virsh("define", "/srv/clones/clone.xml")
        used, clone = info(host, off01), info(host, "off01-clone")
    finally:
        host.run("virsh undefine off01-clone; rm -rf /srv/clones", check=False)

    assert unused == [f"{IMAGES}/off01-between.qcow2"]
    assert no_trouble(used), used["msg"]
    assert no_trouble(clone), clone["msg"]
    assert [chain["depth"] for chain in clone["chains"]] == [3]


def test_overlay_in_use_whose_snapshot_is_forgotten(host: Host, files01: str) -> None:
    snapshot(host, files01, "one", "--disk-only")
    host.virsh("snapshot-delete", files01, "one", "--metadata")
    forgotten = [f"{IMAGES}/files01.one", f"{IMAGES}/files01-vdb.one", f"{IMAGES}/files01-vdc.one"]

    assert info(host, files01)["unknown_overlays"] == forgotten

    snapshot(host, files01, "two", "--disk-only")
    snapshot(host, files01, "backup", "--disk-only", "--no-metadata", "--diskspec", "vda,snapshot=no")
    entry = info(host, files01)

    assert [one["name"] for one in entry["snapshots"]] == ["two"]
    assert set(entry["unknown_overlays"]) == {
        *forgotten,
        f"{IMAGES}/files01-vdb.backup",
        f"{IMAGES}/files01-vdc.backup",
    }


def test_a_missing_overlay_is_told_with_the_snapshot_that_it_held(host: Host, off01: str) -> None:
    snapshot(host, off01, "one", "--disk-only")
    snapshot(host, off01, "two", "--disk-only")
    host.run(["rm", f"{IMAGES}/off01.one"])

    entry = info(host, off01, names=["two"])

    assert entry["failed"] is False
    # It is the overlay of "one", and holds the state of "two": that one cannot be reverted to any more.
    assert entry["missing_files"] == [{"snapshot": "two", "file": f"{IMAGES}/off01.one"}]
    assert [layer["file"] for layer in entry["chains"][0]["layers"]] == [f"{IMAGES}/off01.two"]
    (problem,) = entry["problems"]
    assert f"{IMAGES}/off01.one cannot be read" in problem


def test_definition_with_another_file(host: Host, files01: str) -> None:
    definition = host.virsh("dumpxml", "--inactive", files01)
    snapshot(host, files01, "one", "--disk-only")
    host.put("/tmp/files01.xml", definition)
    host.virsh("define", "/tmp/files01.xml")
    host.run(["rm", "/tmp/files01.xml"])

    entry = info(host, files01)

    assert (entry["definition_changed"], entry["look"]) == (["vda", "vdb", "vdc"], "act")
    told = f"runs on {IMAGES}/files01.one, but its definition has {IMAGES}/files01.qcow2"
    assert [told in problem for problem in entry["problems"]].count(True) == 1


def test_memory_and_guest_agent_are_told(host: Host) -> None:
    reset_vm(host, "db01", "web01")

    result = run_module(host, "vm_snapshot_info", {"vms": ["db01", "web01"]})
    db01, web01 = result["vms"]

    assert db01["memory"] == {"can_be_saved": True, "blockers": [], "bytes": 192 << 20}
    assert (db01["guest_agent"], web01["guest_agent"]) == (False, True)


def test_memory_of_an_invtsc_vm(host: Host) -> None:
    if not host.invtsc:
        pytest.skip(f"{host.name} has no KVM that runs tsc01")
    memory = info(host, "tsc01")["memory"]

    assert memory["can_be_saved"] is False
    (blocker,) = memory["blockers"]
    assert "invtsc" in blocker


def test_every_vm_and_check_mode(host: Host) -> None:
    result = run_module(host, "vm_snapshot_info", {}, check=True)

    assert not result["failed"]
    assert not result["changed"]
    names = [vm["vm"] for vm in result["vms"]]
    assert names == sorted(host.virsh("list", "--all", "--name").split())
    assert result["msg"].startswith(f"{len(names)} VMs, ")


def test_an_unknown_vm_is_refused_or_told_as_missing(host: Host) -> None:
    result = run_module(host, "vm_snapshot_info", {"vms": ["nobody"]})

    assert result["failed"]
    assert result["error_code"] == "vm_not_found"
    assert (result["vms"], result["missing"]) == ([], ["nobody"])
    may_be_missing = run_module(host, "vm_snapshot_info", {"vms": ["nobody", "nobody-*"], "missing": "skip"})
    assert (may_be_missing["failed"], may_be_missing["missing"]) == (False, ["nobody"])
