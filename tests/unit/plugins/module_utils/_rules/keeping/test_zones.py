# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A time zone is found by its name, or refused: nothing is guessed."""

from __future__ import annotations

import zoneinfo
from datetime import timezone
from typing import Optional

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.zones import zone_of
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


def refused(name: Optional[str]) -> KvmError:
    with pytest.raises(KvmError) as caught:
        zone_of(name)
    assert "Nothing was changed." in caught.value.full_message
    return caught.value


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that has no tzdata, neither of the system nor of Python."""

    def nothing(key: str) -> None:
        raise zoneinfo.ZoneInfoNotFoundError(key)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", nothing)
    monkeypatch.setattr(zoneinfo, "available_timezones", set)


@pytest.mark.skipif(not zoneinfo.available_timezones(), reason="this machine has no time zones: install tzdata")
@pytest.mark.parametrize("name", ["Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"])
def test_a_name_of_the_database(name: str) -> None:
    assert str(zone_of(name)) == name


@pytest.mark.skipif(not zoneinfo.available_timezones(), reason="this machine has no time zones: install tzdata")
@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "Europe",
        "Europe/Berlim",
        "europe/berlin ",
        "CET-1CEST",
        "../../etc/passwd",
        "/etc/localtime",
        "a\x00b",
        "+01:00",
    ],
)
def test_what_is_no_name(name: str) -> None:
    assert refused(name).error_code == "bad_request"


def test_no_name_at_all() -> None:
    assert "controller is not known" in refused(None).message


@pytest.mark.usefixtures("bare")
def test_a_host_without_zones_says_what_to_install() -> None:
    error = refused("Europe/Berlin")
    assert (error.error_code, error.details) == ("missing_library", {"missing": ["tzdata"]})
    assert "apt-get install tzdata" in error.remedy
    for name in ("UTC", "Etc/UTC"):
        assert zone_of(name) is timezone.utc
