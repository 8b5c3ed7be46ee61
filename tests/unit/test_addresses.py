# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No address in this repository is invented: what nobody has registered today, anybody may register tomorrow.

An address is either of the few that somebody has opened and found to be what is said of it, or it can belong to nobody:
reserved names, numbers, hosts without a dot, and what is filled in.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILT = {".ansible", ".cache", ".git", ".mypy_cache", ".pytest_cache", ".ruff_cache", "__pycache__", "output", "target"}
# Each with all that follows it.
TRUE = (
    "fsf.org/",
    "libvirt.org/schemas/domain/",  # the names of QEMU's and others' parts of a VM's XML
    "www.gnu.org/licenses/",
    "www.w3.org/2000/svg",  # the name of SVG's elements
)
RESERVED = re.compile(r"(^|\.)(example(\.(com|net|org))?|test|invalid|localhost)$")
FILLED_IN = re.compile(r"[{}\\<>$*%]")
URL = re.compile(r"\bhttps?://(?:[^\s/@\"']+@)?([^\s\"'`|)\],;]+)")
BARE = re.compile(r"(?<![\w/.:@-])((?:[\w-]+\.)+(?:com|dev|io|net|org)/[\w-][^\s\"'`|)\],;]*)")
MAIL = re.compile(r"[\w.+-]+@([\w-]+(?:\.[\w-]+)*\.[a-z]{2,})\b(?!\()")
UNITS = (".service", ".slice", ".socket", ".timer")  # of systemd: getty@tty1.service


def files() -> Iterator[Path]:
    for path in sorted(ROOT.rglob("*")):
        if path.is_file() and not BUILT.intersection(path.relative_to(ROOT).parts) and path.suffix != ".pyc":
            yield path


def belongs_to_nobody(host: str) -> bool:
    host = host.removesuffix(".")
    if FILLED_IN.search(host) or RESERVED.search(host):
        return True
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return "." not in host
    return True


def invented(text: str) -> list[str]:
    """Return the addresses that nobody has vouched for, and that could be somebody's."""
    found = []
    for address in (*URL.findall(text), *BARE.findall(text)):
        host = re.match(r"\[[^\]]*\]?|[^/:?#]*", address)
        known = any(f"{address}/".startswith(true) for true in TRUE)
        if not known and not belongs_to_nobody(host[0] if host else ""):
            found.append(address)
    hosts = (host for host in MAIL.findall(URL.sub("", text)) if not host.endswith(UNITS))
    return found + [f"@{host}" for host in hosts if not belongs_to_nobody(host)]


def test_no_address_in_the_tree_is_invented() -> None:
    seen = 0
    found = []
    for path in files():
        text = path.read_text("utf-8", errors="replace")
        seen += len(URL.findall(text))
        found += [f"{path.relative_to(ROOT)}: {one}" for one in invented(text)]
    assert seen > 100
    assert not found, "\n".join(found)


# Put together here, since this file is looked at too.
@pytest.mark.parametrize(
    "text",
    [
        "https:" + "//github.com/limiquantix/limiquantix.kvm",
        "[docs](https:" + "//docs.limiquantix.dev)",
        "see github" + ".com/limiquantix/kvm.",
        "write to security" + "@limiquantix.io",
        "http:" + "//user:secret" + "@limiquantix.net:8443/api",
        "https:" + "//www.gnu.org.limiquantix.net/licenses/",
    ],
)
def test_an_address_that_nobody_has_vouched_for_is_found(text: str) -> None:
    assert len(invented(text)) == 1, invented(text)


@pytest.mark.parametrize(
    "text",
    [
        "https:" + "//host:8443, http:" + "//127.0.0.1:8080. and http:" + "//[::1]:80/x",
        "https:" + "//{{ inventory_hostname }}:8443/ and https:" + "//me@host.example/",
        "https:" + "//www.gnu.org/licenses/gpl-3.0.txt",
        "getty" + "@tty1.service, actions/checkout" + "@v4, me" + "@example.org",
    ],
)
def test_an_address_that_can_be_nobody_s_is_let_through(text: str) -> None:
    assert invented(text) == []
