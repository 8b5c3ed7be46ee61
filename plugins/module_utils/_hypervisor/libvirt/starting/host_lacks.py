# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host does not have that a VM needs at a start: files, network devices, USB devices, huge pages.

What cannot be told is no obstacle.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.needed import PAGES
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.domain_xml.start_needs import needs

_USB = "/sys/bus/usb/devices"
_HUGE_PAGES = "/sys/kernel/mm/hugepages"
_MEMORY = "/proc/meminfo"
_DEFAULT = re.compile(r"^Hugepagesize:\s+(\d+) kB", re.MULTILINE)


def file_or_device(what: str) -> str:
    """Return what is wrong with a file, a folder or a device; a USB device may be given by its ids."""
    if what.startswith("usb:"):
        return "" if what[len("usb:") :] in set(_usb_ids()) else "is not plugged in"
    try:
        os.stat(what)
    except (FileNotFoundError, NotADirectoryError):
        return "is not there"
    except OSError:
        return ""  # not ours to look at, and perhaps QEMU's
    return ""


def is_link(name: str) -> bool:
    """Whether the host has a network device."""
    # Not by /sys/class/net: in a container that may show another network's.
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def _usb_ids() -> Iterator[str]:
    for name in os.listdir(_USB) if os.path.isdir(_USB) else ():
        with suppress(OSError):
            ids = []
            for part in ("idVendor", "idProduct"):
                with open(os.path.join(_USB, name, part), encoding="ascii") as file:
                    ids.append(file.read().strip())
            yield ":".join(ids)


def huge_pages(what: str, running: Any) -> str:
    """Return why a VM's memory finds no room in huge pages: ``running`` is how it runs, None where it is off.

    It gives back those that it has. Those that the kernel has above its number (since somebody lowered that) are gone then.
    """
    size, wanted = _pages(what)
    try:
        there = {
            name: _number(f"{_HUGE_PAGES}/hugepages-{size}kB/{name}_hugepages")
            for name in ("nr", "free", "resv", "surplus", "nr_overcommit")
        }
    except FileNotFoundError:
        return "are of a size that this host does not have" if os.path.isdir(_HUGE_PAGES) and size else ""
    except (OSError, ValueError):
        return ""
    own = _own(size, running)
    others = there["nr"] - there["free"] - own
    room = there["nr"] - there["surplus"] + there["nr_overcommit"] - others - there["resv"]
    return f"are more than the {max(room, 0)} that this host will have for it" if room < wanted else ""


def _own(size: int, running: Any) -> int:
    """Return how many huge pages of a size a VM has as it runs; it may have its memory elsewhere."""
    if running is None:
        return 0
    found = [_pages(need.what) for need in needs("", running, ()) if need.kind == PAGES]
    return sum(pages for one, pages in found if one == size)


def _pages(what: str) -> tuple[int, int]:
    """Return the size of huge pages in KiB and how many are needed."""
    size, memory = map(int, what.split(":"))
    if not size:
        with suppress(OSError), open(_MEMORY, encoding="ascii") as file:
            found = _DEFAULT.search(file.read())
            size = int(found[1]) if found else 0
    return size, -(-memory // size) if size else 0


def named_pages(what: str) -> str:
    """Return how an operator calls these pages."""
    size, wanted = _pages(what)
    return f"{wanted} huge pages of {size} KiB"


def _number(file: str) -> int:
    with open(file, encoding="ascii") as stream:
        return int(stream.read())
