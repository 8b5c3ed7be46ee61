# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers that are named in other ways, or lie on another host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from contract.world import IMAGES

from .field import MakeVm, make_vm
from .field_disk import Disk, create_image
from .odd_disks import both, left_out, refused, removed, reverted, taken, toggle, whole_life
from .planted import Planted, planted

__all__ = ("make_vm", "planted")


@both
def test_a_path_through_a_symbolic_link(make_vm: MakeVm, planted: Planted, running: bool) -> None:
    planted.host.run(
        "rm -rf /srv/diskslink /srv/diskslinked; mkdir -p /srv/diskslinked/pool/vm /srv/diskslinked/pool/base"
    )
    planted.host.run("ln -s /srv/diskslinked/pool/vm /srv/diskslink")
    base = create_image(planted.host, "/srv/diskslinked/pool/base/x.qcow2")
    planted.host.run(f"qemu-io -c 'write -P 1 0 64k' {base}")
    top = "/srv/diskslink/diskslink.qcow2"
    vm = make_vm("diskslink", Disk("vda", file=top, backing="../base/x.qcow2"), directory="/srv/diskslink")
    assert vm.disk_reads("vda", 1)
    whole_life(vm, "vda", running)
    assert vm.reads(base, 1)
    vm.wipe()
    planted.host.run("rm -rf /srv/diskslink /srv/diskslinked")


def test_an_image_that_is_a_link_itself(make_vm: MakeVm, planted: Planted) -> None:
    """QEMU looks for a relative backing file beside the link, and not beside what that leads to."""
    host = planted.host
    host.run("rm -rf /srv/disksalias /srv/disksreal; mkdir -p /srv/disksalias /srv/disksreal")
    for where, pattern in (("alias", 1), ("real", 2)):
        host.run(f"qemu-io -c 'write -P {pattern} 0 64k' {create_image(host, f'/srv/disks{where}/base.qcow2')}")
    host.run("cd /srv/disksreal && qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 real.qcow2")
    host.run("ln -s /srv/disksreal/real.qcow2 /srv/disksalias/top.qcow2")
    top = "/srv/disksalias/top.qcow2"
    vm = make_vm("disksalias", Disk("vda", file=top, size=""), directory="/srv/disksalias", start=True)
    assert vm.disk_reads("vda", 1)
    taken(vm, "s1", overlay_dir="/srv/disksalias")
    vm.sound()
    vm.write("vda", 3)
    reverted(vm, "s1")
    assert vm.disk_reads("vda", 1)
    vm.wipe()
    host.run("rm -rf /srv/disksalias /srv/disksreal")


NBD_PORT = 10941

REMOTE = {
    "url": f"nbd://127.0.0.1:{NBD_PORT}/exp",
    "json": 'json:{"driver":"raw","file":{"driver":"nbd","server":{"type":"inet","host":"127.0.0.1","port":"'
    + str(NBD_PORT)
    + '"},"export":"exp"}}',
}


@pytest.fixture
def remote(planted: Planted) -> Iterator[str]:
    """An image full of 7 that is served on the host itself."""
    host, file = planted.host, f"{IMAGES}/disks-remote.raw"
    host.run(f"qemu-img create -q -f raw {file} 16M && qemu-io -f raw -c 'write -P 7 0 16M' {file}")
    host.run("kill $(cat /run/disks-nbd.pid)", check=False)
    serve = f"qemu-nbd -t -p {NBD_PORT} -b 127.0.0.1 -x exp -f raw -e 16 --fork --pid-file /run/disks-nbd.pid {file}"
    host.run(serve + " </dev/null >/dev/null 2>&1")
    yield file
    host.run(f"kill $(cat /run/disks-nbd.pid); rm -f {file}")


