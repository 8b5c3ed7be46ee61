# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan goes by what libvirt's own inspection has read, and by no other backend's."""

from __future__ import annotations

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.inspection import (
    Inspected,
    of_libvirt,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VmId
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import vm


def test_a_vm_that_another_backend_has_inspected_is_refused() -> None:
    with pytest.raises(TypeError):
        of_libvirt(vm())


def test_what_was_read_here_comes_back_as_it_is() -> None:
    inspected = Inspected(VmId("web01", "uuid"), "running", xml="<domain/>", seen={})
    assert of_libvirt(inspected) is inspected
