# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every sentence that an operator may read, in one list, and the few rules that a machine can hold it to.

``pytest -s tests/unit/test_messages.py -k list`` prints the list. No machine can tell whether a sentence is true, nor whether
the command in it works: whoever changes one reads the list.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    "README.md",
    "SECURITY.md",
    "CODE_OF_CONDUCT.md",
    "docs/docsite/rst/*.rst",
    "playbooks/**/*.yml",
    "roles/*/README.md",
    "roles/**/*.yml",
    "changelogs/fragments/*.yml",
)
# Lines that are not ours to word: what others say and is looked for or imitated, commands, names of things.
FOREIGN = re.compile(
    r"(migrate|no|get|find) domain|^domain not found|domain (snapshot|moment) "
    r"|limiquantix/agent|`agent`|(the-)?agent(-test| -->)|: agent$|agents?[_.]|_agent"
)
# Written by the benches.
MEASURED = re.compile(r"^\.\. (bench[\w-]*|table):start$.*?^\.\. \1:end$", re.DOTALL | re.MULTILINE)
# What the vocabulary in CONTRIBUTING.md has another word for, and what a stranger cannot know.
FORBIDDEN = {
    r"\bdomains?\b": "VM",
    r"(?<!guest[ -])(?<!node )\bagents?\b": "guest agent, node agent or qx-node",
    r"\bthe (VM's |VMs' )?present\b(?! (in|on|at)\b)": "what the VM has now",
    r"\bsettle[sd]?\b": "finish or undo",
    r"\b(we|us|our|ours)\b": "who is that?",
    r"\bplease\b": "say what to do",
    r"\b(has|have) not (?!\w+(ed|en)\b)": "does not have",
    r"\bby nothing\b|\bno name for\b|\bas far as that\b|\bhas it not\b|\bwhere there is none\b": "say who does what",
}
SPOKEN = {"msg", "fail_msg", "success_msg", "means", "name", "description", "short_description", "unknown"}


class Text(NamedTuple):
    """A text, where it stands, and whether it is the `message` or `remedy` of an error or some other `text`."""

    place: str
    kind: str
    words: str


def flat(node: ast.AST) -> str:
    """Return a literal's text, with a {value} for each that is filled in; "" for what is no literal."""
    if isinstance(node, ast.JoinedStr):
        return "".join(
            f"{{{ast.unparse(one.value)}}}" if isinstance(one, ast.FormattedValue) else flat(one) for one in node.values
        )
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def bare(words: str) -> str:
    return re.sub(r"\{[^{}]*(\{[^{}]*\}[^{}]*)*\}", "{}", words)


def is_prose(words: str) -> bool:
    words = bare(words)
    return len(re.findall(r"(?<![\w/<.'-])[a-z]{2,}(?![\w=/(])", words)) > 1 and not re.match(
        r"[<^/*#]|import |\.?/", words
    )


def error_calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and re.search("^(Kvm|Deploy|QxNode|InDoubt)Error$", ast.unparse(node.func)):
            yield node


def of_errors(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Yield what errors are given as message and remedy, at once or through a variable of that name."""
    for call in error_calls(tree):
        yield from zip(call.args[1:3], ("message", "remedy"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("message", "remedy"):
            yield node.value, ast.unparse(node.targets[0])


def of_code(path: Path) -> Iterator[Text]:
    tree = ast.parse(path.read_text("utf-8"))
    kinds = {id(node): kind for node, kind in of_errors(tree)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        words, kind = flat(node), kinds.get(id(node), "text")
        if words and id(node) not in parts | docstrings and (kind != "text" or is_prose(words)):
            for number, line in enumerate(words.strip("\n").split("\n")):  # module documentation has many
                yield Text(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0) + number}", kind, line)


def of_yaml(value: Any, key: str = "") -> Iterator[str]:
    """Yield what a playbook or role says: messages, names of tasks, and what errors mean."""
    if isinstance(value, (dict, list)):
        for name, inner in value.items() if isinstance(value, dict) else ((key, one) for one in value):
            yield from of_yaml(inner, name)
    elif key in SPOKEN and " " in str(value):
        yield str(value)


def every_text() -> Iterator[Text]:
    for path in sorted(ROOT.glob("plugins/**/*.py")):
        yield from of_code(path)
    for path in sorted([*ROOT.glob("roles/**/*.yml"), *ROOT.glob("playbooks/**/*.yml")]):
        for words in of_yaml(yaml.safe_load(path.read_text("utf-8"))):
            yield Text(str(path.relative_to(ROOT)), "text", words)


def every_document() -> Iterator[Text]:
    for path in sorted(path for pattern in DOCUMENTS for path in ROOT.glob(pattern)):
        text = MEASURED.sub(lambda found: "\n" * found[0].count("\n"), path.read_text("utf-8"))
        for number, line in enumerate(text.splitlines(), 1):
            yield Text(f"{path.relative_to(ROOT)}:{number}", "text", line)


def wrong(text: Text) -> list[str]:
    words = FOREIGN.sub("", bare(text.words))
    return [
        f"{text.place}: {text.words.strip()!r}: {say}"
        for pattern, say in FORBIDDEN.items()
        if re.search(pattern, words, re.IGNORECASE)
    ]


def test_the_list_has_every_error() -> None:
    texts = list(every_text())
    print("", *(f"{place} [{kind}] {words}" for place, kind, words in texts), sep="\n")
    sources = "".join(path.read_text("utf-8") for path in ROOT.glob("plugins/**/*.py"))
    worded = sum(kind == "message" for _place, kind, _words in texts)
    assert worded > 0.8 * len(re.findall(r"raise \w*Error\(|return \w*Error\(", sources)) > 50


def test_every_text_keeps_to_the_vocabulary() -> None:
    found = [one for text in (*every_text(), *every_document()) for one in wrong(text)]
    assert not found, "\n".join(found)


def test_every_error_has_a_remedy() -> None:
    for path in ROOT.glob("plugins/**/*.py"):
        for call in error_calls(ast.parse(path.read_text("utf-8"))):
            code, remedy = ast.unparse(call.args[0]), ast.unparse(call.args[2]) if call.args[2:] else "''"
            # Its message ends with the agent's log, and says before that what to do.
            assert remedy != "''" or code == "'not_serving'", f"{path.relative_to(ROOT)}:{call.lineno}: {code}"


def test_a_message_says_what_happened_and_a_remedy_what_to_do() -> None:
    for text in every_text():
        if text.kind != "text":
            assert re.search(r"[.?}]$", text.words.rstrip()), f"{text}: has no end"
        if text.kind == "message":
            assert not re.match(r"(Nothing|No VM) was|Look|Give|Run|Try", text.words), f"{text}: says what to do first"


def test_no_text_sends_to_a_file_that_the_artifact_leaves_out() -> None:
    """Whoever installed the collection has no `tests`. (A unit test of ansible-test has no galaxy.yml either.)"""
    left_out = re.compile(
        r"(?<![\w/.{}-])(tests|dev|changelogs/fragments|extensions/molecule)/\w|\bCONTRIBUTING\.md|\bMakefile\b"
    )
    assert [text for text in every_text() if left_out.search(text.words)] == []


def test_the_changelog_has_no_markup_that_its_readers_would_see_as_it_is() -> None:
    """antsibull-changelog knows RST only: O(name) and the like stay as they are in CHANGELOG.md."""
    texts = {path.name: path.read_text("utf-8") for path in ROOT.glob("changelogs/fragments/*.yml")}
    assert {name: found for name, text in texts.items() if (found := re.findall(r"\b[A-Z]{1,2}\([^()]*\)", text))} == {}
