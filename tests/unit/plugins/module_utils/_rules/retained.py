# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of known ages, and which of them a retention would remove."""

from __future__ import annotations

NOTHING = {
    "keep_last": None,
    "older_than": None,
    "names": None,
    "protect": [],
    "include_foreign": False,
    "orphans": False,
    "detached": False,
    "exclusive_dirs": [],
    "bandwidth": 0,
    "labels": None,
    "expired": False,
    "keep_hourly": None,
    "keep_daily": None,
    "keep_weekly": None,
    "keep_monthly": None,
    "keep_yearly": None,
    "timezone": None,
    "allow_keep_nothing": False,
}
