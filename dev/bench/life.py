# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rest of a snapshot's life: removing and reverting beside the bare commands, and what many snapshots cost."""

from __future__ import annotations

from .remote import Remote
from .rounds import Samples

FEW, MANY = 10, 100  # snapshots
# What is measured how, with how many MiB in the overlay.
_VARIANTS = {
    "removal_running": (("module", "virsh"), (2048,)),
    "removal_off": (("module", "bare"), (1024, 0)),
    "revert_off": (("module", "bare"), (1024, 0)),
}


def life_rounds(remote: Remote, rounds: int, samples: Samples) -> None:
    """Each variant once a round, on a VM made for it; which comes first changes from round to round."""
    try:
        for number in range(rounds):
            print(f"removing and reverting {number + 1} of {rounds}, seconds", flush=True)
            for work, (hows, sizes) in _VARIANTS.items():
                for mib in sizes:
                    for how in hows if number % 2 == 0 else reversed(hows):
                        answer = remote.ask("life", work, how, str(mib))
                        samples.add(f"{work} {how} {mib}", float(answer["seconds"]))
        for count in (FEW, MANY):
            print(f"a tree of {count} snapshots, seconds", flush=True)
            for work, values in remote.ask("life", "tree", str(count), str(rounds)).items():
                for value in values:
                    samples.add(f"tree {work} {count}", value)
    finally:
        remote.ask("life", "clear")
