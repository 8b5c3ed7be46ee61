# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make release` in a copy of the checkout with a repository of its own: what it makes, and what it refuses."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
NEXT, LATER = "77.1.0", "77.2.0"
VERSION_FILE = "plugins/module_utils/_values/version.py"


def git(checkout: Path, *words: str) -> str:
    names = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    return subprocess.run(
        ["git", *names, *words], cwd=checkout, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What git tracks here and would track, committed as if it were a project's first day."""
    copy = tmp_path / "checkout"
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    git(copy, "init", "--quiet")
    for key in ("user.name", "user.email"):
        git(copy, "config", key, "test@example.org")
    (copy / ".cache").mkdir()
    (copy / ".cache/venv").symlink_to(ROOT / ".cache/venv")
    # The tools of this checkout, as they are: where one is stale, a copy must not make it anew under the tests that run in it.
    (copy / "dev/gates/venv").write_text("#!/bin/sh\n")
    commit(copy)
    return copy


def commit(checkout: Path) -> None:
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "--message", "work")


def release(checkout: Path, version: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "release", f"VERSION={version}"]
    return subprocess.run(command, cwd=checkout, check=False, capture_output=True, text=True, timeout=600)


def refused(checkout: Path, version: str, reason: str) -> None:
    before = (git(checkout, "rev-parse", "HEAD"), git(checkout, "status", "--porcelain"), git(checkout, "tag"))
    done = release(checkout, version)
    assert (done.returncode != 0, reason in done.stderr) == (True, True), done.stderr
    after = (git(checkout, "rev-parse", "HEAD"), git(checkout, "status", "--porcelain"), git(checkout, "tag"))
    assert after == before


def test_a_release_has_changelog_version_artifact_and_tag_and_cannot_be_made_twice(checkout: Path) -> None:
    fragments = sorted((checkout / "changelogs/fragments").iterdir())
    assert fragments
    done = release(checkout, NEXT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert git(checkout, "status", "--porcelain") == ""
    assert git(checkout, "cat-file", "-t", NEXT) == "tag"
    assert git(checkout, "rev-parse", f"{NEXT}^{{commit}}") == git(checkout, "rev-parse", "HEAD")
    assert f'VERSION = "{NEXT}"' in (checkout / VERSION_FILE).read_text()
    readme = (checkout / "README.md").read_text()
    assert set(re.findall(r"(?:kvm:|kvm-|version: )(\d+\.\d+\.\d+)", readme)) == {NEXT}
    assert readme.count(NEXT) == 3
    assert list(yaml.safe_load((checkout / "changelogs/changelog.yaml").read_text())["releases"]) == [NEXT]
    assert not list((checkout / "changelogs/fragments").glob("*.yml"))
    with tarfile.open(checkout / f".cache/dist/limiquantix-kvm-{NEXT}.tar.gz") as artifact:
        names = artifact.getnames()
        changelog = artifact.extractfile("CHANGELOG.md")
        assert changelog
        assert f"\n## v{NEXT}\n" in changelog.read().decode().replace("\\", "")
    assert [name for name in names if name.startswith(("dev", "tests", "changelogs/fragments", "changelogs/."))] == []
    for lint in (["make", "changelog"], [ROOT / ".cache/venv/lint/bin/yamllint", "--strict", "changelogs"]):
        linted = subprocess.run(lint, cwd=checkout, check=False, capture_output=True, text=True)
        assert linted.returncode == 0, linted.stdout + linted.stderr

    refused(checkout, NEXT, f"there is a tag {NEXT}")
    git(checkout, "tag", "--delete", NEXT)
    for version in (NEXT, "77.0.9"):
        refused(checkout, version, f"the last release is {NEXT}")
    refused(checkout, LATER, "changelogs/fragments is empty")


def test_what_no_release_can_be_made_of_is_refused_and_changes_nothing(checkout: Path) -> None:
    for version in ("", "1.0", "v1.0.0", "1.0.0-rc1"):
        refused(checkout, version, "a version has three numbers")
    refused(checkout, "0.0.1", "galaxy.yml has ")
    (checkout / "notes").write_text("not committed")
    refused(checkout, NEXT, "there are changes that are not committed:\n?? notes")


def test_a_release_that_fails_half_way_leaves_the_checkout_as_it_was(checkout: Path) -> None:
    (checkout / "dev/gates/dist").write_text("#!/bin/sh\nexit 1\n")
    commit(checkout)
    refused(checkout, NEXT, "dev/gates/dist")
    assert not (checkout / "CHANGELOG.md").exists() or git(checkout, "ls-files", "CHANGELOG.md")
