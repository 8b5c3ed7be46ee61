# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The house has floors, and a file imports from its own or a lower one only (CONTRIBUTING.md draws them)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[4] / "plugins"
PACKAGE = "ansible_collections.limiquantix.kvm.plugins."
# Lowest first. A name is a file or a folder; what stands in one group does not import from each other.
FLOORS = (
    ("module_utils/_values",),
    ("module_utils/_rules",),
    ("module_utils/_hypervisor/meeting",),
    ("module_utils/_hypervisor/contract", "module_utils/_hypervisor/record"),
    ("module_utils/_hypervisor/libvirt/connect", "module_utils/_hypervisor/libvirt/flush"),
    ("module_utils/_hypervisor/libvirt/host",),
    ("module_utils/_hypervisor/libvirt/firmware",),
    ("module_utils/_hypervisor/libvirt/metadata",),
    ("module_utils/_hypervisor/libvirt/disks", "module_utils/_hypervisor/libvirt/guest"),
    ("module_utils/_hypervisor/libvirt/refusals", "module_utils/_hypervisor/libvirt/in_use_refusals"),
    ("module_utils/_hypervisor/libvirt/file_deletion", "module_utils/_hypervisor/libvirt/read_only_files"),
    ("module_utils/_hypervisor/libvirt/vm_handle",),
    ("module_utils/_hypervisor/libvirt/merge",),
    (
        "module_utils/_hypervisor/libvirt/inspection",
        "module_utils/_hypervisor/libvirt/chain_checks",
        "module_utils/_hypervisor/libvirt/running_jobs",
        "module_utils/_hypervisor/libvirt/files_in_use",
        "module_utils/_hypervisor/libvirt/starting",
    ),
    ("module_utils/_hypervisor/libvirt/storage_findings",),
    ("module_utils/_hypervisor/libvirt/operations",),
    (
        "module_utils/_hypervisor/libvirt/hypervisor",
        "module_utils/_hypervisor/mock",
        "module_utils/_hypervisor/qx_node",
    ),
    ("module_utils/_hypervisor/open", "module_utils/_hypervisor/other_python"),
    ("module_utils/_task", "module_utils/_node_agent"),
    ("plugin_utils",),
    ("modules", "doc_fragments", "filter", "action"),
)
FILES = sorted(path for path in PLUGINS.rglob("*.py") if path.name != "__init__.py")
MODULE_IN_TEXT = re.compile(r"from (" + re.escape(PACKAGE) + r"[\w.]+) import (\w+)")


def name_of(path: Path) -> str:
    return path.relative_to(PLUGINS).with_suffix("").as_posix()


def place(name: str) -> tuple[int, str]:
    """Return the floor of a file, and which room of it."""
    for number, rooms in enumerate(FLOORS):
        for room in rooms:
            if name == room or name.startswith(room + "/"):
                return number, room
    raise AssertionError(f"{name} is on no floor: add it to the tree in CONTRIBUTING.md and here")


def imported(path: Path) -> Iterator[str]:
    """Yield the files of this collection that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            target = PLUGINS / str(node.module)[len(PACKAGE) :].replace(".", "/")
            for alias in node.names:
                yield name_of(target / alias.name if target.is_dir() else target)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_down_only(path: Path) -> None:
    floor, room = place(name_of(path))
    for name in imported(path):
        lower, other = place(name)
        assert lower < floor or other == room, f"{name_of(path)} imports {name}, which is not below it"


def test_no_file_imports_itself_by_way_of_others() -> None:
    below = {name_of(path): set(imported(path)) for path in FILES}
    while below:
        free = [name for name, names in below.items() if not names & below.keys()]
        assert free, f"these import each other: {sorted(below)}"
        for name in free:
            del below[name]


def test_no_file_is_beside_the_floors() -> None:
    for path in FILES:
        place(name_of(path))


def test_a_module_that_is_named_in_a_text_is_there() -> None:
    """The thaw guard is started as `python -c "from … import main"`: no tool sees that such a path has moved."""
    found = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found += MODULE_IN_TEXT.findall(node.value)
    assert found
    for module, name in found:
        source = PLUGINS / (module[len(PACKAGE) :].replace(".", "/") + ".py")
        assert name in [getattr(node, "name", "") for node in ast.parse(source.read_text("utf-8")).body]
