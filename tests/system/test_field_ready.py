# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would go wrong is asked before anything is done: could it start again, does a job hold it, is everything there?

After a refusal nothing is other than before, the record and the very process of a running VM included.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

import pytest
from lab.on_host.domains import FIRMWARE

from .field import Disk, Entry, FieldVm, MakePool, MakeVm, agreed, make_pool, make_vm
from .guest import wait_for
from .planted import Planted, only, planted

__all__ = ("make_pool", "make_vm", "planted")

HOME = "/srv/ready"  # nothing of these VMs lies anywhere else
_RECORDS = "/var/lib/limiquantix-kvm"


@pytest.fixture(autouse=True)
def home(planted: Planted) -> Iterator[None]:
    planted.host.run(f"rm -rf {HOME}; mkdir -p {HOME}; chmod 755 {HOME}")
    yield
    planted.host.run(f"chmod -R u+rwX {HOME}; rm -rf {HOME}")


def well(entry: Entry) -> Entry:
    assert (entry["changed"], entry["error_code"]) == (True, None), entry["msg"]
    return entry


def seen(vm: FieldVm) -> dict[str, Any]:
    """Return all that a refusal must leave as it is."""
    return {
        "record": vm.host.run(f"cat {_RECORDS}/{vm.uuid}.json || echo none", check=False).stdout,
        "files": vm.host.run(f"find {HOME} -printf '%p %u %m %i\\n' | sort").stdout,
        "snapshots": vm.host.run(
            f"for s in $(virsh snapshot-list {vm.name} --name); do virsh snapshot-dumpxml {vm.name} $s; done"
        ).stdout,
        "definition": vm.xml(inactive=True),
        "state": vm.state,
        "process": vm.host.run(f"cat /run/libvirt/qemu/{vm.name}.pid", check=False).stdout,
    }


@contextmanager
def untouched(vm: FieldVm) -> Iterator[None]:
    before = seen(vm)
    yield
    after = seen(vm)
    assert after == before


def refused(vm: FieldVm, code: str, action: Callable[..., Entry], *words: Any, **options: Any) -> Entry:
    """Assert that check mode and a run refuse something alike and leave everything as it was; return what was said."""
    with untouched(vm):
        told, done = agreed(action, *words, **options)
        assert (done["error_code"], told["msg"]) == (code, done["msg"]), (told["msg"], done["msg"])
    return done


def snapshot(vm: FieldVm) -> FieldVm:
    """Return the VM with 1 in s1 and 42 in its present."""
    vm.write("vda", 1)
    well(vm.take("s1"))
    vm.write("vda", 42)
    return vm


# What a start needs

CDROM = """<disk type='file' device='cdrom'><source file='{home}/seed.iso' {more}/>
  <target dev='sda' bus='sata'/><readonly/></disk>"""
PIPE = "<serial type='pipe'><source path='{home}/pipe'/></serial>"
SHARE = "<filesystem type='mount'><source dir='{home}/share'/><target dir='share'/></filesystem>"
LOG = "<serial type='file'><source path='{home}/logs/serial.log'/></serial>"
BRIDGE = "<interface type='bridge'><source bridge='readybr0'/></interface>"
NETWORK = "<interface type='network'><source network='readynet'/></interface>"
NETWORK_XML = "<network><name>readynet</name><forward mode='bridge'/><bridge name='readybr1'/></network>"
# What the VM has, what makes that, what takes it away, the code, and how it is brought back.
NEEDS = {
    "cdrom": (
        CDROM,
        f"truncate -s 1M {HOME}/seed.iso",
        f"rm {HOME}/seed.iso",
        "file_missing",
        "virsh change-media ready1 sda --eject --config",
    ),
    "a cdrom required at boot": (
        CDROM.replace("{more}", "startupPolicy='requisite'"),
        f"truncate -s 1M {HOME}/seed.iso",
        f"rm {HOME}/seed.iso",
        "file_missing",
        f"touch {HOME}/seed.iso",
    ),
    "pipe": (PIPE, f"mkfifo -m 666 {HOME}/pipe", f"rm {HOME}/pipe", "file_missing", f"mkfifo -m 666 {HOME}/pipe"),
    "share": (SHARE, f"mkdir -m 777 {HOME}/share", f"rmdir {HOME}/share", "file_missing", f"mkdir {HOME}/share"),
    "log": (LOG, f"mkdir {HOME}/logs", f"rm -r {HOME}/logs", "file_missing", f"mkdir {HOME}/logs"),
    "bridge": (
        BRIDGE,
        "ip link del readybr0; ip link add readybr0 type bridge",
        "ip link del readybr0",
        "device_missing",
        "ip link add readybr0 type bridge",
    ),
    "network": (
        NETWORK,
        "ip link del readybr1; ip link add readybr1 type bridge; virsh net-destroy readynet; "
        f'echo "{NETWORK_XML}" > /run/readynet.xml; virsh net-define /run/readynet.xml; virsh net-start readynet',
        "virsh net-destroy readynet",
        "device_missing",
        "virsh net-start readynet",
    ),
}
GONE = "ip link del readybr0; ip link del readybr1; virsh net-destroy readynet; virsh net-undefine readynet"


