# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running README's examples and the guides' on the lab."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

from lab.paths import INVENTORY

from .guide_blocks import examples
from .playbook_run import VMS, Run, run

EXAMPLES = examples()

# Around a task that a guide shows alone.
PLAY = "- hosts: hypervisors\n  gather_facts: false\n  tasks:\n"


def run_example(name: str, folder: Path, inventory: Path = INVENTORY) -> Run:
    """Run it as a reader would, who has an inventory: a line of shell as it stands, a play from a file."""
    block = EXAMPLES[name]
    if block.language == "sh":
        done = run(["sh", "-c", block.text], inventory, folder)
    else:
        (folder / "play.yml").write_text(
            block.text if "hosts:" in block.text else PLAY + indent(block.text, "    "), "utf-8"
        )
        done = run(["ansible-playbook", "play.yml"], inventory, folder)
    assert done.status == 0, done.said()
    return done


def taken(done: Run) -> dict[str, set[str]]:
    """Return the VMs of the lab that got a snapshot, by host."""
    return {
        host: {vm["vm"] for vm in result["vms"] if vm["changed"] and vm["vm"] in VMS}
        for host, result in done.results.items()
    }
