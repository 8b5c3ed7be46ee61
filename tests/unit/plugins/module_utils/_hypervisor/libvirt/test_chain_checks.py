# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold of a VM before its snapshots are changed, as far as no file tells it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt import chain_checks
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.chain_checks import (
    refuse_spoiling,
    refuse_unresolved,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import Disk
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


def disk(source: Any = "/vm/a", **values: Any) -> Disk:
    return Disk("vda", "disk", "file", source, "qcow2", False, False, False, True, None, **values)


def saved(*vm_disks: Disk, elsewhere: tuple[Disk, ...] = ()) -> Any:
    return SimpleNamespace(name="s", vm_disks=vm_disks, elsewhere=elsewhere)


def test_a_volume_that_no_pool_tells_of_is_refused_with_the_pools_word() -> None:
    refuse_unresolved("web01", [saved(), saved(elsewhere=(disk(None),))])
    lost = disk(None, unresolved="the pool p is not active")
    with pytest.raises(KvmError, match="the pool p is not active") as refused:
        refuse_unresolved("web01", [saved(elsewhere=(lost,))])
    assert (refused.value.error_code, refused.value.details) == ("volume_not_found", {"disk": "vda"})


def test_an_image_that_is_read_in_part_is_never_merged() -> None:
    refuse_spoiling("web01", {}, [saved(disk())], ["/vm/a"])
    refuse_spoiling("web01", {}, [saved(disk(unusual=("slice",)))], ["/vm/other"])
    image: Any = SimpleNamespace(peculiar=chain_checks.ENCRYPTED)
    with pytest.raises(KvmError) as refused:
        refuse_spoiling("web01", {"/vm/a": image}, [saved(disk())], ["/vm/a"])
    assert (refused.value.error_code, refused.value.details["file"]) == ("disk_not_covered", "/vm/a")


def test_each_layer_knows_the_first_state_it_is_of_and_what_lies_on_it() -> None:
    found = chain_checks._layers({"/two": ["/two", "/one", "/base"], "/one": ["/one", "/base"]})
    assert found == {
        "/two": ("/two", set()),
        "/one": ("/one", {"/two"}),
        "/base": ("/two", {"/one"}),
    }
