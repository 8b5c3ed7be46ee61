# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a snapshot holds is what was there: data, memory, file systems, and who may read it."""

from __future__ import annotations

import re
import shlex
import subprocess
import threading
from itertools import takewhile
from typing import Any

import pytest
from lab import ssh
from lab.api import Host

from .ansible_run import run_module
from .conftest import Fresh
from .guest import IMAGES, files_of, holds, is_writing, needs_recovery, sequence, wait_for, write

_FILES01 = {"vda": 0, "vdb": 1, "vdc": 2}


def take(host: Host, vm: str, name: str, **options: Any) -> dict[str, Any]:
    """Take a snapshot of one VM by the module; return its entry of the result."""
    result = run_module(host, "vm_snapshot", {"vms": [vm], "name": name, **options})
    assert "vms" in result, result
    entry: dict[str, Any] = result["vms"][0]
    return entry


def test_every_disk_switches_at_once_and_what_came_before_stays_below(host: Host, fresh: Fresh) -> None:
    fresh("files01")
    for index in _FILES01.values():
        write(host, "files01", index, 17)
    entry = take(host, "files01", "before")
    for index in _FILES01.values():
        write(host, "files01", index, 34)

    assert [disk["target"] for disk in entry["snapshot"]["disks"]] == list(_FILES01)
    assert entry["snapshot"]["left_out"] == [{"target": "sda", "reason": "a cdrom"}]
    for target, base, base_format in (
        ("vda", "files01.qcow2", "qcow2"),
        ("vdb", "files01-vdb.qcow2", "qcow2"),
        ("vdc", "files01-vdc.raw", "raw"),
    ):
        assert holds(host, f"{IMAGES}/{base}", base_format, 17), target
        assert not holds(host, f"{IMAGES}/{base}", base_format, 34), target
        assert holds(host, f"{IMAGES}/files01.{target}.before.qcow2", "qcow2", 34), target


def test_overlays_are_private_and_owned_like_the_disk_below(host: Host, fresh: Fresh) -> None:
    fresh("files01", "off01", "web01")
    for vm in ("files01", "off01", "web01"):
        for disk in take(host, vm, "private")["snapshot"]["disks"]:
            base = host.run(["qemu-img", "info", "-U", disk["file"]]).stdout
            below = re.search(r"^backing file: (\S+)", base, re.M)
            assert below
            mode, owner = host.run(["stat", "-c", "%a %U:%G", disk["file"]]).stdout.split()
            assert mode == "600", disk
            assert owner == host.run(["stat", "-c", "%U:%G", below[1]]).stdout.strip(), disk


def test_a_vm_that_is_off_starts_on_its_overlay(host: Host, fresh: Fresh) -> None:
    fresh("off01")
    entry = take(host, "off01", "cold")
    host.virsh("start", "off01")
    wait_for("the guest", lambda: is_writing(host, "off01"), 60)
    overlay = entry["snapshot"]["disks"][0]["file"]
    assert overlay in host.virsh("domblklist", "off01")
    assert host.run(["qemu-img", "check", "-U", overlay]).returncode == 0


def test_a_chain_gets_as_deep_as_this_libvirt_can_start_and_no_deeper(host: Host, fresh: Fresh) -> None:
    fresh("off01")
    _deepen(host, "off01", (25 if host.libvirt_version.startswith("11.") else 200) - 1)
    assert take(host, "off01", "deepest")["error_code"] is None
    host.virsh("start", "off01")
    host.virsh("destroy", "off01")
    refused = take(host, "off01", "too-deep")
    assert refused["error_code"] == "chain_too_deep"
    assert refused["changed"] is False


def _deepen(host: Host, vm: str, layers: int) -> None:
    """Put a shut-off VM's disk on top of a chain of so many layers."""
    top = f"{IMAGES}/{vm}-{layers}.qcow2"
    size = re.search(r"\((\d+) bytes\)", host.run(["qemu-img", "info", f"{IMAGES}/{vm}.qcow2"]).stdout)
    assert size
    host.run(f"""cd {IMAGES} && base={vm}.qcow2
        for layer in $(seq 2 {layers}); do
            qemu-img create -q -u -f qcow2 -b $base -F qcow2 {vm}-$layer.qcow2 {size[1]} && base={vm}-$layer.qcow2
        done
        virsh dumpxml {vm} | sed s,{IMAGES}/{vm}.qcow2,{top}, >/tmp/{vm}.xml && virsh define /tmp/{vm}.xml""")


def test_a_quiesced_snapshot_is_clean_and_an_unquiesced_one_is_not(host: Host, fresh: Fresh) -> None:
    fresh("web01", "db01")
    for vm in ("web01", "db01"):
        wait_for(f"the writer of {vm}", lambda vm=vm: is_writing(host, vm), 60)  # type: ignore[misc]
    frozen, unfrozen = take(host, "web01", "clean", quiesce="required"), take(host, "db01", "dirty")
    assert frozen["quiesced"] is True
    assert not needs_recovery(host, f"{IMAGES}/web01.qcow2")
    assert unfrozen["quiesced"] is False
    assert any("no guest agent answers" in note for note in unfrozen["notes"])
    assert needs_recovery(host, f"{IMAGES}/db01.qcow2")
    assert is_writing(host, "web01")


