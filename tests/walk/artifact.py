# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The artifact of this checkout, built apart from `make dist`, which other gates may be at."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def build_artifact(folder: Path) -> Path:
    tree = subprocess.run([ROOT / "dev/gates/tree", folder.name], check=True, stdout=subprocess.PIPE, text=True)
    subprocess.run(
        [
            Path(sys.executable).with_name("ansible-galaxy"),
            "collection",
            "build",
            tree.stdout.strip(),
            "--output-path",
            folder,
        ],
        check=True,
        capture_output=True,
        env={key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
    )
    (artifact,) = folder.glob("limiquantix-kvm-*.tar.gz")
    return artifact
