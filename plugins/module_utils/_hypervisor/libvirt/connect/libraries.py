# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a managed host must have: two libraries, and qemu-img for most changes; what to say where one is missing."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
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

__all__ = ("etree", "libvirt", "missing", "parse", "require_libraries", "require_qemu_img")

# By ID or ID_LIKE of os-release: what installs, and the package of each library and of qemu-img.
_DISTRIBUTIONS = {
    "debian": (
        "apt-get install",
        {"libvirt": "python3-libvirt", "lxml": "python3-lxml", "qemu-img": "qemu-utils", "swtpm": "swtpm swtpm-tools"},
    ),
    "fedora": (
        "dnf install",
        {"libvirt": "python3-libvirt", "lxml": "python3-lxml", "qemu-img": "qemu-img", "swtpm": "swtpm swtpm-tools"},
    ),
    "rhel": (
        "dnf install",
        {"libvirt": "python3-libvirt", "lxml": "python3-lxml", "qemu-img": "qemu-img", "swtpm": "swtpm swtpm-tools"},
    ),
    "suse": (
        "zypper install",
        {"libvirt": "python3-libvirt-python", "lxml": "python3-lxml", "qemu-img": "qemu-tools", "swtpm": "swtpm"},
    ),
    "alpine": ("apk add", {"libvirt": "py3-libvirt", "lxml": "py3-lxml", "qemu-img": "qemu-img", "swtpm": "swtpm"}),
    "arch": (
        "pacman -S",
        {"libvirt": "libvirt-python", "lxml": "python-lxml", "qemu-img": "qemu-img", "swtpm": "swtpm"},
    ),
}


def parse(xml: str) -> Any:
    """Return the root element of libvirt's XML."""
    return etree.fromstring(xml.encode())


def missing() -> tuple[str, ...]:
    """Return the libraries that this Python cannot import."""
    return tuple(_MISSING)


def require_libraries() -> None:
    """Raise ``missing_library``, naming the packages of this host's distribution, unless both can be imported."""
    if _MISSING:
        raise KvmError(
            "missing_library",
            f"Python on this host ({sys.executable}) cannot import {' and '.join(_MISSING)}, and in the usual places there is "
            "no Python that can import libvirt and lxml.",
            f"{_install_hint(_os_release(), _MISSING)} Nothing was changed.",
            missing=list(_MISSING),
        )


def require_qemu_img(vm: str) -> None:
    """Raise ``missing_library``, naming its package, unless qemu-img can be run: asked before anything that needs it."""
    if shutil.which("qemu-img") is None:
        raise KvmError(
            "missing_library",
            f"{vm} needs the program qemu-img for this, and this host does not have it.",
            f"{_install_hint(_os_release(), ['qemu-img'])} Nothing was changed.",
            missing=["qemu-img"],
        )


def how_to_install(programs: Sequence[str]) -> str:
    """Return how programs are installed on this host, as a sentence."""
    return _install_hint(_os_release(), programs)


def _install_hint(os_release: str, missing: Sequence[str]) -> str:
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    names = f"{fields.get('ID', '')} {fields.get('ID_LIKE', '')}".replace('"', "").split()
    for name in names:
        for known, (command, packages) in _DISTRIBUTIONS.items():
            if known in name:
                return f"Install it with: {command} {' '.join(packages[one] for one in missing)}."
    return f"Install it from the distribution: {', '.join(missing)}."


def _os_release() -> str:
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""
