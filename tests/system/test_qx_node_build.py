# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role qx_node builds once for many hosts, says what is wrong with a build, and documents what it takes. No host needed."""

from __future__ import annotations

import getpass
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from .agent_build import TRIPLE, Build, build, needs_cargo, refused
from .agent_role import FIXTURES

__all__ = ("build",)

pytestmark = pytest.mark.agent

ROLE = Path(__file__).resolve().parents[2] / "roles" / "qx_node"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The agent's source, to be spoiled."""
    ignored = shutil.ignore_patterns("target")
    shutil.copytree(FIXTURES / "agent", tmp_path / "tree" / "agent", ignore=ignored)
    return tmp_path / "tree"


def spoil(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


# --- how often ----------------------------------------------------------------------------------------------------------


@needs_cargo
@pytest.mark.parametrize(("serial", "asked"), [(3, 2), (1, 3)])
def test_once_for_each_target(build: Build, tmp_path: Path, serial: int, asked: int) -> None:
    """With serial cargo is asked for each batch, and compiles once all the same."""
    cargo = tmp_path / "cargo"
    cargo.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nexec cargo "$@"\n')
    cargo.chmod(0o755)
    done = build(serial=serial, of_the_third=TRIPLE, qx_node_cargo=str(cargo))
    assert done.status == 0, done.output
    assert "changed=1" not in done.output
    calls = (tmp_path / "asked").read_text().splitlines()
    assert len(calls) == asked
    assert len([call for call in calls if TRIPLE in call]) == 1
    assert len(list((tmp_path / "target").glob("**/release/limiquantix-node"))) == 2


@needs_cargo
def test_a_binary_that_is_called_qx_node(build: Build, tree: Path) -> None:
    manifest = tree / "agent" / "limiquantix-node" / "Cargo.toml"
    manifest.write_text(manifest.read_text() + '\n[[bin]]\nname = "qx-node"\npath = "src/main.rs"\n')
    done = build(tree, qx_node_target=TRIPLE)
    assert done.status == 0, done.output


@needs_cargo
def test_from_git_at_a_version(build: Build, tree: Path, tmp_path: Path) -> None:
    git = ["git", "-C", str(tree), "-c", "user.name=test", "-c", "user.email=test@test"]
    for words_of_git in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"], ["tag", "v1"]):
        subprocess.run([*git, *words_of_git], check=True)
    spoil(tree / "agent" / "limiquantix-node" / "src" / "main.rs", "fn main()", "fn nothing()")
    subprocess.run([*git, "commit", "-qam", "broken"], check=True)
    source = {"qx_node_source": f"file://{tree}", "qx_node_build_dir": str(tmp_path / "checkouts")}
    done = build(**source, of_the_third=TRIPLE, qx_node_source_version="v1")
    assert done.status == 0, done.output
    refused(build(**source), "does not compile")
    checkouts = [git.parent for git in (tmp_path / "checkouts").glob("*/.git")]
    assert len(checkouts) == 2
    for checkout in checkouts:
        counted = subprocess.run(["git", "-C", str(checkout), "rev-list", "--count", "--all"], check=True, stdout=-1)
        assert counted.stdout.strip() == b"1", "the history was copied too"


# --- what goes wrong ----------------------------------------------------------------------------------------------------


def test_nothing_to_build(build: Build) -> None:
    done = build(qx_node_source="")
    assert done.status != 0
    assert "There is nothing to build" in done.output


def test_a_missing_cargo_is_named(build: Build) -> None:
    refused(build(qx_node_cargo="/nowhere/cargo"), "There is no /nowhere/cargo on localhost")


@needs_cargo
def test_a_folder_that_is_no_cargo_workspace_is_refused(build: Build, tmp_path: Path) -> None:
    refused(build(tmp_path / "nowhere"), f"There is no folder {tmp_path}/nowhere/agent")
    (tmp_path / "empty" / "agent").mkdir(parents=True)
    refused(build(tmp_path / "empty"), "is no cargo workspace: it has no Cargo.toml")
    (tmp_path / "empty" / "agent" / "Cargo.toml").write_text("nonsense")
    refused(build(tmp_path / "empty"), "Cargo.toml cannot be read")


@needs_cargo
def test_no_such_package(build: Build, tree: Path) -> None:
    refused(build(qx_node_package="limiquantix-mode"), "has no package limiquantix-mode")
    other = tree / "agent" / "other"
    (other / "src").mkdir(parents=True)
    (other / "Cargo.toml").write_text('[package]\nname = "other"\nversion = "0.1.0"\n')
    (other / "src" / "main.rs").write_text("fn main() {}\n")
    spoil(tree / "agent" / "Cargo.toml", '"limiquantix-node"', '"limiquantix-node", "other"')
    subprocess.run(["cargo", "update", "-q", "--workspace", "--offline"], check=True, cwd=tree / "agent")
    refused(build(tree, qx_node_package="other"), "none of its binaries is called limiquantix-node or qx-node")


@needs_cargo
def test_a_stale_lock_file(build: Build, tree: Path) -> None:
    spoil(tree / "agent" / "limiquantix-node" / "Cargo.toml", 'version = "0.1.0"', 'version = "0.2.0"')
    refused(build(tree), "Cargo.lock does not match Cargo.toml")


@needs_cargo
def test_a_compile_error(build: Build, tree: Path) -> None:
    spoil(tree / "agent" / "limiquantix-node" / "src" / "main.rs", "let mut dev = false;", "let mut dev: u8 = false;")
    refused(build(tree), "qx-node does not compile on localhost", "mismatched types", "expected `u8`, found `bool`")


@needs_cargo
def test_the_first_of_several_errors_is_told_whole(build: Build, tree: Path) -> None:
    main = tree / "agent" / "limiquantix-node" / "src" / "main.rs"
    spoil(
        main,
        "let mut dev = false;",
        "let mut dev: u8 = false;\n    let _second: u8 = true;\n    let _third: u8 = true;",
    )
    done = build(tree)
    refused(done, "expected `u8`, found `bool`")
    assert re.search(r"The first of \d errors", done.output), done.output
    assert len(set(re.findall(r"src/main\.rs:\d+", done.output))) == 1, done.output
    assert "Compiling" not in done.output


@needs_cargo
def test_a_target_that_is_not_installed(build: Build) -> None:
    where = subprocess.run(
        ["rustc", "--print", "target-libdir", "--target", "x86_64-unknown-linux-musl"],
        check=False,
        capture_output=True,
        text=True,
    )
    if not Path(where.stdout.strip() or "/nowhere").is_dir():
        refused(
            build(qx_node_target="x86_64-unknown-linux-musl"),
            "cannot build for x86_64-unknown-linux-musl",
            "rustup target add x86_64-unknown-linux-musl",
        )
    refused(build(qx_node_target="x86_64-nonsense"), "cannot build for x86_64-nonsense")


@needs_cargo
def test_a_linker_that_is_missing(build: Build) -> None:
    refused(build(environment={"RUSTFLAGS": "-C linker=no-such-cc"}), "A linker is missing on localhost")


@needs_cargo
def test_protoc_that_is_missing(build: Build, tree: Path) -> None:
    """In the words of prost-build, which the real agent's build script calls."""
    words_of_prost = "Could not find `protoc`. If `protoc` is installed, try setting the `PROTOC` environment variable"
    script = tree / "agent" / "limiquantix-node" / "build.rs"
    script.write_text(f'fn main() {{ panic!("{words_of_prost}"); }}\n')
    refused(build(tree), "protoc is missing on localhost", "protobuf-compiler")


@pytest.mark.parametrize(
    ("said", "means"),
    [
        (
            "error: rustup could not choose a version of cargo to run, because one wasn't specified explicitly",
            "rustup default stable",
        ),
        ("error: toolchain '1.70.0-x86_64-unknown-linux-gnu' is not installed", "rustup toolchain install"),
    ],
)
def test_a_toolchain_that_rustup_does_not_have(build: Build, tmp_path: Path, said: str, means: str) -> None:
    """In the words of rustup, of 1.24 and later."""
    cargo = tmp_path / "cargo"
    cargo.write_text(f'#!/bin/sh\necho "{said}" >&2\nexit 1\n')
    cargo.chmod(0o755)
    refused(build(qx_node_cargo=str(cargo)), means, said)


def test_an_inventory_that_becomes_root_does_not_make_the_build_root(build: Build, tmp_path: Path) -> None:
    become = {"ansible_become": True, "ansible_become_user": "nobody", "ansible_become_exe": "/bin/false"}
    cargo = tmp_path / "cargo"
    cargo.write_text('#!/bin/sh\necho "error: asked by $(id -un)" >&2\nexit 1\n')
    cargo.chmod(0o755)
    refused(build(qx_node_cargo=str(cargo), inventory=become), f"error: asked by {getpass.getuser()}")


# --- what it documents --------------------------------------------------------------------------------------------------


def test_the_documented_defaults_are_the_real_ones() -> None:
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text("utf-8"))
    specs = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text("utf-8"))["argument_specs"]
    assert {name: option["default"] for name, option in specs["main"]["options"].items()} == defaults


def test_the_readme_names_every_input_and_every_error() -> None:
    readme = (ROLE / "README.md").read_text("utf-8")
    parts = (ROLE.parents[1] / "plugins" / "module_utils" / "_node_agent").glob("*.py")
    module = "".join(part.read_text("utf-8") for part in parts)
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text("utf-8"))
    assert [name for name in defaults if f"`{name}`" not in readme] == []
    codes = set(re.findall(r'DeployError\(\s*"([a-z_]+)"', module))
    assert "read_only" in codes
    assert sorted(code for code in codes if f"| `{code}` |" not in readme) == []
