# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet of any size, as vm_snapshot_info would tell of it, with one of each trouble; and the page that is made of it."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.plugin_utils.fleet_report import as_text, document

TEMPLATES = Path(__file__).resolve().parents[2] / "playbooks/templates/report"
NOW = datetime(2026, 11, 26, 16, tzinfo=timezone.utc)
SCRIPT = "<script>pwned = 1</script>"
_NAMES = ("installed", "pre-patch", "patched", "pre-upgrade", "nightly", "fleet-20261123T130542Z")
_KINDS = ("web", "db", "mail", "ci", "files")
_IMAGES = "/var/lib/libvirt/images"


def fleet(hosts: int, vms: int, *, trouble: bool = True) -> dict[str, dict[str, Any]]:
    """Return by host what vm_snapshot_info would return; the same for the same numbers."""
    chance = random.Random(1)  # noqa: S311 - no secret
    found = {f"hv-{number:03}": _host(vms, chance) for number in range(1, hosts + 1)}
    if trouble:
        _trouble(found)
    return found


def write_page(path: Path, found: dict[str, dict[str, Any]]) -> Path:
    """Write the page as the playbook does."""
    page = TEMPLATES.joinpath("page.html.j2").read_text("utf-8")
    parts = {
        "{{ lookup('ansible.builtin.file', __report_parts ~ '/page.css') }}": TEMPLATES.joinpath("page.css").read_text(
            "utf-8"
        ),
        "{{ lookup('ansible.builtin.file', __report_parts ~ '/page.js') }}": TEMPLATES.joinpath("page.js").read_text(
            "utf-8"
        ),
        "{{ hostvars | limiquantix.kvm.fleet_report(ansible_play_hosts_all, 'snapshot_read') }}": as_text(
            document(found, NOW)
        ),
    }
    for expression, text in parts.items():
        assert page.count(expression) == 1, expression
        page = page.replace(expression, text)
    path.write_text(page, "utf-8")
    return path


def _host(vms: int, chance: random.Random) -> dict[str, Any]:
    there = [_vm(f"{_KINDS[number % 5]}{number // 5 + 1:02}", chance) for number in range(vms)]
    room = {
        "path": _IMAGES,
        "total": 1 << 41,
        "free": int((1 << 41) * chance.uniform(0.15, 0.9)),
        "vms": [vm["vm"] for vm in there],
        "written_by": [vm["vm"] for vm in there],
    }
    snapshots = sum(len(vm["snapshots"]) for vm in there)
    return {"vms": there, "missing": [], "filesystems": [room], "msg": f"{vms} VMs, {snapshots} snapshots"}


def _vm(name: str, chance: random.Random, parents: Optional[list[Optional[str]]] = None) -> dict[str, Any]:
    if parents is None:
        parents = []
        for number in range(chance.choice((0, 0, 1, 2, 3, 4, 6))):
            parents.append(
                _NAMES[number - 1 if chance.random() < 0.75 else chance.randrange(number)] if number else None
            )
    snapshots = [_snapshot(name, number, parent, chance) for number, parent in enumerate(parents)]
    for snapshot in snapshots:
        snapshot["current"] = snapshot is snapshots[-1]
    layers = [_layer(one["disks"][0]["file"], one["disks"][0]["size"], one["name"]) for one in reversed(snapshots)]
    layers.append(_layer(f"{_IMAGES}/{name}.qcow2", 1 << 34, None))
    chain = {
        "target": "vda",
        "depth": len(layers),
        "complete": True,
        "size": sum(layer["size"] for layer in layers),
        "layers": layers,
    }
    return {
        "vm": name, "uuid": f"{chance.getrandbits(128):032x}", "failed": False, "error_code": None, "details": {}, "msg": "ok",
        "look": "ok", "state": chance.choice(("running", "running", "shutoff")), "persistent": True, "guest_agent": True,
        "memory": {"can_be_saved": True, "blockers": [], "bytes": 1 << 30}, "operation": None, "snapshots": snapshots,
        "tree": _tree(snapshots, None, 0), "chains": [chain], "unknown_overlays": [], "orphans": [], "missing_files": [],
        "problems": [], "kept": [], "definition_changed": [], "notes": [],
    }  # fmt: skip