@pytest.mark.parametrize("what", NEEDS)
def test_what_a_start_needs_is_looked_for_before_the_stop(make_vm: MakeVm, planted: Planted, what: str) -> None:
    device, before, away, code, remedy = NEEDS[what]
    host = planted.host
    host.run(before, check=False)
    try:
        device = device.replace("{home}", HOME).replace("{more}", "")
        vm = snapshot(make_vm("ready1", directory=HOME, devices=device, start=True))
        host.run(away)
        said = refused(vm, code, vm.revert, "s1")
        if remedy.startswith("virsh"):
            assert remedy in said["msg"]
        assert vm.disk_reads("vda", 42)
        well(vm.revert("s1", check=True, power="shutoff"))
        host.run(remedy)
        well(agreed(vm.revert, "s1")[1])
        assert (vm.state, vm.disk_reads("vda", 1)) == ("running", True)
        vm.sound()
    finally:
        host.run(f"virsh destroy ready1; {GONE}", check=False)


def test_what_may_be_missing_is_no_obstacle(make_vm: MakeVm, planted: Planted) -> None:
    device = CDROM.format(home=HOME, more="startupPolicy='optional'")
    planted.host.run(f"truncate -s 1M {HOME}/seed.iso")
    vm = snapshot(make_vm("ready1", directory=HOME, devices=device, start=True))
    planted.host.run(f"rm {HOME}/seed.iso")
    well(agreed(vm.revert, "s1")[1])
    assert (vm.state, vm.disk_reads("vda", 1)) == ("running", True)


def test_a_kernel_that_is_gone(make_vm: MakeVm, planted: Planted) -> None:
    kernel = f"{HOME}/firmware"
    planted.host.run(f"cp {FIRMWARE} {kernel}")
    boot = f"<loader readonly='yes' type='rom'>{kernel}</loader>"
    vm = snapshot(make_vm("ready1", directory=HOME, boot=boot, start=True))
    planted.host.run(f"mv {kernel} {kernel}.away")
    assert kernel in refused(vm, "file_missing", vm.revert, "s1")["msg"]
    vm.off()
    assert kernel in refused(vm, "file_missing", vm.revert, "s1", power="running")["msg"]
    well(agreed(vm.revert, "s1")[1])  # it stays off, and needs nothing


def test_a_volume_in_a_pool_that_was_stopped(make_vm: MakeVm, make_pool: MakePool, planted: Planted) -> None:
    make_pool("readypool", f"{HOME}/pool")
    planted.host.virsh("vol-create-as", "readypool", "seed.img", "1M", "--format", "raw")
    device = """<disk type='volume' device='cdrom'><source pool='readypool' volume='seed.img'/>
      <target dev='sda' bus='sata'/><readonly/></disk>"""
    vm = snapshot(make_vm("ready1", directory=HOME, devices=device, start=True))
    planted.host.virsh("pool-destroy", "readypool")
    assert "virsh pool-start readypool" in refused(vm, "file_missing", vm.revert, "s1")["msg"]
    planted.host.virsh("pool-start", "readypool")
    well(agreed(vm.revert, "s1")[1])


