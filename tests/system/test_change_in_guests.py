# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role guarded_change on real guests, which have neither Python nor a network. The judge is what lies on their disks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from lab.api import Host, host_named
from lab.paths import INVENTORY

from .change_guests import layers, make_guests, number_on_disk, remove_guests
from .guest import wait_for

HERE = Path(__file__).resolve().parent
PASSES, CHECK_FAILS, DOES_NOT_BOOT = "change1", "change2", "change3"
GUESTS = (PASSES, CHECK_FAILS, DOES_NOT_BOOT)
FIRST, HALF, WHOLE = f"{0:012}", f"{1:012}", f"{2:012}"

# The number is written over in place, so that it is on the disk with the sync, and not only in ext4's journal.
WRITE = "printf '%012d\\n' {number} | busybox dd of=/data/sequence conv=notrunc 2>/dev/null && busybox sync"
CHANGE = [
    {"name": "Begin", "ansible.builtin.raw": WRITE.format(number=1)},
    {"name": "Go on", "ansible.builtin.raw": "{{ hold | default('true') }}"},
    {"name": "End", "ansible.builtin.raw": WRITE.format(number=2)},
    {"name": "Upgrade what it boots", "ansible.builtin.raw": "{{ upgrade }}", "when": "upgrade is defined"},
    {"name": "Boot", "ansible.builtin.raw": "busybox reboot -f", "when": "upgrade is defined"},
]
CHECK = [{"name": "Check", "ansible.builtin.raw": "busybox grep -q 2 /data/sequence && {{ check | default('true') }}"}]
VARIABLES = {
    # Its wait is also how long the hypervisor is asked for all guests, as it is the first of the play.
    PASSES: {"upgrade": "echo '# upgraded' >> /data/system && busybox sync", "guarded_change_wait": 120},
    CHECK_FAILS: {"check": "false", "guarded_change_wait": 120},
    DOES_NOT_BOOT: {"upgrade": "echo nothing >/data/system && busybox sync", "guarded_change_wait": 3},
}


@pytest.fixture(params=["hv-openrc"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """One whose gate has little else to do. Molecule's scenario guarded_change does it on another, without the kill."""
    host = host_named(request.param) or pytest.skip(f"{request.param} is not up; start it with: dev/lab/lab up")
    make_guests(host, *GUESTS)
    yield host
    remove_guests(host, *GUESTS)


def command(host: Host, folder: Path) -> Sequence[str]:
    """Return the run over the three guests, with the lab's host as the only hypervisor."""
    role = {"name": "patch", "tasks": "change.yml", "checks": "check.yml", "hypervisors": host.name}
    play = {
        "hosts": "guests",
        "gather_facts": False,
        "roles": [
            {
                "role": "limiquantix.kvm.guarded_change",
                **{f"guarded_change_{key}": value for key, value in role.items()},
            }
        ],
    }
    guests = {name: {"ansible_connection": "lab_guest", "lab_host": host.name, **VARIABLES[name]} for name in GUESTS}
    texts = {
        "play.yml": [play],
        "change.yml": CHANGE,
        "check.yml": CHECK,
        "guests.yml": {"guests": {"hosts": guests}},
    }
    for name, content in texts.items():
        (folder / name).write_text(json.dumps(content), "utf-8")
    return ["ansible-playbook", "-i", str(INVENTORY), "-i", str(folder / "guests.yml"), str(folder / "play.yml")]


def environment() -> dict[str, str]:
    """Return what lets Ansible know the way into the guests."""
    return {
        **os.environ,
        "ANSIBLE_CONNECTION_PLUGINS": str(HERE / "connection_plugins"),
        "ANSIBLE_NOCOLOR": "true",
        "PYTHONPATH": str(HERE.parents[1] / "dev"),
    }


def kill_in_the_middle(host: Host, guest: str, words: Sequence[str], log: Path) -> None:
    """Run a change in one guest and kill the controller when half of it is on the guest's disk.

    Its tasks are told twice: first skipped, as the role reads the files before the snapshot, then for true.
    """
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [*words, "-l", guest, "-e", "hold='sleep 3600'"],
            env=environment(),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for("half a change", lambda: log.read_text("utf-8").count("Go on") == 2 or process.poll() is not None, 120)
        assert number_on_disk(host, guest) == HALF, log.read_text("utf-8")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_what_passes_stays_and_what_fails_or_does_not_boot_is_as_before(host: Host, tmp_path: Path) -> None:
    words = command(host, tmp_path)
    kill_in_the_middle(host, CHECK_FAILS, words, tmp_path / "killed")
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False, timeout=600)
    said = " ".join(done.stdout.split())
    assert done.returncode != 0
    # The whole of it in one, half of it in none: after the kill there was no second snapshot, of half a change.
    assert {name: number_on_disk(host, name) for name in GUESTS} == {
        PASSES: WHOLE,
        CHECK_FAILS: FIRST,
        DOES_NOT_BOOT: FIRST,
    }, done.stdout
    assert f"{CHECK_FAILS}: an earlier run was interrupted." in said
    undone = "The VM was reverted to the time before the change, and the guest answers again."
    assert f'{CHECK_FAILS} on {host.name}: The task \\"Check\\" failed: non-zero return code. {undone}' in said
    assert (
        f'{DOES_NOT_BOOT} on {host.name}: The task \\"Wait until the guest answers after the change\\" failed' in said
    )
    assert said.count(undone) >= 2
    assert [layers(host, name) for name in GUESTS] == [[], [], []]
    # One run of the module for all three guests: as many as there are steps.
    assert said.count(f"-> {host.name}] => (item={host.name})") == len(
        ["locate", "take", "revert", "wait", "note undone", "note done", "remove"]
    )
