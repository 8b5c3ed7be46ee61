# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On a host without the libraries the module must be able to say so, and the mock to work."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import IMPORT_PATH

PREFIX = "ansible_collections.limiquantix.kvm.plugins.module_utils"
WITHOUT = f"""
import sys
sys.path[:0] = {IMPORT_PATH!r}
sys.modules.update({{name: None for name in sys.argv[1].split(',')}})
from {PREFIX}._hypervisor.open import open_hypervisor
from {PREFIX}._values.errors import KvmError
params = dict(backend=sys.argv[2], mock_path='/nowhere', uri='qemu:///system', parallel=1, timeout=1)
try:
    open_hypervisor(params)
except KvmError as error:
    print(error.error_code, error.details.get('missing'))
"""


@pytest.mark.parametrize(
    ("libraries", "backend", "says"),
    [
        ("libvirt,lxml", "libvirt", "missing_library ['libvirt', 'lxml']"),
        ("libvirt,lxml", "mock", "connection_failed None"),
    ],
)
def test_a_missing_library_is_told_by_the_backend_that_needs_it(libraries: str, backend: str, says: str) -> None:
    command = [sys.executable, "-c", WITHOUT, libraries, backend]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout.strip() == says, done.stderr