def test_memory_needs_what_it_was_saved_with(make_vm: MakeVm, planted: Planted) -> None:
    planted.host.run(f"truncate -s 1M {HOME}/seed.iso")
    vm = make_vm("ready1", directory=HOME, devices=CDROM.format(home=HOME, more=""), start=True)
    vm.write("vda", 1)
    well(vm.take("s1", include_memory=True))
    vm.write("vda", 42)
    vm.virsh("change-media", "sda", "--eject", "--config", "--live", "--force")
    planted.host.run(f"rm {HOME}/seed.iso")
    refused(vm, "file_missing", vm.revert, "s1")
    planted.host.run(f"truncate -s 1M {HOME}/seed.iso")
    well(agreed(vm.revert, "s1")[1])
    assert (vm.state, vm.disk_reads("vda", 1)) == ("running", True)


# QEMU's user


@pytest.mark.parametrize("running", [False, True])
def test_a_directory_that_qemu_may_not_pass(make_vm: MakeVm, planted: Planted, running: bool) -> None:
    vm = make_vm("ready1", directory=HOME, start=running)
    closed = f"{HOME}/closed"
    planted.host.run(f"mkdir -m 700 {closed}; mkdir -m 777 {closed}/inner; ln -s {closed}/inner {HOME}/link")
    for directory in (closed, f"{closed}/inner", f"{HOME}/link"):
        said = refused(vm, "overlay_dir_unusable", vm.take, "s1", overlay_dir=directory)
        assert f"chmod o+x {closed}" in said["msg"]
    planted.host.run(f"chmod o+x {closed}")
    well(agreed(vm.take, "s1", overlay_dir=f"{HOME}/link")[1])
    planted.host.run(f"chmod 700 {closed}")
    if running:
        refused(vm, "overlay_dir_unusable", vm.revert, "s1")
        planted.host.run(f"chmod o+x {closed}")
        well(agreed(vm.revert, "s1")[1])
    else:
        refused(vm, "overlay_dir_unusable", vm.revert, "s1", power="running")
        planted.host.run(f"chmod o+x {closed}")
        vm.start()


def test_a_state_that_qemu_cannot_get_at_any_more(make_vm: MakeVm, planted: Planted) -> None:
    planted.host.run(f"mkdir {HOME}/base {HOME}/over")
    vm = make_vm("ready1", Disk("vda", file=f"{HOME}/base/ready1.qcow2"), directory=HOME, start=True)
    vm.write("vda", 1)
    well(vm.take("s1", overlay_dir=f"{HOME}/over"))
    vm.write("vda", 42)
    planted.host.run(f"chmod 700 {HOME}/base")
    said = refused(vm, "file_unreachable", vm.revert, "s1")
    assert f"chmod o+x {HOME}/base" in said["msg"]
    planted.host.run(f"chmod 755 {HOME}/base")
    well(agreed(vm.revert, "s1")[1])


def test_a_root_owned_image_of_a_vm_that_is_off_is_healthy(make_vm: MakeVm, planted: Planted) -> None:
    vm = make_vm("ready1", directory=HOME)
    planted.host.run(f"chown root:root {HOME}/ready1.qcow2; chmod 600 {HOME}/ready1.qcow2")
    well(agreed(vm.take, "s1")[1])
    vm.start()
    vm.write("vda", 42)
    well(agreed(vm.revert, "s1")[1])
    assert vm.state == "running"


OWN = """<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
  <source file='{file}'><seclabel model='dac' relabel='no'/></source><target dev='vda' bus='virtio'/></disk>"""


@pytest.mark.parametrize("running", [False, True])
def test_an_overlay_where_libvirt_changes_no_owner(make_vm: MakeVm, planted: Planted, running: bool) -> None:
    """QEMU has it through a group: an overlay of root's that is root's alone would be closed to it."""
    file = f"{HOME}/ready1.qcow2"
    vm = make_vm("ready1", Disk("vda", file=file, xml=OWN.replace("{file}", file)), directory=HOME)
    planted.host.run(f"chown root:kvm {file}; chmod 660 {file}")
    if running:
        vm.start()
    well(agreed(vm.take, "s1")[1])
    assert planted.host.run(["stat", "-c", "%U %a", vm.active_file("vda")]).stdout.split() == ["libvirt-qemu", "600"]
    if not running:
        vm.start()
    vm.write("vda", 42)
    assert vm.disk_reads("vda", 42)


