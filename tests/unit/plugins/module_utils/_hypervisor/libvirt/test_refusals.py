# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libvirt's backend alone refuses names the file and who needs it."""

from __future__ import annotations

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt import refusals
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_users import User
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


def test_an_older_definition_names_both_images_and_a_way_back_to_each() -> None:
    error = refusals.definition_changed("web01", "vda", "/vm/old", "it's", "/vm/new")
    assert error.error_code == "definition_changed"
    assert error.details == {"disk": "vda", "image": "/vm/old", "snapshot": "it's", "overlay": "/vm/new"}
    assert "virsh edit web01" in error.remedy
    assert """virsh snapshot-delete web01 'it'"'"'s' --metadata""" in error.remedy


def test_nobody_is_sent_to_an_overlay_that_is_gone() -> None:
    error = refusals.definition_changed("web01", "vda", "/vm/old", "s1", "/vm/new", is_there=False)
    assert "was in /vm/new, which is gone" in error.message
    assert "back on /vm/new" not in error.remedy
    assert "virsh snapshot-delete web01 s1 --metadata" in error.remedy


def test_an_overlay_that_is_not_the_last_one_has_the_same_details() -> None:
    error = refusals.definition_older("web01", "vda", "/vm/a", "/vm/b")
    assert error.details == {"disk": "vda", "image": "/vm/a", "snapshot": None, "overlay": "/vm/b"}


def test_who_writes_to_a_frozen_image_is_named() -> None:
    error = refusals.frozen_image_written("web01", "/vm/a", "s", User("VM other", "u", True, True))
    assert "VM other is defined to write to it" in error.message
    assert error.details["user"] == "VM other"


def test_a_definition_that_libvirt_takes_no_more_has_libvirts_own_words() -> None:
    why = KvmError("libvirt_error", "libvirt failed.", libvirt_code=67, libvirt_message="TPM version is not supported")
    error = refusals.not_definable("web01", why)
    assert "TPM version is not supported." in error.message
    assert error.details == why.details
