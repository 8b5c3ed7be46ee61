# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module's documentation must say: what it needs, which group it is in, what the environment gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ansible_collections.limiquantix.kvm.plugins.doc_fragments.hypervisor import ModuleDocFragment
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.open import hypervisor_arguments

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "plugins" / "modules"
FRAGMENT: dict[str, Any] = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)


def documentation(module: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(module.read_text("utf-8").split('DOCUMENTATION = r"""')[1].split('"""')[0])
    return found


def test_each_variable_stands_in_its_option_s_documentation() -> None:
    read = {option: spec["fallback"][1] for option, spec in hypervisor_arguments().items() if "fallback" in spec}
    assert sorted(read) == ["ca_path", "client_cert", "client_key", "token", "url"]
    for option, documented in FRAGMENT["options"].items():
        words = " ".join(documented["description"])
        assert [f"E({name})" in words for name in read.get(option, [])] == [True] * (option in read), option
        assert option in read or "E(" not in words, option


def test_every_module_says_what_it_needs() -> None:
    for module in sorted(MODULES.glob("*.py")):
        own = documentation(module)
        shared = FRAGMENT if "limiquantix.kvm.hypervisor" in own.get("extends_documentation_fragment", []) else {}
        assert [*own.get("requirements", []), *shared.get("requirements", [])], module.name


def test_the_modules_of_the_action_group_are_those_that_say_so() -> None:
    groups: dict[str, list[str]] = yaml.safe_load((ROOT / "meta/runtime.yml").read_text("utf-8"))["action_groups"]
    assert FRAGMENT["attributes"]["action_group"]["membership"] == [f"limiquantix.kvm.{name}" for name in groups]
    shared = [
        module.stem
        for module in sorted(MODULES.glob("*.py"))
        if "limiquantix.kvm.hypervisor" in documentation(module).get("extends_documentation_fragment", [])
    ]
    assert [sorted(members) for members in groups.values()] == [shared]