def test_a_state_that_qemu_may_not_read(make_vm: MakeVm, planted: Planted) -> None:
    file = f"{HOME}/ready1.qcow2"
    label = "<seclabel type='static' model='dac' relabel='no'><label>libvirt-qemu:kvm</label></seclabel>"
    vm = make_vm("ready1", directory=HOME, elements=label)
    planted.host.run(f"chown root:kvm {file}; chmod 660 {file}")
    vm.start()
    snapshot(vm)
    planted.host.run(f"chmod 600 {file}")
    assert f"chown libvirt-qemu {file}" in refused(vm, "file_unreachable", vm.revert, "s1")["msg"]
    planted.host.run(f"chown libvirt-qemu {file}")
    well(agreed(vm.revert, "s1")[1])
    assert (vm.state, vm.disk_reads("vda", 1)) == ("running", True)


# A start that fails all the same

_NONSENSE = f"for f in {HOME}/ready1.vda.s1-*.qcow2; do echo no > $f; done"
SPOIL = f"before(revert, 'start', lambda: subprocess.run({_NONSENSE!r}, shell=True))"


@pytest.mark.parametrize("memory", [False, True])
def test_a_vm_that_does_not_start_goes_back(make_vm: MakeVm, memory: bool) -> None:
    vm = make_vm("ready1", directory=HOME, start=True)
    vm.write("vda", 1)
    well(vm.take("s1", include_memory=memory))
    vm.write("vda", 42)
    before = seen(vm)
    entry = only(vm.planted.revert(SPOIL, vm.name, "s1"))
    assert (entry["error_code"], entry["changed"]) == ("start_failed", False), entry["msg"]
    assert "is back where it was, and running" in entry["msg"]
    after = seen(vm)
    assert after.pop("process") != before.pop("process")
    assert after == before
    assert vm.disk_reads("vda", 42)
    vm.sound()
    well(agreed(vm.revert, "s1")[1])
    assert (vm.state, vm.disk_reads("vda", 1)) == ("running", True)
    vm.sound()


def test_a_vm_that_was_off_stays_off(make_vm: MakeVm) -> None:
    vm = snapshot(make_vm("ready1", directory=HOME))
    with untouched(vm):
        entry = only(vm.planted.revert(SPOIL, vm.name, "s1", power="running"))
        assert entry["error_code"] == "start_failed", entry["msg"]
    assert vm.disk_reads("vda", 42)
    vm.sound()


def test_a_vm_that_starts_nowhere(make_vm: MakeVm) -> None:
    """Its definition has what nobody can see through; its disks are where they were all the same."""
    vm = snapshot(make_vm("ready1", directory=HOME, start=True))
    space = "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"
    vm.redefine("</domain>", f"<qemu:commandline {space}><qemu:arg value='-nonsense'/></qemu:commandline></domain>")
    entry = vm.revert("s1")
    assert entry["error_code"] == "start_failed"
    assert (vm.state, vm.disk_reads("vda", 42)) == ("shut off", True)
    assert "virsh start ready1" in entry["msg"]
    vm.sound()
    vm.redefine("<qemu:arg value='-nonsense'/>", "")
    vm.start()
    well(agreed(vm.revert, "s1")[1])


@pytest.mark.parametrize(
    "step",
    [
        "revert, 'go_back'",
        "revert.Revert, '_forget'",
        "revert, 'remove_unused'",
        "vm_handle.VmHandle, 'put_back_record'",
    ],
)
def test_killed_on_the_way_back(make_vm: MakeVm, step: str) -> None:
    vm = snapshot(make_vm("ready1", directory=HOME, start=True))
    assert vm.planted.revert(f"{SPOIL}\nbefore({step}, die)", vm.name, "s1").get("killed")
    entry = vm.take("s2")
    if entry["error_code"]:  # it tried once more to start, and went back
        assert entry["error_code"] == "start_failed"
        entry = vm.take("s2")
    well(entry)
    assert (vm.state, vm.disk_reads("vda", 42), vm.snapshots()) == ("running", True, ["s1", "s2"])
    vm.sound()


@pytest.mark.parametrize("step", ["revert, 'carry_out'", "revert, 'close_record'", "vm_handle.VmHandle, 'unlink'"])
def test_there_is_no_way_back_once_it_has_started(make_vm: MakeVm, step: str) -> None:
    vm = snapshot(make_vm("ready1", directory=HOME, start=True))
    assert vm.planted.revert(f"before({step}, die)", vm.name, "s1").get("killed")
    vm.off()
    entry = vm.revert("s1")
    assert entry["error_code"] is None, entry["msg"]
    assert vm.disk_reads("vda", 1)
    vm.sound()


