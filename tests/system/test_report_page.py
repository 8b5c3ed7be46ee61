# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report's page, in a browser."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from .browser import PROGRAM, Browser
from .report_fleet import SCRIPT, fleet, write_page
from .report_page import page, screen, small

__all__ = ("page", "screen", "small")

needs_browser = pytest.mark.skipif(not shutil.which(PROGRAM), reason=f"there is no browser; install {PROGRAM}")


def cells(page: Browser, table: str, column: int) -> list[str]:
    found: list[str] = page.run(
        f"[...document.querySelectorAll('#{table} tr.row')].map(r => r.cells[{column}].innerText)"
    )
    return found


def typed(page: Browser, field: str, text: str) -> None:
    page.run(
        f"(f => {{ f.value = {json.dumps(text)}; f.dispatchEvent(new Event('input')) }})(document.getElementById('{field}'))"
    )


def press(page: Browser, selector: str) -> None:
    page.run(f"document.querySelector({json.dumps(selector)}).click()")


@needs_browser
def test_the_page_says_at_once_whether_something_needs_a_hand(page: Browser, tmp_path: Path) -> None:
    assert page.run("document.querySelector('.verdict').innerText.split('\\n')[0]") == "4 things need a hand"
    assert page.run("document.querySelector('.verdict').getBoundingClientRect().bottom") < 300
    assert "1 of 9 hosts unknown" in page.run("document.querySelector('.verdict').innerText")
    page.open(write_page(tmp_path / "well.html", fleet(2, 2, trouble=False)))
    assert page.run("document.querySelector('.verdict').innerText.split('\\n')[0]") == "All is well"
    assert page.run("document.getElementById('findings').children.length") == 0
    assert page.said == []


@needs_browser
def test_a_table_is_sorted_up_and_down_and_what_is_unknown_comes_last(page: Browser) -> None:
    assert cells(page, "vms", 2)[:3] == ["act", "act", "at work"]
    press(page, "#vms th:nth-child(5) button")
    down = [int(one) for one in cells(page, "vms", 4)]
    assert (down, down[0] > down[-1]) == (sorted(down, reverse=True), True)
    assert page.run("document.querySelector('#vms th:nth-child(5)').ariaSort") == "descending"
    press(page, "#vms th:nth-child(5) button")
    assert [int(one) for one in cells(page, "vms", 4)] == sorted(down)
    for _twice in range(2):
        press(page, "#hosts th:nth-child(7) button")
        assert cells(page, "hosts", 6)[-1] == "\u2013"
    assert page.said == []


@needs_browser
def test_what_is_not_known_is_no_zero_and_no_name_is_left_out(screen: Browser, tmp_path: Path) -> None:
    """A VM that cannot be read, a layer without a size, a VM nothing is told of and a name that no host has."""
    found = fleet(2, 3, trouble=False)
    one, two, three = found["hv-001"]["vms"]
    one.update(failed=True, snapshots=[], tree=[], chains=[], msg="Its record cannot be read.")
    two["chains"][0]["layers"].insert(0, {**two["chains"][0]["layers"][-1], "size": None, "snapshot": "s"})
    three["look"] = None
    found["hv-002"]["missing"] = ["web99"]
    screen.open(write_page(tmp_path / "fleet.html", found))
    shown = screen.run("document.querySelector('.verdict').innerText")
    assert "2 things need a hand" in shown
    assert "2 of 6 VMs unknown" in shown
    assert "web99" in screen.run("document.getElementById('findings').innerText")
    assert [cells(screen, "vms", column)[0] for column in (0, 4, 7)] == [one["vm"], "\u2013", "\u2013"]
    for column in (3, 5):
        press(screen, "#hosts th:first-child button")
        assert [text.startswith("\u2265") for text in sorted(cells(screen, "hosts", column))] == [False, True]
    numbers = screen.run("[...document.querySelectorAll('#counts dd')].map(d => d.innerText)")
    assert [text.startswith("\u2265") for text in numbers] == [False, False, True, True]
    assert screen.said == []


@needs_browser
def test_a_chain_that_is_not_read_to_its_end_is_at_least_what_was_seen(screen: Browser, tmp_path: Path) -> None:
    for complete in (True, False):
        found = fleet(1, 1, trouble=False)
        found["hv-001"]["vms"][0]["chains"][0]["complete"] = complete
        screen.open(write_page(tmp_path / "fleet.html", found))
        press(screen, "#vms tr.row button")
        opened = screen.run(
            "[...document.querySelectorAll('[aria-label^=\"Disks of\"] td.number')].map(d => d.innerText)"
        )
        layers_and_sizes = [*opened, cells(screen, "vms", 6)[0], cells(screen, "vms", 7)[0]]
        assert [text.startswith("\u2265") for text in layers_and_sizes] == [not complete] * 4
    assert screen.said == []