@pytest.mark.parametrize(("kind", "running"), [("url", True), ("json", False)], ids=["url-running", "json-off"])
def test_a_remote_lowest_layer(make_vm: MakeVm, planted: Planted, remote: str, kind: str, running: bool) -> None:
    host, file = planted.host, f"{IMAGES}/disksremote.qcow2"
    digest = host.run(["sha256sum", remote]).stdout
    vm = make_vm("disksremote", Disk("vda", file=file, size=""))
    host.run(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", REMOTE[kind], "-F", "raw", file, "16M"])
    assert vm.disk_reads("vda", 7)
    layers = vm.info()["chains"][0]["layers"]
    assert [layer["file"] for layer in layers][:1] == [file]
    assert "127.0.0.1" in layers[1]["file"]
    whole_life(vm, "vda", running)
    assert vm.disk_reads("vda", 5)
    assert vm.active_file("vda") == file
    assert host.run(["sha256sum", remote]).stdout == digest


def test_a_remote_disk_of_which_others_took_a_snapshot(make_vm: MakeVm, planted: Planted, remote: str) -> None:
    host, overlay = planted.host, f"{IMAGES}/disksnet.vdb.old.qcow2"
    digest = host.run(["sha256sum", remote]).stdout
    element = f"""<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name='exp'>
      <host name='127.0.0.1' port='{NBD_PORT}'/></source><target dev='vdb' bus='virtio'/></disk>"""
    vm = make_vm("disksnet", "vda", Disk("vdb", xml=element), start=True)
    assert "network" in refused(vm, "disk_not_covered", vm.take, "s1")["msg"]
    assert "network" in left_out(taken(vm, "s1", on_uncovered="leave_out"))["vdb"]
    removed(vm, "s1")
    spec = f"--diskspec vda,snapshot=external,file={IMAGES}/disksnet.old.qcow2 --diskspec vdb,snapshot=external,file={overlay}"
    vm.virsh("snapshot-create-as", "old", "--disk-only", *spec.split())
    vm.write("vdb", 8)
    refused(vm, "disks_changed", vm.revert, "old")
    taken(vm, "s2")
    vm.write("vdb", 9)
    reverted(vm, "s2")
    assert vm.disk_reads("vdb", 8)
    vm.write("vdb", 10)
    removed(vm, "s2")
    entry = removed(vm, "old")
    assert any("vdb" in note and "never written to" in note for note in entry["notes"]), entry["notes"]
    assert vm.active_file("vdb") == overlay
    assert vm.disk_reads("vdb", 10)
    assert host.run(["sha256sum", remote]).stdout == digest


@pytest.mark.parametrize(
    ("text", "running"),
    [
        ('json:{{"driver":"qcow2","file":{{"driver":"file","filename":"{}"}}}}', True),
        ('json:{{"file.filename":"{}","driver":"qcow2","file.driver":"file"}}', False),
        ("file:{}", False),
    ],
    ids=["json-running", "flat-off", "file-off"],
)
def test_a_local_layer_named_in_another_way(make_vm: MakeVm, planted: Planted, text: str, running: bool) -> None:
    """Libvirt does not understand these strings itself, and starts the VM where its definition has the layer."""
    host, base, file = planted.host, f"{IMAGES}/disksjson-base.qcow2", f"{IMAGES}/disksjson.qcow2"
    element = f"""<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{file}'/>
      <backingStore type='file'><format type='qcow2'/><source file='{base}'/><backingStore/></backingStore>
      <target dev='vda' bus='virtio'/></disk>"""
    vm = make_vm("disksjson", Disk("vda", xml=element))
    host.run(f"qemu-io -c 'write -P 1 0 64k' {create_image(host, base)}")
    host.run(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", text.format(base), "-F", "qcow2", file, "64M"])
    toggle(vm, running)
    assert [layer["file"] for layer in vm.info()["chains"][0]["layers"]] == [file, base]
    taken(vm, "s1")
    vm.sound()
    vm.write("vda", 2)
    if running:
        removed(vm, "s1")
    else:
        reverted(vm, "s1")
        assert vm.disk_reads("vda", 1)
        vm.write("vda", 2)
        removed(vm, "s1")
    assert vm.disk_reads("vda", 2)
    assert vm.reads(base, 1)
    vm.sound()