# Jobs


@contextmanager
def dumping(vm: FieldVm) -> Iterator[None]:
    """A dump whose reader does not read: it holds the VM's job until then."""
    fifo = f"/run/{vm.name}.fifo"
    start = f"virsh dump {vm.name} {fifo} --live >/dev/null 2>&1"
    vm.host.run(
        f"rm -f {fifo}; mkfifo {fifo}; setsid sh -c 'exec 3<>{fifo}; {start}; sleep 1' >/dev/null 2>&1 </dev/null &"
    )
    wait_for("the dump", lambda: "None" not in vm.virsh("domjobinfo"))
    try:
        yield
    finally:
        vm.host.run(f"timeout 20 cat {fifo} >/dev/null & sleep 0.5; kill %1; rm -f {fifo}; true", check=False)
        wait_for("its end", lambda: "None" in vm.virsh("domjobinfo"))


def test_a_job_of_the_whole_vm_is_seen(make_vm: MakeVm) -> None:
    vm = snapshot(make_vm("ready1", directory=HOME, start=True))
    with dumping(vm):
        for action, words in ((vm.take, ["s2"]), (vm.revert, ["s1"]), (vm.remove, ["s1"]), (vm.prune, [])):
            options = {"keep_last": 0} if action == vm.prune else {}
            said = refused(vm, "busy", action, *words, **options)
            assert "a dump of it" in said["msg"]
    well(agreed(vm.take, "s2")[1])


def test_a_job_that_begins_just_before_the_freeze(make_vm: MakeVm) -> None:
    vm = snapshot(make_vm("ready1", directory=HOME, start=True))
    fifo = f"/run/{vm.name}.fifo"
    dump = f"rm -f {fifo}; mkfifo {fifo}; setsid sh -c 'exec 3<>{fifo}; virsh dump {vm.name} {fifo} --live; sleep 1'"
    wait = f"until virsh domjobinfo {vm.name} | grep -q Operation; do sleep 0.1; done"
    script = f"{dump} >/dev/null 2>&1 </dev/null & {wait}"
    fault = f"before(taking.Taking, '_make_overlays', lambda: subprocess.run({script!r}, shell=True, stdout=2))"
    with untouched(vm):
        entry = only(vm.planted.snapshot(fault, vm.name, "s2", quiesce="never"))
        assert (entry["error_code"], entry["details"]) == ("busy", {"job": "dump"}), entry["msg"]
        vm.host.run(f"timeout 20 cat {fifo} >/dev/null & sleep 0.5; kill %1; rm -f {fifo}; true", check=False)
        wait_for("its end", lambda: "None" in vm.virsh("domjobinfo"))


# What has to be installed

NO_QEMU_IMG = "os.environ['PATH'] = '/nowhere'"


def without_qemu_img(vm: FieldVm, what: str, name: str, **options: Any) -> list[Entry]:
    """Return what check mode and a run say on a host that has no qemu-img."""
    planted = vm.planted
    calls = {"take": planted.snapshot, "revert": planted.revert, "remove": planted.remove}
    words = {"name": name} if what == "remove" else {}
    positional = [] if what == "remove" else [name]
    if what == "take":
        options["quiesce"] = "never"
    return [
        only(calls[what](NO_QEMU_IMG, vm.name, *positional, check=check, **words, **options)) for check in (True, False)
    ]


def test_qemu_img_is_looked_for_before_anything(make_vm: MakeVm) -> None:
    vm = snapshot(make_vm("ready1", directory=HOME))
    with untouched(vm):
        for what, name in (("take", "s2"), ("revert", "s1"), ("remove", "s1")):
            for entry in without_qemu_img(vm, what, name):
                assert (entry["error_code"], entry["details"]) == ("missing_library", {"missing": ["qemu-img"]}), entry
                assert "apt-get install qemu-utils" in entry["msg"]


def test_qemu_img_is_not_looked_for_where_nothing_needs_it(make_vm: MakeVm) -> None:
    vm = snapshot(make_vm("ready1", directory=HOME, start=True))
    for what, name in (("take", "s2"), ("remove", "s2"), ("remove", "s1")):
        for entry in without_qemu_img(vm, what, name):
            assert entry["error_code"] is None, entry["msg"]
    assert (vm.state, vm.disk_reads("vda", 42), vm.snapshots()) == ("running", True, [])


