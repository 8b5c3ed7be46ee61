# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The time zone that days and weeks are counted in, as the host knows it."""

from __future__ import annotations

from datetime import timezone, tzinfo
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

_UTC = ("UTC", "Etc/UTC")


def zone_of(name: Optional[str]) -> tzinfo:
    """Return a zone by its name in the IANA database. Raises ``bad_request``, or ``missing_library`` where the host has no zones.

    Nothing is guessed: in another zone a day ends at another time, and other snapshots would go.
    """
    if name is None:
        message = "The time zone of the controller is not known, and keep_hourly, keep_daily and the like need one."
        raise _bad(message, "Give it: timezone: Europe/Berlin, or timezone: UTC.")
    if name in _UTC:
        return timezone.utc  # needs no zones on the host
    import zoneinfo  # where it is needed only

    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # not there; no name of a zone; a directory
        if zoneinfo.available_timezones():
            message = f"timezone is {name!r}, which is not a time zone that this host knows."
            raise _bad(message, "Give a name of the IANA database, such as Europe/Berlin or UTC.") from error
        raise KvmError(
            "missing_library",
            f"This host has no time zones, so nobody can tell when a day ends in {name!r}.",
            "Nothing was changed. Install them on the host (Debian: apt-get install tzdata), or give timezone: UTC.",
            missing=["tzdata"],
        ) from error


def _bad(message: str, remedy: str) -> KvmError:
    return KvmError("bad_request", message, f"Nothing was changed. {remedy}")
