# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A state file that is no state file is refused with what is wrong in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


@pytest.mark.parametrize(
    ("text", "error_code", "says"),
    [
        ("", "bad_request", "not valid JSON"),
        ("[]", "bad_request", "the file is not an object"),
        ("{}", "bad_request", "the file has no 'vms'"),
        ('{"vms": [{}]}', "bad_request", "vms[0] has no 'name'"),
        ('{"vms": [{"name": "a"}]}', "bad_request", "has no 'disks'"),
        ('{"vms": [{"name": "a", "disks": [{}]}]}', "bad_request", "disks has no 'target'"),
        ('{"vms": [{"name": "a", "disks": [], "agnet": "x"}]}', "bad_request", "unknown key 'agnet'"),
        ('{"vms": [{"name": "a", "disks": [], "agent": "x"}]}', "bad_request", "agent is 'x'"),
        ('{"vms": [{"name": "a", "disks": [], "tpm": 1}]}', "bad_request", "tpm has a value of the wrong type"),
        ('{"vms": [{"name": "a", "disks": [], "memory_mib": true}]}', "bad_request", "wrong type"),
        (
            '{"vms": [{"name": "a", "disks": []}, {"name": "a", "disks": []}]}',
            "bad_request",
            "two VMs have the name 'a'",
        ),
        ('{"vms": [{"name": "a", "disks": [], "current": "s"}]}', "bad_request", "no snapshot 's'"),
        ('{"vms": [], "files": {"/a": {}}}', "bad_request", "has no 'format'"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str, error_code: str, says: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(KvmError) as caught:
        MockHypervisor(str(path))
    assert caught.value.error_code == error_code
    assert says in caught.value.message
    assert str(path) in caught.value.message