# Texts

TEXTS = {
    "escape": {"description": "\x1b[31mred"},
    "U+FFFE": {"description": "a\ufffe"},
    "too long": {"description": "x" * 65537},
    "carriage return": {"description": "a\r\nb"},
    "label's name": {"labels": {"a\x00": "b"}},
    "label": {"labels": {"a": "b\x07"}},
    "overlay_dir": {"overlay_dir": "/srv/\x1b"},
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_that_cannot_be_kept(make_vm: MakeVm, text: str) -> None:
    vm = make_vm("ready1", directory=HOME)
    with untouched(vm):
        for check in (True, False):
            said = vm.planted.snapshot("", vm.name, "s1", check=check, **TEXTS[text])
            assert said["error_code"] == "bad_request", said


def test_the_longest_text_is_kept(make_vm: MakeVm) -> None:
    vm = make_vm("ready1", directory=HOME)
    description = "\"'<&>\t\n" + '"' * 65529
    assert well(vm.take("s1", description=description))["snapshot"]["description"] == description
    assert vm.info()["snapshots"][0]["description"] == description
    size = vm.host.run(["stat", "-c", "%s", "/var/lib/libvirt/qemu/snapshot/ready1/s1.xml"]).stdout
    assert int(size) < 1 << 20


# The record after a refusal

PLANTS = {
    "overlay_failed": "before(taking, 'create_overlay', lambda: os.environ.update(PATH='/nowhere'))",
    "libvirt_error": "before(taking.Taking, '_switch', lambda: subprocess.run('rm {home}/ready1.vda.s2.qcow2', shell=True))",
    "no_space": "class Full:\n    f_bavail = f_frsize = f_blocks = f_flag = 0\nos.statvfs = lambda *_words: Full",
}


@pytest.mark.parametrize("noted", [False, True])
@pytest.mark.parametrize("code", PLANTS)
def test_a_take_that_fails_leaves_the_record_as_it_was(make_vm: MakeVm, code: str, noted: bool) -> None:
    vm = make_vm("ready1", directory=HOME)
    if noted:
        snapshot(vm)
    with untouched(vm):
        entry = only(vm.planted.snapshot(PLANTS[code].replace("{home}", HOME), vm.name, "s2", quiesce="never"))
        assert entry["error_code"] == code, entry["msg"]
    assert well(vm.take("s2"))["recovered"] is None


@pytest.mark.parametrize("running", [False, True])
def test_a_revert_that_fails_leaves_the_record_as_it_was(make_vm: MakeVm, running: bool) -> None:
    vm = snapshot(make_vm("ready1", directory=HOME, start=running))
    for fault in (
        "before(revert, 'create_overlay', lambda: os.environ.update(PATH='/nowhere'))",
        "def fail(): raise driver.KvmError('libvirt_error', 'it does not stop')\nbefore(revert.Revert, '_stop', fail)",
    ):
        with untouched(vm):
            entry = only(vm.planted.revert(fault, vm.name, "s1"))
            assert entry["error_code"] in {"overlay_failed", "libvirt_error"}, entry["msg"]
    assert well(vm.take("s2"))["recovered"] is None
    assert vm.disk_reads("vda", 42)


def test_a_removal_that_fails_leaves_the_record_as_it_was(make_vm: MakeVm) -> None:
    vm = snapshot(make_vm("ready1", directory=HOME, start=True))
    fault = "def fail(): raise driver.KvmError('apparmor_denied', 'no')\nbefore(merge_steps, 'commit_block', fail)"
    with untouched(vm):
        entry = only(vm.planted.remove(fault, vm.name, name="s1"))
        assert entry["error_code"] == "apparmor_denied", entry["msg"]
    assert well(vm.take("s2"))["recovered"] is None
    assert vm.snapshots() == ["s1", "s2"]


def test_no_record_is_made_by_what_changes_nothing(make_vm: MakeVm) -> None:
    vm = make_vm("ready1", directory=HOME)
    vm.virsh("snapshot-create-as", "theirs", "--disk-only")
    with untouched(vm):
        for check in (True, False):
            vm.take("s1", check=True)
            vm.remove("not there", check=check)
            vm.revert("not there", check=check)
            vm.take("s1", check=check, disks=["vdx"])
        vm.info()
    assert "none" in seen(vm)["record"]
