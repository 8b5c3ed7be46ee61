# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX is given: each question of a survey is an input of its playbook, with its type, choices and default."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
AWX = ROOT / "extensions/awx"
PLAYBOOKS = {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
TEMPLATES: dict[str, dict[str, Any]] = {
    Path(one["playbook"]).stem: one
    for one in yaml.safe_load((AWX / "job_templates.yml").read_text("utf-8"))["controller_templates"]
}
# What nobody outside of a lab has.
NOT_ASKED = {"mock"}


def questions(playbook: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = TEMPLATES[playbook]["survey_spec"]["spec"]
    return found


def text_of(playbook: str) -> str:
    return (ROOT / f"playbooks/{playbook}.yml").read_text("utf-8")


def options() -> dict[str, dict[str, Any]]:
    """Return the documented options of the modules, by module and name."""
    found: dict[str, dict[str, Any]] = {}
    shared = documentation(ROOT / "plugins/doc_fragments/hypervisor.py", 'DOCUMENTATION = r"""')
    for module in ("vm_snapshot", "vm_snapshot_prune"):
        own = documentation(ROOT / f"plugins/modules/{module}.py", 'DOCUMENTATION = r"""')
        found[f"limiquantix.kvm.{module}"] = {**shared["options"], **own["options"]}
    return found


def documentation(path: Path, begins: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text("utf-8").split(begins)[1].split('"""')[0])
    return found


def option_of(playbook: str, variable: str) -> dict[str, Any]:
    """Return the option that gets the variable from the playbook, {} where none does."""
    for play in yaml.safe_load(text_of(playbook)):
        for task in play.get("tasks", ()):
            for module, known in options().items():
                for option, value in (task.get(module) or {}).items():
                    if re.search(rf"\b{variable}\b", str(value)):
                        return dict(known[option])
    return {}


def default_of(playbook: str, variable: str) -> str:
    """Return what the playbook has where the variable is not given."""
    given = re.search(rf"\b{variable} \| default\((?:omit if .* else )?'?([^',)]*)'?(?:, true)?\)", text_of(playbook))
    return {"false": "no", "true": "yes"}.get(given[1], given[1]) if given else ""


def test_every_playbook_has_a_template_and_a_file_in_the_project() -> None:
    assert set(TEMPLATES) == PLAYBOOKS
    for name, template in TEMPLATES.items():
        (play,) = yaml.safe_load((AWX / "templates/project" / template["playbook"]).read_text("utf-8"))
        assert play["import_playbook"] == f"limiquantix.kvm.{name}"
        assert template["survey_enabled"] is True
    assert {path.stem for path in (AWX / "templates/project").glob("*.yml")} == PLAYBOOKS


@pytest.mark.parametrize("playbook", sorted(PLAYBOOKS))
def test_each_question_is_an_input_of_its_playbook(playbook: str) -> None:
    told = set(re.findall(r"^#   (\w+)", text_of(playbook), re.MULTILINE))
    if playbook == "deploy_agent":
        specs = yaml.safe_load((ROOT / "roles/qx_node/meta/argument_specs.yml").read_text("utf-8"))["argument_specs"]
        told.update(name for entry in specs.values() for name in entry.get("options", {}))
    asked = [one["variable"] for one in questions(playbook)]
    assert [name for name in asked if name not in told] == []
    assert len(asked) == len(set(asked)) > 0


@pytest.mark.parametrize(
    ("playbook", "question"),
    [
        pytest.param(playbook, one, id=f"{playbook}-{one['variable']}")
        for playbook in sorted(PLAYBOOKS)
        for one in questions(playbook)
    ],
)
def test_each_question_has_the_type_the_choices_and_the_default_of_its_playbook(
    playbook: str, question: dict[str, Any]
) -> None:
    variable = question["variable"]
    option = option_of(playbook, variable)
    choices = question.get("choices")
    if option.get("type") == "int":
        assert question["type"] == "integer"
    if option.get("type") == "bool":
        assert choices == ["no", "yes"]
    if option.get("choices"):
        assert set(choices or ()) == set(option["choices"]) - NOT_ASKED
    if question["type"] == "integer":
        assert question["min"] <= question["default"] <= question["max"]
    if choices:
        assert (question["type"], question["default"] in choices) == ("multiplechoice", True)
    default = default_of(playbook, variable)
    if "default" in question and default and not default.startswith("omit"):
        assert str(question["default"]) == default
    if not question["required"]:  # AWX may send an empty text
        assert variable in ("snapshot_name", "snapshot_description")


@pytest.mark.parametrize("playbook", sorted(PLAYBOOKS))
def test_what_has_no_default_must_be_answered_and_is_not_answered_for_the_operator(playbook: str) -> None:
    needed = re.search(r"snapshot_needed: \[(.*)\]", text_of(playbook))
    names = [name for name in (needed[1] if needed else "").split(", ") if name]
    asked = {one["variable"]: one for one in questions(playbook)}
    assert [(asked[name]["required"], asked[name].get("default")) for name in names] == [(True, None)] * len(names)


def test_the_revert_is_not_confirmed_in_advance() -> None:
    for playbook in ("revert", "revert_group"):
        (confirm,) = [one for one in questions(playbook) if one["variable"] == "snapshot_confirm"]
        assert confirm["default"] == "no"


@pytest.mark.parametrize("playbook", ["snapshot", "prune"])
def test_a_schedule_answers_what_its_survey_asks(playbook: str) -> None:
    schedules = yaml.safe_load((AWX / "schedules.yml").read_text("utf-8"))["controller_schedules"]
    (schedule,) = [one for one in schedules if one["unified_job_template"] == TEMPLATES[playbook]["name"]]
    asked = {one["variable"]: one for one in questions(playbook)}
    needed = {name for name, one in asked.items() if one["required"]}
    assert needed <= schedule["extra_data"].keys() <= asked.keys()
    for name, answer in schedule["extra_data"].items():
        assert "choices" not in asked[name] or answer in asked[name]["choices"], name
        assert isinstance(answer, int) is (asked[name]["type"] == "integer"), name
    assert re.fullmatch(r"DTSTART:\d{8}T\d{6}Z RRULE:FREQ=DAILY;INTERVAL=1", schedule["rrule"])


def test_the_schedules_are_of_these_playbooks_only() -> None:
    schedules = yaml.safe_load((AWX / "schedules.yml").read_text("utf-8"))["controller_schedules"]
    assert [one["unified_job_template"] for one in schedules] == [
        TEMPLATES[one]["name"] for one in ("snapshot", "prune")
    ]


def test_all_of_it_is_in_the_artifact() -> None:
    ignored = yaml.safe_load((ROOT / "galaxy.yml").read_text("utf-8"))["build_ignore"]
    assert [one for one in ignored if one.startswith("extensions") and one != "extensions/molecule"] == []
