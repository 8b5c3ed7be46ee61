# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a file that somebody has open, or needs."""

from __future__ import annotations

import pytest

pytest.importorskip("lxml")

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt import in_use_refusals


def test_a_file_that_is_needed_tells_everybody_who_needs_it() -> None:
    assert "is needed by VM a and VM b." in in_use_refusals.needed("web01", "/vm/a", ["VM a", "VM b"]).message
    assert in_use_refusals.in_use("web01", "/vm/a", "by a backup", "Wait.").details == {"file": "/vm/a"}


def test_a_file_that_a_process_reads_names_the_other_way() -> None:
    error = in_use_refusals.read_by("web01", "/vm/a", 42, " Or keep it.")
    assert error.details == {"file": "/vm/a", "pid": 42}
    assert "end it. Or keep it. Then run the task again." in error.remedy


def test_who_is_no_process_here_is_looked_for_on_other_hosts() -> None:
    error = in_use_refusals.still_written("web01", "/vm/a b", None)
    assert "on another host" in error.message
    assert "fuser -v '/vm/a b'" in error.remedy
