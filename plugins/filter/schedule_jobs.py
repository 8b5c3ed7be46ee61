# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make of a policy what the role schedule writes down, or say by name what is wrong with it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: schedule_jobs
short_description: Turn a policy of snapshots into jobs
version_added: 0.1.0
description:
  - Turns the entries of a policy into jobs for the role P(limiquantix.kvm.schedule#role), which describes the keys of an entry.
  - Says everything that is wrong with the policy at once, each with the name of the entry and the key.
positional: known
options:
  _input:
    description: The policy, a list of entries.
    type: list
    elements: dict
    required: true
  known:
    description: The variables that each playbook knows, by the playbook's name, V(snapshot) or V(prune).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Look at the jobs of a policy
  ansible.builtin.debug:
    msg: "{{ policy | limiquantix.kvm.schedule_jobs({'snapshot': ['snapshot_vms'], 'prune': ['snapshot_keep_last']}) }}"
  vars:
    policy:
      - name: nightly
        inventory: /etc/ansible/hosts
        when: "02:30"
        snapshot: nightly-%Y%m%dT%H%MZ
        prune: {keep_last: 7}
"""

RETURN = r"""
_value:
  description: C(faults), a list of sentences, and C(jobs), one for each entry if there is no fault.
  type: dict
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable

from ansible_collections.limiquantix.kvm.plugins.filter.misspelled import misspelled

_KEYS = ("name", "inventory", "when", "jitter", "limit", "hosts", "vms", "snapshot", "prune", "vars")
_TEXTS = ("name", "when", "jitter", "limit", "hosts", "snapshot")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")  # part of a unit's name, of a file's and of a command
_TIME = re.compile(r"%[YmdHMSjV]")
_TIMES = re.compile(rf"(?:{_TIME.pattern})+")
_DAY = re.compile(r"%[dj]")
_TEMPLATE = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.+=-]|%[YmdHMSjV])*")
# What an entry has a key for, and what nobody may confirm in advance.
_OWN = ("snapshot_name", "snapshot_hosts", "snapshot_vms", "snapshot_confirm")


def schedule_jobs(policy: Any, known: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the jobs of a policy, or what is wrong with it."""
    faults = list(_faults(policy, known))
    return {"faults": faults, "jobs": [] if faults else [_job(entry, known) for entry in policy]}


def _faults(policy: Any, known: Mapping[str, Sequence[str]]) -> Iterator[str]:
    if not isinstance(policy, list) or not all(isinstance(entry, dict) for entry in policy):
        yield "The policy is not a list of entries, each with name, inventory, when, and snapshot or prune."
        return
    if not policy:
        yield "The policy has no entry, so every job would be removed. If that is meant, set schedule_state: absent."
    for number, entry in enumerate(policy, 1):
        where = f"Entry {entry['name']}" if isinstance(entry.get("name"), str) else f"Entry {number}"
        yield from (f"{where}: {fault}" for fault in _faults_of(entry, known))
    for name, times in Counter(str(entry.get("name")) for entry in policy).items():
        if times > 1:
            yield f"Entry {name}: {times} entries have this name."


def _faults_of(entry: dict[str, Any], known: Mapping[str, Sequence[str]]) -> Iterator[str]:
    yield from _unknown(entry, _KEYS, "")
    for key in ("name", "inventory", "when"):
        if not entry.get(key):
            yield f"{key} is missing."
    if not entry.get("snapshot") and "prune" not in entry:
        yield "it has neither snapshot nor prune, so there is nothing to do."
    for key in _TEXTS:
        if not isinstance(entry.get(key, ""), (str, type(None))):
            yield f"{key} must be a text."
    if isinstance(entry.get("name"), str) and not _NAME.fullmatch(entry["name"]):
        yield "name may have a-z, 0-9, - and _ only, must begin with a letter or digit, and has 64 characters at most."
    if any("\n" in str(entry.get(key)) for key in _TEXTS):
        yield "a line break is in one of its texts."
    for file in _list(entry.get("inventory")):
        if not str(file).startswith("/"):
            yield f"inventory {file} must be an absolute path on the controller of the schedule."
    yield from _faults_of_template(entry.get("snapshot"))
    yield from _faults_of_variables(entry, known)


def _faults_of_template(template: Any) -> Iterator[str]:
    if not isinstance(template, str):
        return
    if not _TEMPLATE.fullmatch(template) or len(template) > 64:
        yield (
            f"snapshot {template} may have letters, digits, _ . + = - and, of times, %Y %m %d %H %M %S %j %V only, must "
            "begin with a letter or digit, and has 64 characters at most."
        )
    elif not ("%H" in template and "%M" in template and _DAY.search(template)):
        yield (
            f"snapshot {template} must have the day, %H and %M in it, such as nightly-%Y%m%dT%H%MZ: a run by hand, or one that "
            "is made up, would find the name there and take nothing."
        )


def _faults_of_variables(entry: dict[str, Any], known: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for key in ("hosts", "vms", "prune", "vars"):
        if key in entry and entry[key] in (None, "", []):
            yield f"{key} is empty. Give it a value, or leave it out."
    for key in ("prune", "vars"):
        given = entry.get(key) or {}
        if not isinstance(given, dict):
            yield f"{key} must be a mapping."
        else:
            yield from (
                f"{key}.{name} is empty. Give it a value, or leave it out." for name in given if given[name] is None
            )
    rules, variables = entry.get("prune"), entry.get("vars")
    if isinstance(rules, dict):
        names = [name.removeprefix("snapshot_") for name in known["prune"] if name not in _OWN]
        yield from _unknown(rules, names, "prune.")
    if isinstance(variables, dict):
        every = {name for names in known.values() for name in names}.difference(_OWN)
        yield from _unknown(variables, every, "vars.")


def _unknown(given: Mapping[str, Any], known: Any, prefix: str) -> Iterator[str]:
    near = misspelled(given, known)
    for key in given:
        if key not in known:
            hint = f" Did you mean {prefix}{near[key]}?" if key in near else ""
            yield f"{prefix}{key} is not known.{hint}"


def _job(entry: dict[str, Any], known: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    common = {f"snapshot_{key}": entry[key] for key in ("hosts", "vms") if key in entry}
    variables = {**entry.get("vars", {}), **common}
    steps = []
    if entry.get("snapshot"):
        steps.append({"playbook": "snapshot", "name": entry["snapshot"], "vars": _of("snapshot", variables, known)})
    if "prune" in entry:
        rules = {f"snapshot_{key}": value for key, value in entry["prune"].items()}
        # Without other names: what this entry has taken, and nothing else.
        names = {"snapshot_names": _TIMES.sub(_digits, entry["snapshot"])} if entry.get("snapshot") else {}
        steps.append({"playbook": "prune", "vars": {**names, **_of("prune", variables, known), **rules}})
    return {
        "name": entry["name"],
        "when": entry["when"],
        "jitter": entry.get("jitter"),
        "inventory": [str(file) for file in _list(entry["inventory"])],
        "limit": entry.get("limit"),
        "steps": steps,
    }


def _digits(time: re.Match[str]) -> str:
    """Return the glob of what times become: nightly-* would be nightly-db-20261126 too, which another entry has taken."""
    return "".join("[0-9]" * {"Y": 4, "j": 3}.get(directive, 2) for directive in time[0].replace("%", ""))


def _of(playbook: str, variables: Mapping[str, Any], known: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {name: value for name, value in variables.items() if name in known[playbook]}


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file."""
        return {"schedule_jobs": schedule_jobs}
