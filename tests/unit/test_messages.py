# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every sentence that an operator may get to read, in one list, and the rules that a machine can hold it to.

``pytest -s tests/unit/test_messages.py -k list`` prints the list. No machine can tell whether a sentence is true, nor
whether its command works: who changes one reads the list.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/docsite/rst/*.rst")),
    *sorted(ROOT.glob("playbooks/**/*.yml")),
    *sorted(ROOT.glob("roles/*/README.md")),
    *sorted(ROOT.glob("roles/*/defaults/*.yml")),
    *sorted(ROOT.glob("roles/*/meta/*.yml")),
]
TOLD = {"DOCUMENTATION", "EXAMPLES", "RETURN"}
# What others say in these words, which is looked for or imitated.
FOREIGN = re.compile(r"^(cannot migrate|no|failed to get|could not find) domain|^domain (not found|snapshot )", re.IGNORECASE)
# What CONTRIBUTING's vocabulary has another word for, and what only we would understand.
FORBIDDEN = {
    r"\bdomains?\b": "VM",
    r"\b(we|us|our|ours)\b": "who is that?",
    r"\bplease\b": "say what to do",
    r"\bsettle[sd]?\b": "finish or undo",
    r"\bthe (VM's |VMs' )?present(?! (in|on|at)\b)": "what the VM has now",
    r"(?<!guest )(?<!node )(?<!guest-)\bagents?\b(?!\.)": "guest agent or node agent (qx-node)",
    r"as far as that version can": "say what works",
    r"no name for": "say what is known",
    r"\b(has|have) not (?!\w+(ed|en|un|ad|one)\b)": "does not have",
    r"\bhas it not\b": "disables it",
    r"\bby nothing\b": "say who does what",
    r"\bnot \w+ un(less|til) \w+ not\b": "two negations",
}


class Text(NamedTuple):
    """A text, where it stands, and what it is: a `message` or `remedy` of an error, or some other `text`."""

    place: str
    kind: str
    words: str


def flat(node: ast.AST | None) -> str:
    """Return a literal's text, with each value in it as {its expression}; "" for what is no literal."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.FormattedValue):
        return "{" + ast.unparse(node.value) + "}"
    if isinstance(node, ast.JoinedStr):
        return "".join(map(flat, node.values))
    return ""


def is_prose(words: str) -> bool:
    bare = re.sub(r"\{[^}]*\}", "", words)
    return len(re.findall(r"(?<![\w/<.'-])[a-z]{2,}(?![\w=/(])", bare)) > 1 and not re.match(r"[<^/*#]|import |\.?/|from ", words)


def of_errors(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield what is given to errors as message and remedy, at once or by a variable of that name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error") and len(node.args) > 1:
            yield from zip(("message", "remedy"), node.args[1:3])
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in ("message", "remedy"):
            yield node.targets[0].id, node.value


def texts_of(path: Path) -> Iterator[Text]:
    tree = ast.parse(path.read_text("utf-8"))
    kinds = {id(node): kind for kind, node in of_errors(tree)}
    own = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    own |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    for node in ast.walk(tree):
        if id(node) not in own and (id(node) in kinds or is_prose(flat(node))) and flat(node):
            yield Text(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", kinds.get(id(node), "text"), flat(node))


def spoken(value: Any, key: str = "") -> Iterator[str]:
    """Yield what a playbook or role says: messages, names of tasks, and what errors mean."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from spoken(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from spoken(inner, key)
    elif key in ("msg", "fail_msg", "success_msg", "means", "name", "description", "short_description", "unknown"):
        yield str(value)


def everything() -> list[Text]:
    found = [text for path in sorted(ROOT.glob("plugins/**/*.py")) for text in texts_of(path)]
    for path in sorted([*ROOT.glob("roles/**/*.yml"), *ROOT.glob("playbooks/**/*.yml")]):
        name = str(path.relative_to(ROOT))
        found += [Text(name, "text", words) for words in spoken(yaml.safe_load(path.read_text("utf-8"))) if " " in words]
    return found


ALL = everything()
ERRORS = [text for text in ALL if text.kind != "text"]


def wrong_words(words: str) -> list[str]:
    return [f"{pattern} ({say})" for pattern, say in FORBIDDEN.items() if re.search(pattern, words, re.IGNORECASE)]


def test_the_list_has_them_all() -> None:
    print(*(f"{place} [{kind}] {words}" for place, kind, words in ALL), sep="\n")
    errors = sum(len(re.findall(r"(Kvm|Agent)Error\(\n?", path.read_text("utf-8"))) for path in ROOT.glob("plugins/**/*.py"))
    assert len([one for one in ERRORS if one.kind == "message"]) > 0.8 * errors


@pytest.mark.parametrize("text", ALL, ids=lambda text: text.place)
def test_words_are_those_of_the_vocabulary(text: Text) -> None:
    assert FOREIGN.search(text.words) or not wrong_words(text.words), text


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_have_the_same_words(path: Path) -> None:
    found = [(number, line, wrong_words(line)) for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)]
    assert not [one for one in found if one[2]]


@pytest.mark.parametrize("text", ERRORS, ids=lambda text: text.place)
def test_a_message_says_what_happened_and_a_remedy_what_to_do(text: Text) -> None:
    end = text.words.rstrip()[-1:]
    assert end in (".", "}") or (text.kind == "remedy" and end == "?"), text
    if text.kind == "message":
        assert not re.match(r"(Nothing|No) .* (changed|touched)|Look|Give|Run|Try", text.words), text
