# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files, USB devices and huge pages of a host that a start needs."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.starting import host_lacks
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.starting.host_lacks import (
    file_or_device,
    huge_pages,
    is_link,
    named_pages,
)


def test_files_and_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path / "1-1"
    device.mkdir()
    (device / "idVendor").write_text("1234\n")
    (device / "idProduct").write_text("beef\n")
    monkeypatch.setattr(host_lacks, "_USB", str(tmp_path))
    assert file_or_device(str(tmp_path)) == file_or_device("usb:1234:beef") == ""
    assert file_or_device("/no/such/file") == file_or_device("/dev/null/inner") == "is not there"
    assert file_or_device("usb:1234:0001") == "is not plugged in"
    assert is_link("lo")
    assert not is_link("no-such-link")


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(host_lacks, "_HUGE_PAGES", str(tmp_path))
    monkeypatch.setattr(host_lacks, "_MEMORY", str(tmp_path / "meminfo"))
    (tmp_path / "meminfo").write_text("Hugepagesize:    2048 kB\n")
    (tmp_path / "hugepages-2048kB").mkdir()
    return tmp_path / "hugepages-2048kB"


RUNNING = ElementTree.fromstring(  # noqa: S314 - ours
    "<domain><memory unit='MiB'>16</memory><memoryBacking><hugepages/></memoryBacking><devices/></domain>"
)


@pytest.mark.parametrize(
    ("numbers", "running", "fits"),
    [
        ((8, 8, 0, 0, 0), False, True),
        ((8, 7, 0, 0, 0), False, False),
        ((8, 8, 1, 0, 0), False, False),
        ((0, 0, 0, 0, 8), False, True),
        ((8, 0, 0, 0, 0), True, True),
        ((8, 0, 0, 8, 0), True, False),  # somebody has lowered the number since it was started
        ((16, 0, 0, 8, 0), True, False),  # and another VM has the rest
        ((16, 8, 0, 0, 0), True, True),
        ((8, 0, 0, 8, 8), True, True),
    ],
)
def test_memory_in_huge_pages_has_to_find_room(pool: Path, numbers: tuple[int, ...], running: bool, fits: bool) -> None:
    for name, number in zip(("nr", "free", "resv", "surplus", "nr_overcommit"), numbers):
        (pool / f"{name}_hugepages").write_text(f"{number}\n")
    for what in ("2048:16384", "0:16384"):
        assert (huge_pages(what, RUNNING if running else None) == "") is fits
        assert named_pages(what) == "8 huge pages of 2048 KiB"


def test_a_size_that_a_host_does_not_have(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pool
    assert "of a size" in huge_pages("1048576:1048576", None)
    monkeypatch.setattr(host_lacks, "_HUGE_PAGES", "/nowhere")
    assert huge_pages("1048576:1048576", None) == ""