def test_saved_memory_brings_the_guest_back_to_that_very_moment(host: Host, fresh: Fresh) -> None:
    fresh("web01")
    wait_for("the writer", lambda: is_writing(host, "web01"), 60)
    begun = sequence(host, "web01")
    entry = take(host, "web01", "moment", include_memory=True)
    saved, memory = sequence(host, "web01"), entry["snapshot"]["memory_file"]
    assert entry["disk_only"] is False
    assert entry["snapshot"]["state"] == "running"
    assert host.run(["stat", "-c", "%a", memory]).stdout.strip() == "600"
    wait_for("much more writing", lambda: sequence(host, "web01") > saved + 50, 60)
    later = sequence(host, "web01")

    _restore(host, "web01", memory, entry["snapshot"]["disks"][0]["file"])

    wait_for("the restored writer", lambda: is_writing(host, "web01"), 60)
    assert begun <= sequence(host, "web01") < later, "it went on from somewhere else"
    assert "running" in host.virsh("domstate", "web01")


def _restore(host: Host, vm: str, memory: str, overlay: str) -> None:
    """Go back to saved memory the way that works on every libvirt: restore the file onto a new overlay."""
    host.virsh("destroy", vm)
    restored = overlay.replace(".qcow2", ".restored.qcow2")
    host.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", f"{IMAGES}/{vm}.qcow2", restored])
    xml = host.virsh("save-image-dumpxml", memory)
    host.put("/run/restore.xml", xml.replace(f"{IMAGES}/{vm}.qcow2", restored))
    host.virsh("restore", memory, "--xml", "/run/restore.xml", "--running")


def test_memory_of_an_invtsc_vm_is_refused_without_a_pause_and_disks_are_taken(host: Host, fresh: Fresh) -> None:
    fresh("tsc01")
    if not host.invtsc:
        pytest.skip("tsc01 needs a KVM that starts invtsc guests")
    by_virsh = "virsh suspend tsc01 && virsh resume tsc01"

    def act() -> None:
        host.run(by_virsh)
        _refused(host)
        host.run(by_virsh)
        assert take(host, "tsc01", "by-default")["snapshot"]["state"] == "disk-snapshot"

    # One pause each by virsh, before and after, show that the watcher sees them; the module adds none.
    assert _events(host, "tsc01", act).count("suspended") == 2


def _refused(host: Host) -> None:
    entry = take(host, "tsc01", "with-memory", include_memory=True)
    assert entry["error_code"] == "memory_blocked"
    assert "invtsc" in entry["details"]["blockers"][0]
    assert entry["changed"] is False
    assert host.virsh("snapshot-list", "tsc01", "--name").strip() == ""


_WATCH = """
import libvirt
libvirt.virEventRegisterDefaultImpl()
connection = libvirt.open("qemu:///system")
names = {{libvirt.VIR_DOMAIN_EVENT_SUSPENDED: "suspended", libvirt.VIR_DOMAIN_EVENT_STOPPED: "stopped"}}
tell = lambda _connection, _domain, event, _detail, _nothing: print(names.get(event, event), flush=True)
connection.domainEventRegisterAny(connection.lookupByName({vm!r}), libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, tell, None)
print("watching", flush=True)
while True:
    libvirt.virEventRunDefaultImpl()
"""


def _events(host: Host, vm: str, action: Any) -> list[str]:
    """Return the lifecycle events of a VM that libvirt reports during an action; afterwards its plug is pulled."""
    command = [*ssh.command(host.name), shlex.join(["timeout", "120", "python3", "-c", _WATCH.format(vm=vm)])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout
        assert watcher.stdout.readline() == "watching\n"
        action()
        host.virsh("destroy", vm)  # libvirt tells one event after the other: nothing comes after this one's
        said = [line.strip() for line in takewhile(lambda line: line != "stopped\n", watcher.stdout)]
        host.run(f"pkill -f '[l]ookupByName.*{vm}'")
    return said


@pytest.mark.parametrize("name", ["pré-patch ü", "a<b&c'd\"e", "with space", "x" * 200])
def test_an_odd_name_survives_xml_and_the_file_system(host: Host, fresh: Fresh, name: str) -> None:
    fresh("off01")
    entry = take(host, "off01", name)
    assert entry["error_code"] is None, entry
    assert entry["snapshot"]["name"] == name
    assert name in host.virsh("snapshot-list", "off01", "--name").splitlines()
    assert len(files_of(host, "off01")) == 2
    host.run("systemctl restart libvirtd")
    assert take(host, "off01", name)["changed"] is False


def test_two_runs_at_once_make_one_snapshot(host: Host, fresh: Fresh) -> None:
    fresh("files01")
    entries: list[dict[str, Any]] = []
    runs = [threading.Thread(target=lambda: entries.append(take(host, "files01", "both"))) for _number in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert sorted(entry["changed"] for entry in entries) == [False, True]
    assert len([file for file in files_of(host, "files01") if ".both." in file]) == len(_FILES01)
