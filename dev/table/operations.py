# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operations of the table, and trying one on a hypervisor: by virsh as it comes, or by our module."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from soak.one_vm import TWO_DISKS, OneVm

VIRSH, OURS = "virsh", "vm_snapshot"
ONE_DISK = {"vda": "qcow2"}
_STATES = {"take": "present", "revert": "reverted", "remove": "absent"}
_MEMORY = "/var/lib/libvirt/images/soak/{vm}.{name}.memory"


@dataclass(frozen=True)
class Operation:
    """``steps`` lead up to the last of them, which is the one that counts."""

    what: str
    steps: str
    on: bool = False
    two_disks: bool = False
    all_count: bool = False


@dataclass(frozen=True)
class Seen:
    """What became of an operation: yes, no or partly, and why."""

    word: str
    reason: str = ""


OPERATIONS = (
    Operation("take of a running VM", "take a", on=True),
    Operation("take of a VM that is off", "take a"),
    Operation("take with memory", "take-with-memory a", on=True),
    Operation("revert to the newest, VM off", "take a, revert a"),
    Operation("revert to the newest, taken running", "take a, revert a", on=True),
    Operation("revert to one with children", "take a, take b, revert a"),
    Operation("revert to one with children, taken running", "take a, take b, revert a", on=True),
    Operation("revert to another branch", "take a, take b, revert a, take c, revert b"),
    Operation("revert to one with memory", "take-with-memory a, revert a", on=True),
    Operation("revert to an internal one", "take-inside a, revert a"),
    Operation("remove the newest, running", "take a, take b, remove b", on=True),
    Operation("remove the newest, off", "take a, take b, remove b"),
    Operation("remove from the middle, running", "take a, take b, take c, remove b", on=True),
    Operation("remove from the middle, off", "take a, take b, take c, remove b"),
    Operation("remove the oldest, running", "take a, take b, remove a", on=True),
    Operation("remove the oldest, off", "take a, take b, remove a"),
    Operation("remove one that was reverted to", "take a, take b, revert a, remove a"),
    Operation("remove from a branch aside", "take a, take b, take c, revert a, remove b"),
    Operation("remove one that two branches are based on", "take a, take b, revert a, take c, remove a"),
    Operation("remove with all children", "take a, take b, take c, remove-children a"),
    Operation("remove an internal one", "take-inside a, take-inside b, remove a"),
    Operation("two disks: take, revert, remove", "take a, take b, revert a, remove b", two_disks=True, all_count=True),
)


def tried(vm: OneVm, operation: Operation, tool: str) -> Seen:
    """Do it, and judge by what the VM and its snapshots hold then."""
    vm.fresh(operation.on, TWO_DISKS if operation.two_disks else ONE_DISK)
    steps = [tuple(step.split()) for step in operation.steps.split(", ")]
    held: dict[str, Any] = {}
    for number, (word, name) in enumerate(steps, 1):
        before = vm.look()
        done = _do(vm, tool, word, name, operation.on)
        if number == len(steps) or operation.all_count:
            found = _judged(vm, before, held, (word, name), done)
            if found.word != "yes" or number == len(steps):
                return found
        elif not done["ok"]:
            # What leads up to it is not what counts.
            done = _do(vm, OURS, word, name, operation.on)
            assert done["ok"], (operation, word, name, done)
        if word.startswith("take"):
            held[name] = before["present"]
        vm.write()
    raise AssertionError("an operation without steps")


def _do(vm: OneVm, tool: str, word: str, name: str, on: bool) -> dict[str, Any]:
    if tool == VIRSH or word == "take-inside":
        return vm.virsh(*_native(vm, word, name, on))
    word, _dash, how = word.partition("-")
    options = {"with-memory": {"include_memory": True}, "children": {"children": True}}.get(how, {})
    result = vm.module(name, _STATES[word], **options)
    return {"ok": not result.get("failed"), "said": str(result["msg"]), "crashed": False}


def _native(vm: OneVm, word: str, name: str, on: bool) -> list[str]:
    memory = _MEMORY.format(vm=vm.name, name=name)
    return {
        "take": ["snapshot-create-as", name, "--disk-only", "--atomic"],
        "take-with-memory": ["snapshot-create-as", name, "--memspec", memory],
        "take-inside": ["snapshot-create-as", name],
        # Told so, since by itself it leaves a VM off whose memory was not saved.
        "revert": ["snapshot-revert", name, *(["--running"] if on else [])],
        "remove": ["snapshot-delete", name],
        "remove-children": ["snapshot-delete", name, "--children"],
    }[word]


def _judged(
    vm: OneVm, before: dict[str, Any], held: dict[str, Any], step: tuple[str, ...], done: dict[str, Any]
) -> Seen:
    word, name = step
    after = vm.look()
    present = held[name] if word == "revert" and done["ok"] else before["present"]
    # What is inside an image cannot be looked at: then its snapshots seem to hold what the present does.
    same = [after["snapshots"][one] == content for one, content in held.items() if one in after["snapshots"]]
    inside = before["snapshots"].get("a") == before["present"]
    if done["crashed"]:
        return Seen("no", "libvirtd crashes")
    if after["present"] != present or not (inside or all(same)):
        return Seen("no", "data is lost")
    if not done["ok"]:
        return Seen("no", _reason(done["said"]))
    left = [one for one in after["snapshots"] if word == "remove" and one == name]
    left += list(after["snapshots"]) if word == "remove-children" else []
    if left:
        return Seen("no", "it is still there")
    if after["state"] != before["state"]:
        return Seen("partly", f"the VM is {after['state']} afterwards")
    if after["orphans"] and not before["orphans"]:
        return Seen("partly", "leaves a file behind")
    return Seen("yes")


def _reason(said: str) -> str:
    """Return the last thing that was said, without names that are this VM's own."""
    lines = [line for line in said.splitlines() if line.strip()]
    text = lines[-1] if lines else "it says nothing"
    text = re.sub(
        r"^error: |unsupported configuration: |Operation not supported: |internal error: |invalid argument: ", "", text
    )
    text = re.sub(r"/\S*/", "…/", text)
    return text.replace("'soak-table'", "VM").strip()
