# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The libraries of the libvirt backend come with the distribution's Python, and Ansible may have chosen another one."""

from __future__ import annotations

import glob
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Optional

_USUAL = ("/usr/bin/python3", "/usr/libexec/platform-python", "/usr/bin/python3.*[0-9]", "/usr/local/bin/python3")
_LOOK = "import sys, libvirt, lxml.etree; sys.exit(sys.version_info < (3, 9))"
_SECONDS = 20


def go_where_libraries_are(params: Mapping[str, Any]) -> None:
    """Run the module again under a Python of this host that has what the backend needs, and end; return where none has.

    The module goes on then, and says what is missing.
    """
    from ansible.module_utils.common.respawn import has_respawned, respawn_module  # as in open.py

    if params["backend"] != "libvirt" or has_respawned():
        return
    from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import missing

    other = another_python() if missing() else None
    if other:
        respawn_module(other)


def another_python() -> Optional[str]:
    """Return a Python of this host that can import both libraries; None where there is none but this one."""
    found = (path for pattern in _USUAL for path in sorted(glob.glob(pattern), reverse=True))
    return next((path for path in dict.fromkeys(found) if path != sys.executable and _has_libraries(path)), None)


def _has_libraries(python: str) -> bool:
    try:
        # There is no AnsibleModule below main(), and so none of its run_command.
        # pylint: disable-next=ansible-bad-function
        done = subprocess.run([python, "-c", _LOOK], check=False, capture_output=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
