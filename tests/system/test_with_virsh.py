# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Living with the host's own tools: after what our module did, that host's virsh goes on working and loses nothing.

In each situation every native ``snapshot-delete`` and ``snapshot-revert`` is tried, each on a copy of its own. It may
refuse, and it may leave files behind. Then our module must be able to go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from lab.api import Host
from soak.one_vm import TWO_DISKS, OneVm, working_on

SITUATIONS = {
    "chain": "take a, take b, take c",
    "reverted to one with children": "take a, take b, take c, revert a",
    "reverted to the newest": "take a, take b, revert b",
    "branches": "take a, take b, revert a, take c",
    "back on the first branch": "take a, take b, revert a, take c, revert b",
    "between branches": "take a, take b, revert a, take c, take d, revert b, take e, revert a",
    "branches above the oldest": "take z, take a, take b, revert a, take c",
    "branches, all above the oldest": "take z, take a, take b, revert a, take c, revert b",
    "shared root removed": "take a, take b, revert a, remove a",
    "shared root of longer branches removed": "take a, take b, take c, revert a, remove a",
    "shared root removed, on a branch": "take a, take b, revert a, take c, remove a",
    "middle removed": "take a, take b, take c, remove b",
    "shared middle removed": "take a, take b, take c, revert b, take d, remove b",
    "shared middle removed, of a branch": "take z, take a, take b, revert a, remove a",
    "shared middle removed, of a branch that goes on": "take z, take a, take b, revert a, remove a, take c",
    "newest removed": "take a, take b, remove b",
    "other branch removed": "take a, take b, revert a, take c, remove b",
    "oldest removed": "take a, take b, remove a",
    "all that it is based on removed": "take a, take b, revert a, remove a, take c, revert b, remove c",
}
# What libvirt 11.3 gets wrong by itself, with snapshots that its own virsh took, too: deleting a snapshot above which a fork
# begins further up ends the daemon of a VM that is off (it looks for the other branch's backing file one layer deep, and
# uses what it did not find), and of one that runs it ignores that it may not rewrite the other branch's image.
_LIBVIRTS_OWN = ("branches above the oldest", "branches, all above the oldest")
_KINDS = {"take": "present", "revert": "reverted", "remove": "absent"}


@pytest.fixture(scope="module")
def vm(host: Host) -> Iterator[OneVm]:
    with working_on(host) as driver:
        made = OneVm(driver, "native")
        yield made
        made.remove()


def build(vm: OneVm, situation: str, on: bool) -> None:
    vm.fresh(on, TWO_DISKS)
    for step in situation.split(", "):
        word, name = step.split()
        result = vm.module(name, _KINDS[word], power="restore")
        assert not result.get("failed"), (step, result)
        vm.write()


@pytest.mark.parametrize("on", [False, True], ids=["off", "running"])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_native_commands_lose_nothing(
    request: pytest.FixtureRequest, host: Host, vm: OneVm, situation: str, on: bool
) -> None:
    if situation in _LIBVIRTS_OWN and host.libvirt_version.startswith("11.3"):
        request.applymarker(pytest.mark.xfail(reason="libvirt 11.3's own fault", strict=False))
    build(vm, SITUATIONS[situation], on)
    wrong: list[str] = []
    names = vm.keep()
    for command in ("snapshot-delete", "snapshot-revert"):
        for name in names:
            vm.again(on)
            wrong += [f"{command} {name}: {what}" for what in tried(vm, command, name)]
    assert not wrong, "\n".join(wrong)


