# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where `dev/table/run` starts: makes this folder importable as the package `table` and hands over to cli.py.

What it tries the operations on is the soak's.
"""

from __future__ import annotations

import sys
from pathlib import Path

DEV = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(DEV), str(DEV.parent / "tests")]

from table.cli import main  # noqa: E402  (the paths must be set first)

sys.exit(main())
