# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two libraries a managed host must have, and what to say where one is missing."""

from __future__ import annotations

import sys
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

_MISSING: list[str] = []
try:
    import libvirt
except ImportError:
    libvirt = None  # importing this collection must work without it, for the other backends and for this error
    _MISSING.append("libvirt")
try:
    from lxml import etree
except ImportError:
    etree = None
    _MISSING.append("lxml")

__all__ = ("etree", "libvirt", "parse", "require_libraries")

# By ID or ID_LIKE of os-release: what installs, and the package of each library.
_DISTRIBUTIONS = {
    "debian": ("apt-get install", {"libvirt": "python3-libvirt", "lxml": "python3-lxml"}),
    "fedora": ("dnf install", {"libvirt": "python3-libvirt", "lxml": "python3-lxml"}),
    "rhel": ("dnf install", {"libvirt": "python3-libvirt", "lxml": "python3-lxml"}),
    "suse": ("zypper install", {"libvirt": "python3-libvirt-python", "lxml": "python3-lxml"}),
    "alpine": ("apk add", {"libvirt": "py3-libvirt", "lxml": "py3-lxml"}),
    "arch": ("pacman -S", {"libvirt": "libvirt-python", "lxml": "python-lxml"}),
}


def parse(xml: str) -> Any:
    """Return the root element of libvirt's XML."""
    return etree.fromstring(xml.encode())


def require_libraries() -> None:
    """Raise ``missing_library``, naming the packages of this host's distribution, unless both can be imported."""
    if _MISSING:
        raise KvmError(
            "missing_library",
            f"Python on this host ({sys.executable}) cannot import {' and '.join(_MISSING)}.",
            f"{_install_hint(_os_release())} Nothing was changed.",
            missing=list(_MISSING),
        )


def _install_hint(os_release: str) -> str:
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    names = f"{fields.get('ID', '')} {fields.get('ID_LIKE', '')}".replace('"', "").split()
    for name in names:
        for known, (command, packages) in _DISTRIBUTIONS.items():
            if known in name:
                return f"Install it with: {command} {' '.join(packages[library] for library in _MISSING)}."
    return f"Install the distribution's Python bindings: {', '.join(_MISSING)}."


def _os_release() -> str:
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""
