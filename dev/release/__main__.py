"""Make a release: changelog, versions, artifact, commit and tag. `make release VERSION=1.0.0` runs it.

It refuses before it changes anything, and where a step fails it puts the checkout back. It publishes nothing: what it made is
looked at, and then pushed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
NUMBER = re.compile(r"(\d+)\.(\d+)\.(\d+)")
# How README and the guides name the release: its artifact, on a command line, and pinned in a requirements.yml.
PINNED = ("limiquantix-kvm-{}.tar.gz", "limiquantix.kvm:{}", "  - name: limiquantix.kvm\n    version: {}\n")


class RefusedError(Exception):
    """Why there is no release; nothing was changed."""


def main() -> int:
    version = sys.argv[1] if len(sys.argv) == 2 else ""
    try:
        artifact = release(version)
    except RefusedError as reason:
        print(f"No release {version or '(make release VERSION=1.0.0)'}: {reason}", file=sys.stderr)
        return 1
    print(f"{artifact}\nLook at it, and at: git show {version}\nThen: git push --follow-tags")
    print(f"To undo it before that: git tag -d {version} && git reset --hard HEAD^")
    return 0


def release(version: str) -> str:
    """Return the artifact's path."""
    check(version)
    start = git("rev-parse", "HEAD")
    try:
        write_version(version)
        run("antsibull-changelog", "release", "--version", version)
        run("antsibull-changelog", "lint-changelog-yaml", "changelogs/changelog.yaml")
        git("add", "--all")
        git("commit", "--quiet", "--message", f"Release {version}")
        artifact = run("dev/gates/dist")
        if not artifact.endswith(f"limiquantix-kvm-{version}.tar.gz"):
            raise subprocess.SubprocessError(f"the artifact is {artifact}")
        git("tag", "--annotate", version, "--message", f"limiquantix.kvm {version}")
    except BaseException:
        git("reset", "--quiet", "--hard", start)
        git("clean", "--quiet", "--force", "-d", "-x", "--", "CHANGELOG.md", "changelogs")
        raise
    return artifact


def check(version: str) -> None:
    """Refuse what no release can be made of."""
    if not NUMBER.fullmatch(version):
        raise RefusedError("a version has three numbers, such as 1.0.0.")
    if dirty := git("status", "--porcelain"):
        raise RefusedError(f"there are changes that are not committed:\n{dirty}")
    tags = git("tag", "--list").split()
    if version in tags:
        raise RefusedError(f"there is a tag {version}.")
    released = [*yaml.safe_load(Path("changelogs/changelog.yaml").read_text("utf-8"))["releases"], *tags]
    last = max((one for one in released if NUMBER.fullmatch(one)), key=number, default="")
    if last and number(version) <= number(last):
        raise RefusedError(f"the last release is {last}.")
    if number(version) < number(now()):
        raise RefusedError(f"galaxy.yml has {now()}.")
    if not list(Path("changelogs/fragments").glob("*.yml")):
        raise RefusedError("changelogs/fragments is empty: nothing has changed.")


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def now() -> str:
    """Return the version that the checkout has."""
    found: str = yaml.safe_load(Path("galaxy.yml").read_text("utf-8"))["version"]
    return found


def write_version(version: str) -> None:
    """Write it where a version stands: for Galaxy, for hosts, which have no galaxy.yml, and where a page has it."""
    old = now()
    replace_in(Path("galaxy.yml"), f"\nversion: {old}\n", f"\nversion: {version}\n")
    replace_in(Path("plugins/module_utils/_values/version.py"), f'\nVERSION = "{old}"\n', f'\nVERSION = "{version}"\n')
    for path in (Path("README.md"), *Path("docs/docsite/rst").glob("*.rst")):
        text = path.read_text("utf-8")
        for form in PINNED:
            text = text.replace(form.format(old), form.format(version))
        path.write_text(text, "utf-8")


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    if text.count(old) != 1:
        raise subprocess.SubprocessError(f"{path} does not have {old.strip()} once")
    path.write_text(text.replace(old, new), "utf-8")


def git(*words: str) -> str:
    return run("git", *words)


def run(*words: str) -> str:
    return subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
