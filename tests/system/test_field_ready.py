# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs, tools and texts that are looked at before anything is done, and records that stay as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from .field import MakeVm, agreed, make_vm
from .field_vm import Entry, FieldVm
from .guest import wait_for
from .planted import only, planted
from .ready_vm import HOME, home, refused, seen, snapshot, untouched, well

__all__ = ("home", "make_vm", "planted")


def dump(vm: FieldVm, fifo: str) -> str:
    """Return the command that dumps a VM's memory; libvirt 12.8 refuses `--live`, and lets the guest stand meanwhile."""
    live = "" if vm.host.libvirt_version.startswith("12.") else "--live"
    return f"virsh dump {vm.name} {fifo} {live}"


@contextmanager
def dumping(vm: FieldVm) -> Iterator[None]:
    """A dump whose reader does not read: it holds the VM's job until then."""
    fifo = f"/run/{vm.name}.fifo"
    start = f"{dump(vm, fifo)} >/dev/null 2>&1"
    vm.host.run(
        f"rm -f {fifo}; mkfifo {fifo}; setsid sh -c 'exec 3<>{fifo}; {start}; sleep 1' >/dev/null 2>&1 </dev/null &"
    )
    wait_for("the dump", lambda: "None" not in vm.virsh("domjobinfo"))
    try:
        yield
    finally:
        read_out(vm, fifo)


def read_out(vm: FieldVm, fifo: str) -> None:
    """Read a dump to its end, which is when nobody has the pipe open for writing any more."""
    vm.host.run(f"timeout 60 cat {fifo} >/dev/null; rm -f {fifo}", check=False)
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
    start = f"rm -f {fifo}; mkfifo {fifo}; setsid sh -c 'exec 3<>{fifo}; {dump(vm, fifo)}; sleep 1'"
    begun = f"virsh domjobinfo {vm.name} | grep -q Operation"
    wait = f"for _ in $(seq 300); do {begun} && exit; sleep 0.1; done; cat {fifo}.said >&2"
    script = f"{start} >{fifo}.said 2>&1 </dev/null & {wait}"
    fault = f"before(take_steps.Taking, '_make_overlays', lambda: subprocess.run({script!r}, shell=True, stdout=2))"
    with untouched(vm):
        entry = only(vm.planted.snapshot(fault, vm.name, "s2", quiesce="never"))
        assert (entry["error_code"], entry["details"]) == ("busy", {"job": "dump"}), entry["msg"]
        read_out(vm, fifo)


def test_a_disk_that_is_put_on_another_image_just_before_the_switch(make_vm: MakeVm) -> None:
    """The overlay that is there already is based on what the disk was on, and libvirt would not notice."""
    vm = snapshot(make_vm("ready1", "vda", directory=HOME))
    theirs = f"virsh snapshot-create-as {vm.name} bk --disk-only --no-metadata --diskspec vda,file={HOME}/bk.qcow2"
    fault = f"before(take_steps.Taking, '_switch', lambda: subprocess.run({theirs!r}, shell=True, stdout=2))"
    entry = only(vm.planted.snapshot(fault, vm.name, "s2", quiesce="never"))
    assert (entry["error_code"], vm.active_file("vda")) == ("busy", f"{HOME}/bk.qcow2"), entry["msg"]
    assert not vm.host.run(f"ls {HOME} | grep s2", check=False).stdout
    well(vm.take("s2"))


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


@pytest.mark.parametrize("running", [True, False], ids=["running", "off"])
def test_a_file_that_nobody_may_change_is_seen_before_anything(make_vm: MakeVm, running: bool) -> None:
    vm = snapshot(make_vm("ready1", start=running))  # on a file system that knows attributes
    base, overlay = f"{vm.directory}/ready1.qcow2", vm.active_file("vda")
    calls = [(vm.remove, base), (vm.remove, overlay), (vm.revert, overlay)]
    for action, file in calls:
        vm.host.run(["chattr", "+i", file])
        try:
            entry = refused(vm, "file_read_only", action, "s1")
        finally:
            vm.host.run(["chattr", "-i", file])
        assert f"chattr -i -a {file}" in entry["msg"]
    well(agreed(vm.remove, "s1")[1])
    assert vm.disk_reads("vda", 42)


def test_qemu_img_is_not_looked_for_where_nothing_needs_it(make_vm: MakeVm) -> None:
    vm = snapshot(make_vm("ready1", directory=HOME, start=True))
    for what, name in (("take", "s2"), ("remove", "s2"), ("remove", "s1")):
        for entry in without_qemu_img(vm, what, name):
            assert entry["error_code"] is None, entry["msg"]
    assert (vm.state, vm.disk_reads("vda", 42), vm.snapshots()) == ("running", True, [])


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


PLANTS = {
    "overlay_failed": "before(take_steps, 'create_overlay', lambda: os.environ.update(PATH='/nowhere'))",
    "libvirt_error": "before(take_steps.Taking, '_switch', lambda: subprocess.run('rm {home}/ready1.vda.s2.qcow2', shell=True))",
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
        "before(start_or_go_back, 'create_overlay', lambda: os.environ.update(PATH='/nowhere'))",
        "def fail(): raise driver.KvmError('libvirt_error', 'it does not stop')\nbefore(revert, 'stop', fail)",
    ):
        with untouched(vm):
            entry = only(vm.planted.revert(fault, vm.name, "s1"))
            assert entry["error_code"] in {"overlay_failed", "libvirt_error"}, entry["msg"]
    assert well(vm.take("s2"))["recovered"] is None
    assert vm.disk_reads("vda", 42)


def test_a_removal_that_fails_leaves_the_record_as_it_was(make_vm: MakeVm) -> None:
    vm = snapshot(make_vm("ready1", directory=HOME, start=True))
    fault = "def fail(): raise driver.KvmError('apparmor_denied', 'no')\nbefore(merge_layers, 'commit_block', fail)"
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
