# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was written, by whomever, is to outlive a power cut of the host."""

from __future__ import annotations

import os


def flush(*paths: str) -> None:
    """Have files, or the names in directories, on their disk when this returns. Raises `OSError`."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
