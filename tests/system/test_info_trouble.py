# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trouble that vm_snapshot_info tells of: overlays nobody knows, files that are gone, other definitions."""

from __future__ import annotations

from lab.api import Host

from .told import IMAGES, files01, info, no_trouble, off01, snapshot

__all__ = ("files01", "off01")

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


def overlay(host: Host, path: str, backing: str) -> None:
    host.run(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", backing, path, "64M"])


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