@needs_browser
def test_a_table_is_filtered_by_words_and_by_state(page: Browser) -> None:
    typed(page, "vms-find", "hv-002 web")
    assert (set(cells(page, "vms", 1)), {one[:3] for one in cells(page, "vms", 0)}) == ({"hv-002"}, {"web"})
    assert page.run("document.getElementById('vms-count').textContent") == "2 of 80 VMs"
    typed(page, "vms-find", "")
    typed(page, "vms-word", "look")
    assert set(cells(page, "vms", 2)) == {"look"}
    typed(page, "vms-find", "nobody has this name")
    assert cells(page, "vms", 0) == []
    assert page.said == []


@needs_browser
def test_a_vm_called_script_is_text(page: Browser) -> None:
    assert SCRIPT in cells(page, "vms", 0)
    typed(page, "vms-find", "script")
    press(page, "#vms tr.row button")
    assert "</script> & {{ 7 * 7 }}" in page.run("document.querySelector('tr.details').innerText")
    assert page.run("[window.pwned, document.scripts.length]") == [None, 2]
    assert page.said == []


@needs_browser
def test_a_vm_opens_with_its_tree_drawn_as_one(page: Browser) -> None:
    """Each snapshot beside its point, and what branched off beside the line."""
    typed(page, "vms-find", "branches")
    press(page, "#vms tr.row button")
    tree = "document.querySelector('tr.details .tree')"
    assert page.run(f"{tree}.querySelector('svg').getAttribute('aria-label')") == "Tree of the 5 snapshots of branches"
    points = page.run(
        f"[...{tree}.querySelectorAll('circle')].map(c => [+c.getAttribute('cx'), c.getBoundingClientRect().top])"
    )
    assert [x for x, _y in points] == [8, 26, 26, 8, 8]
    rows = page.run(f"[...{tree}.querySelectorAll(':scope tbody tr')].map(r => r.getBoundingClientRect().top)")
    assert {round(point[1] - row) for point, row in zip(points, rows)} in ({9}, {10})
    named = page.run(f"[...{tree}.querySelectorAll(':scope tbody th')].map(r => r.firstChild.data)")
    assert named == ["root", "left", "leaf", "right", "now"]
    press(page, "#vms tr.row button")
    assert page.run("document.querySelectorAll('tr.details').length") == 0


@needs_browser
def test_a_finding_leads_to_its_vm(page: Browser) -> None:
    press(page, "#findings a[aria-label='web01 on hv-001']")
    assert cells(page, "vms", 0) == ["web01"]
    assert "cannot be read" in page.run("document.querySelector('tr.details').innerText")


@needs_browser
def test_a_screen_reader_has_a_name_for_everything_that_can_be_used(page: Browser) -> None:
    names = page.names()
    for role in ("button", "searchbox", "combobox", "link", "table", "columnheader", "region"):
        found = [name for one, name in names if one == role]
        assert found, role
        assert all(found), (role, found)
    assert ("searchbox", "Find") in names
    assert ("table", "VMs") in names
    assert page.run("document.querySelectorAll('h1').length") == 1


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_can_be_read_by_day_and_by_night_and_on_a_phone(page: Browser, width: int, dark: bool) -> None:
    """Nothing is wider than the screen, and each text stands out from what is behind it (WCAG AA: 4.5 to 1)."""
    page.window(width, 844, dark=dark)
    typed(page, "vms-find", "branches")
    press(page, "#vms tr.row button")
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run(_CONTRAST) == []


# Each visible text with less contrast than 4.5 to what is painted behind it.
_CONTRAST = """(() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] !== 0) return c; }
  };
  return [...document.querySelectorAll('main *, header *')].filter((e) => e.checkVisibility() && [...e.childNodes].some((n) =>
    n.nodeType === 3 && n.data.trim())).map((e) => {
      const [one, other] = [light(rgb(getComputedStyle(e).color)), light(behind(e))];
      return [e.textContent.slice(0, 40), (Math.max(one, other) + .05) / (Math.min(one, other) + .05)];
    }).filter(([, ratio]) => ratio < 4.5);
})()"""


@needs_browser
def test_500_hosts_with_20_vms_each_can_be_used_within_two_seconds(screen: Browser, tmp_path: Path) -> None:
    """Seconds of the processor: on a machine at rest they are those of the clock. Opening, sorting and filtering."""
    path = write_page(tmp_path / "fleet.html", fleet(500, 20))
    screen.window(1280, 1000)
    screen.call("Performance.enable", timeDomain="threadTicks")
    screen.open(path)
    spent = screen.spent()
    assert screen.run("document.getElementById('vms-count').textContent") == "10,000 VMs"
    press(screen, "#vms th:nth-child(5) button")
    typed(screen, "vms-find", "hv-499 web")
    after = screen.spent() - spent
    assert len(cells(screen, "vms", 0)) == 4
    print(
        f"500 hosts, 10,000 VMs: {spent:.2f} s to open, {after:.2f} s to sort and to filter, {path.stat().st_size >> 20} MiB"
    )
    assert (spent < 2, after < 1, screen.said) == (True, True, [])
