# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a hypervisor: what people do to images by hand, with qemu-img and cp."""

from __future__ import annotations

import os
from typing import Any

from here import APART, REGION, ROOT, command


def overlay(path: str, base: str, base_format: str) -> dict[str, Any]:
    """Make an overlay, as for a clone."""
    command("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", base_format, path)
    return {}


def write_image(path: str, image_format: str, region: int, pattern: int) -> dict[str, Any]:
    """Write to an image by hand; ``said`` is "" where that was possible."""
    where = f"write -P {pattern} {region * APART} {REGION}"
    said = command("qemu-io", "-f", image_format, "-c", where, path, check=False)
    return {"said": "" if "wrote " in said else said or "failed"}


def by_hand(words: list[str]) -> dict[str, Any]:
    """Run qemu-img."""
    command("qemu-img", *words)
    return {}


def restored(path: str) -> dict[str, Any]:
    """Put an equal copy into the place of an image, as a restore from a backup does: another inode, all else the same."""
    command("cp", "-p", path, f"{path}.restored")
    os.rename(f"{path}.restored", path)
    return {}


def moved(vm: str, folder: str) -> dict[str, Any]:
    """Move a VM's folder elsewhere and leave a link in its place."""
    os.rename(f"{ROOT}/{vm}", folder)
    os.symlink(folder, f"{ROOT}/{vm}")
    return {}


def copied(folder: str, layers: dict[str, list[list[str]]]) -> dict[str, Any]:
    """Copy disks' chains (active layer first) to another folder, each on its copied base; return the new files."""
    os.makedirs(folder, exist_ok=True)
    done: dict[str, list[str]] = {}
    for target, images in layers.items():
        below: list[str] = []
        for path, image_format in reversed(images):
            copy = f"{folder}/{os.path.basename(path)}"
            command("cp", "-a", path, copy)
            if below:
                command("qemu-img", "rebase", "-u", "-f", image_format, "-b", below[0], "-F", below[1], copy)
            below = [copy, image_format]
        done[target] = below
    return {"disks": done}
