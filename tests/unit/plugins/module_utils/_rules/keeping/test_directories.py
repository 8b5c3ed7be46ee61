# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories that a task says are this host's alone: never more of them than it says."""

from __future__ import annotations

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.keeping.directories import (
    exclusive_directories,
    lies_in,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.retention import retention
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils._rules.retained import NOTHING


@pytest.mark.parametrize("entry", ["", " ", ".", "./", "..", "srv/vms", " /srv", "None", "/", "//", "/./", "/.."])
def test_an_entry_that_could_be_any_place_is_refused_by_name(entry: str) -> None:
    with pytest.raises(KvmError) as caught:
        retention({**NOTHING, "exclusive_dirs": ["/srv/vms", entry]})
    assert caught.value.error_code == "bad_request"
    assert f"exclusive_dirs has the entry {entry!r}" in caught.value.message
    assert "Nothing was changed." in caught.value.remedy


def test_a_way_back_up_is_refused_because_a_link_may_lead_elsewhere() -> None:
    with pytest.raises(KvmError, match="no absolute path"):
        exclusive_directories(["/srv/link/../vms"])


@pytest.mark.parametrize(
    ("directory", "file", "inside"),
    [
        ("/srv/a", "/srv/a/web.qcow2", True),
        ("/srv/a", "/srv/a/b/web.qcow2", True),
        ("/srv/a/", "/srv/a/web.qcow2", True),
        ("//srv/./a//", "/srv/a/web.qcow2", True),
        ("/srv/a", "/srv/ab/web.qcow2", False),
        ("/srv/a", "/srv/a.qcow2", False),
        ("/srv/a/b", "/srv/a/web.qcow2", False),
    ],
)
def test_what_lies_in_a_directory_lies_below_it_by_whole_names(directory: str, file: str, inside: bool) -> None:
    assert lies_in(file, exclusive_directories([directory])) is inside