def tried(vm: OneVm, command: str, name: str) -> Iterator[str]:
    """Run a native command, then go on by ourselves; tell what is not as it has to be."""
    before = vm.look()
    done = vm.virsh(command, name)
    if done["crashed"]:
        yield f"libvirtd ended: {done['said']}"
    try:
        after = vm.look()
    except AssertionError as error:
        yield f"cannot be looked at after {done}: {error}"
        return
    wanted = dict(before["snapshots"])
    present = before["present"]
    if done["ok"] and command == "snapshot-delete":
        del wanted[name]
    elif done["ok"]:
        present = wanted[name]
    yield from differences(after, present, wanted, f"virsh said {done['said'].strip()!r}")
    if done["ok"] or done["crashed"] or after != before:
        yield from going_on(vm, after["present"], wanted)


def differences(seen: dict[str, Any], present: Any, snapshots: Any, when: str) -> Iterator[str]:
    """Tell where the VM's present or a snapshot holds something else."""
    if seen["present"] != present:
        yield f"{when}: the present is {seen['present']}, and should be {present}"
    if seen["snapshots"] != snapshots:
        yield f"{when}: the snapshots are {seen['snapshots']}, and should be {snapshots}"
    trouble = {key: seen[key] for key in ("missing", "problems") if seen[key]}
    trouble.update({key: seen["info"][key] for key in ("failed", "problems", "missing_files") if seen["info"].get(key)})
    if trouble:
        yield f"{when}: {trouble}"


def going_on(vm: OneVm, present: Any, snapshots: dict[str, Any]) -> Iterator[str]:
    """Revert to one of the snapshots that are left, then remove all, the oldest first."""
    snapshots = dict(snapshots)
    for state, names in (("reverted", list(snapshots)[-1:]), ("absent", list(snapshots))):
        for number, name in enumerate(names):
            result = vm.module(name, state)
            if result.get("failed"):
                yield f"our {state} {name}: {result['msg']}"
                return
            content = snapshots[name] if state == "reverted" else snapshots.pop(name)
            present = content if state == "reverted" else present
            if number == 0:
                yield from differences(vm.look(), present, snapshots, f"our {state} {name}")
    yield from differences(vm.look(), present, {}, "all removed")


# What virsh makes when it is told no more than the name, and of what VM.
_BY_VIRSH = {
    "inside the images": (False, ()),
    "overlays, off": (False, ("--disk-only",)),
    "overlays, running": (True, ("--disk-only",)),
    "overlays and memory": (True, ("--memspec", "{memory}")),
}


@pytest.mark.parametrize("kind", _BY_VIRSH)
def test_what_virsh_took_is_ours_to_revert_and_remove(vm: OneVm, kind: str) -> None:
    on, words = _BY_VIRSH[kind]
    # The default names of overlays are those of the images with another ending, and a raw image cannot hold a snapshot.
    vm.fresh(on, {"vda": "qcow2", "vdb": "qcow2"})
    contents = {}
    for name in ("a", "b", "c"):
        memory = f"/var/lib/libvirt/images/soak/{vm.name}.{name}.memory"
        done = vm.virsh("snapshot-create-as", name, *(word.format(memory=memory) for word in words))
        assert done["ok"], done
        contents[name] = vm.look()["present"]
        vm.write()
    seen = vm.look()
    inside = kind == "inside the images"
    if not inside:  # what is inside cannot be looked at
        assert seen["snapshots"] == contents
    assert not any(seen["info"].get(key) for key in ("failed", "problems", "missing_files", "unknown_overlays")), seen
    for name in ("b", "c", "a", "b"):
        result = vm.module(name, "reverted")
        assert not result.get("failed"), result
        seen = vm.look()
        assert seen["present"] == contents[name], (name, seen)
        assert seen["state"] == ("running" if on else "shut off"), seen
        vm.write()
    present = vm.look()["present"]
    for name in ("b", "a", "c"):
        result = vm.module(name, "absent")
        assert not result.get("failed"), result
        del contents[name]
        seen = vm.look()
        assert seen["present"] == present, (name, seen)
        assert inside or seen["snapshots"] == contents, (name, seen)
        assert not seen["orphans"], seen
        assert not seen["missing"], seen
    assert not vm.look()["snapshots"]
