# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx's settings for the docs site, which dev/gates/site builds. Nothing is fetched, and an unknown reference is an error."""

from __future__ import annotations

import re
from typing import Any, Optional

from docutils import nodes
from sphinx.application import Sphinx

project = "limiquantix.kvm"
html_title = html_short_title = "limiquantix.kvm: snapshots of KVM VMs"
extensions = ["sphinx_antsibull_ext"]
pygments_style = "ansible"
highlight_language = "YAML+Jinja"
html_theme = "sphinx_ansible_theme"
html_theme_options = {
    "topbar_links": {},
    "show_extranav": False,
    "display_version": False,
    "collapse_navigation": False,
}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sphinx = False
html_use_index = False
html_copy_source = False
nitpicky = True
default_role = "any"

# What antsibull-docs refers to in Ansible's own documentation, which is not here: the words stay, without a link.
ANSIBLES_OWN = {"action_plugins", "common_return_values"}
# Of galaxy.yml, as long as there is no address.
NO_ADDRESS = re.compile(
    r'^\.\. ansible-links::\n\n  - title: "Repository \(Sources\)"\n    url: "none yet"\n.*\n', re.MULTILINE
)


def mended(_app: Sphinx, page: str, source: list[str]) -> None:
    """Take out links that lead nowhere, and write the collection's name as it is."""
    source[0] = NO_ADDRESS.sub("", source[0])
    if page == "index":
        source[0] = source[0].replace("Limiquantix.Kvm", project)


def words_without_link(_app: Sphinx, _env: Any, node: nodes.Element, words: nodes.Element) -> Optional[nodes.Element]:
    return words if node["reftarget"] in ANSIBLES_OWN else None


def the_title_leads_home(_app: Sphinx, _page: str, _template: str, context: dict[str, Any], _tree: Any) -> None:
    context["theme_documentation_home_url"] = context["pathto"]("index")


def setup(app: Sphinx) -> None:
    app.connect("source-read", mended)
    app.connect("missing-reference", words_without_link)
    app.connect("html-page-context", the_title_leads_home)
