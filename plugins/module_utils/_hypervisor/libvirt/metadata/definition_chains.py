# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chains that a VM's definition tells: libvirt believes them at the next start."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.real_paths import real_path
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.devices import source_path


def without_layers(domain: Any, *merged: str) -> bool:
    """Take layers that were merged, or are gone, out of the chains in a VM's definition; return whether there were any."""
    stale = [one for one in domain.iter("backingStore") if _is_gone(one, merged)]
    for layer in stale:
        below = layer.find("backingStore")
        if below is None:
            layer.getparent().remove(layer)
        else:
            layer.getparent().replace(layer, below)
    return bool(stale)


def gone_layers(domain: Any) -> list[str]:
    """Return the files that the chains in a VM's definition name and that are not there."""
    return [str(source_path(one)) for one in domain.iter("backingStore") if _is_gone(one)]


def _is_gone(layer: Any, merged: Collection[str] = ()) -> bool:
    path = source_path(layer)
    return path is not None and (real_path(path) in merged or not os.path.lexists(path))
