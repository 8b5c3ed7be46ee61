# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vm_snapshot_info against what qemu-img and virsh say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lab.api import Host, reset_vm

from system.ansible_run import run_module

from .told import IMAGES, files01, info, no_trouble, off01, snapshot

__all__ = ("files01", "off01")


def told_by_qemu(host: Host, file: str) -> list[dict[str, Any]]:
    command = ["qemu-img", "info", "-U", "--backing-chain", "--output=json", file]
    return json.loads(host.run(command).stdout)


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


def test_a_python_without_the_bindings_finds_one_that_has_them(host: Host) -> None:
    # As where an operator's venv, or a newer Python beside the distribution's, is what Ansible takes.
    bare = "/var/tmp/bare-python"
    host.run(["python3", "-m", "venv", "--without-pip", bare])
    try:
        assert host.run([f"{bare}/bin/python3", "-c", "import libvirt"], check=False).returncode
        here = {"vms": ["off01"]}
        there = run_module(host, "vm_snapshot_info", here, python=f"{bare}/bin/python3")
        assert there["vms"] == run_module(host, "vm_snapshot_info", here)["vms"]
        wrong = run_module(host, "vm_snapshot", {"name": "no/name", "vms": ["off01"]}, python=f"{bare}/bin/python3")
        assert (wrong["failed"], wrong["error_code"]) == (True, "bad_name")
    finally:
        host.run(["rm", "-r", bare])
