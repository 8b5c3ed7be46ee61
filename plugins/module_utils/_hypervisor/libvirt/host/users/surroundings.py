# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM is beside on its host: one question for all that may need a file."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.file_users import Users
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.host_overlays import HostFiles
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.users.saved_memory import (
    SavedMemory,
)


@dataclass(frozen=True)
class Surroundings:
    """What is there beside a VM: ``files`` of its host, who ``users`` are of them; ``owner`` is the VM's UUID."""

    files: HostFiles
    users: Users
    owner: str

    def why_unknown(self, file: str) -> Optional[str]:
        """Return why nobody can tell who needs a file; None where it can be told."""
        return self.users.why_unknown(file) or self.files.why_unknown(file)

    def memories(self, file: str, named: Collection[str]) -> list[SavedMemory]:
        """Return the memory that somebody has saved to files and that goes with an image: not that of a managed save or of a
        snapshot, of which the VM's own are ``named``.
        """
        real = set(map(real_path, named))
        return [one for one in self.files.memories(file) if one.file not in real and not self.users.of(one.file)]
