# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps what Ansible packs up of a module from one run to the next.

Ansible packs a module's code, with all that it imports, anew in each run: for vm_snapshot that is most of what a small run costs
the controller. The tests run the same modules thousands of times.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from ansible import constants
from ansible.plugins.callback import CallbackBase
from ansible.release import __version__
from ansible.utils.collection_loader._collection_finder import _get_collection_path

DOCUMENTATION = """
name: keep_payloads
type: aggregate
short_description: packs a module up once, for the system tests
description:
  - Used by the system tests only, see C(tests/system/ansible_run.py).
"""

_KEPT = Path(__file__).resolve().parents[3] / ".cache" / "payloads"


class CallbackModule(CallbackBase):
    """Works by being loaded: that is before the first module is packed up."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "keep_payloads"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        here = Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache")  # where ansible-core 2.17 to 2.21 look for it
        if here.exists():  # made by another run of a process that has Ansible loaded
            return
        kept = _KEPT / _code()
        kept.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # by such a run, meanwhile
            here.symlink_to(kept)


def _code() -> str:
    """Return what the payloads are made of, as a name: ansible-core, and the collection that this run finds."""
    digest = hashlib.sha256(__version__.encode())
    plugins = Path(_get_collection_path("limiquantix.kvm"), "plugins")
    for path in sorted(plugins.rglob("*.py")):
        digest.update(b"%s\0%s\0" % (str(path).encode(), path.read_bytes()))
    return digest.hexdigest()
