# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in a record's file is read as far as this release knows it, by the names that files have today."""

from __future__ import annotations

from dataclasses import asdict

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.record.json_values import fingerprint, known
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.image_changes import Fingerprint, Identity

NOTE = Fingerprint(Identity(4096, 17, 3, backing="/vm/base"), 2, states=("s1 x",))


def test_what_a_later_release_added_is_read_over() -> None:
    values = {**asdict(NOTE), "colour": "red", "identity": {**asdict(NOTE.identity), "smell": "none"}}
    assert fingerprint(values, str) == NOTE
    assert known(Identity, {"size": 1, "smell": "none"}) == {"size": 1}


def test_an_image_below_has_the_name_of_today() -> None:
    found = fingerprint(asdict(NOTE), lambda path: path.replace("/vm", "/srv"))
    assert found.identity.backing == "/srv/base"
