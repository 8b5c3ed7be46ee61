# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look whether every link of a built site leads somewhere, and whether its pages need nothing from elsewhere.

Addresses of other sites are not opened: whether those are true is asked in tests/unit/test_addresses.py.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Where a tag names what it leads to, and where what it needs.
LEADS_TO = {"a": "href"}
NEEDS = {"img": "src", "script": "src", "link": "href", "source": "src", "iframe": "src", "object": "data"}
MERELY_TOLD = {
    "canonical",
    "search",
    "next",
    "prev",
    "index",
    "author",
    "copyright",
}  # of <link rel=…>: nothing is fetched


@dataclass
class Page(HTMLParser):
    """A page's anchors and links."""

    anchors: set[str] = field(default_factory=lambda: {"", "top"})
    links: list[str] = field(default_factory=list)
    needed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        if tag in LEADS_TO and LEADS_TO[tag] in values:
            self.links.append(values[LEADS_TO[tag]])
        if tag in NEEDS and NEEDS[tag] in values and not MERELY_TOLD.intersection(values.get("rel", "").split()):
            self.needed.append(values[NEEDS[tag]])


def read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text("utf-8"))
    return page


def broken(site: Path) -> list[str]:
    """Return what is wrong, a line for each link."""
    pages = {path.resolve(): read(path) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for link in (*page.links, *page.needed):
            why = _wrong(link, path, pages)
            if not why and link in page.needed and urlsplit(link).netloc:
                why = "the page needs it, and it is elsewhere"
            if why:
                found.append(f"{path.relative_to(site.resolve())}: {link}: {why}")
    return found


def _wrong(link: str, path: Path, pages: dict[Path, Page]) -> str:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return ""
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_file():
        return "there is no such file"
    if target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return "that page has no such place"
    return ""


def main() -> int:
    site = Path(sys.argv[1])
    found = broken(site)
    print("\n".join(dict.fromkeys(found)) or f"every link of {len(list(site.rglob('*.html')))} pages leads somewhere")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