def _layer(file: str, size: int, snapshot: Optional[str]) -> dict[str, Any]:
    return {"file": file, "format": "qcow2", "size": size, "virtual_size": 1 << 36, "snapshot": snapshot}


def _snapshot(vm: str, number: int, parent: Optional[str], chance: random.Random) -> dict[str, Any]:
    name = _NAMES[number]
    disk = {
        "target": "vda", "file": f"{_IMAGES}/{vm}.vda.{name}.qcow2", "format": "qcow2",
        "size": chance.randrange(1 << 20, 1 << 33), "base": f"{_IMAGES}/{vm}.qcow2",
    }  # fmt: skip
    return {
        "name": name, "description": "Before the kernel of November" if name == "pre-patch" else "", "parent": parent,
        "created_at": (NOW - timedelta(hours=400 - 60 * number + chance.randrange(50))).isoformat(), "state": "running",
        "kind": "external", "include_memory": chance.random() < 0.2, "quiesced": True, "disks": [disk], "left_out": [],
        "memory_file": None, "missing_files": [], "owned": chance.random() < 0.8, "protected": chance.random() < 0.1,
        "labels": {"owner": "mara"} if chance.random() < 0.3 else {}, "past": "unchanged", "past_reasons": [],
    }  # fmt: skip


def _tree(snapshots: list[dict[str, Any]], parent: Optional[str], depth: int) -> list[dict[str, Any]]:
    nodes = []
    for one in (one for one in snapshots if one["parent"] == parent):
        children = [child["name"] for child in snapshots if child["parent"] == one["name"]]
        node = {key: one[key] for key in ("name", "current", "include_memory")}
        nodes += [{**node, "depth": depth, "children": children}, *_tree(snapshots, one["name"], depth + 1)]
    return nodes


def _trouble(found: dict[str, dict[str, Any]]) -> None:
    hosts = list(found.values())
    one, two, three = (host["vms"] for host in hosts[:3])
    operation = {
        "kind": "remove",
        "snapshot": "pre-patch",
        "started_at": "2026-11-26T15:31:00+00:00",
        "percent": 42,
        "seconds_left": 180,
    }
    one[0].update(
        look="act", problems=[f"disk vda: its backing chain cannot be read: {_IMAGES}/web01.qcow2 is missing"]
    )
    one[1].update(operation={**operation, "running": True, "interrupted": False})
    two[2].update(look="act", operation={**operation, "running": False, "interrupted": True})
    hosts[1]["filesystems"][0]["free"] = 1 << 35
    kept = {"file": "/srv/ci01.vdb.s1.qcow2", "reason": "it was vdb of ci01, which no longer has that disk"}
    back = "virsh attach-disk ci01 /srv/ci01.vdb.s1.qcow2 vdb --subdriver qcow2 --config"
    two[3].update(look="look", kept=[{**kept, "why": "detached", "bring_back": back}])
    three[4].update(look="look", orphans=["/srv/old.qcow2"], unknown_overlays=["/srv/old.qcow2"])
    three[0].update(vm=SCRIPT, look="look", notes=["a note with </script> & {{ 7 * 7 }} in it"])
    three[1].update({**_branches(), "uuid": three[1]["uuid"]})
    found["hv-silent"] = {"unreachable": True, "msg": "Failed to connect to the host via ssh: No route to host"}


def _branches() -> dict[str, Any]:
    """A VM whose snapshots branch off: what is older beside the line, what is newest straight down."""
    vm = _vm("branches", random.Random(2), [None, "installed", "pre-patch", "installed", "pre-upgrade"])  # noqa: S311
    new = dict(zip(_NAMES, ("root", "left", "leaf", "right", "now")))
    for one in (*vm["snapshots"], *vm["tree"]):
        one.update(name=new[one["name"]])
        one.update({key: new.get(one[key]) for key in ("parent",) if key in one})
        one.update({key: [new[name] for name in one[key]] for key in ("children",) if key in one})
    return vm
