# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Python of a host is taken where Ansible has chosen one without the libraries."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor import other_python


def python(folder: Path, name: str, status: int = 0) -> str:
    """Write a program that ends as a Python with (0) or without the libraries would."""
    program = folder / name
    program.write_text(f"#!/bin/sh\nexit {status}\n")
    program.chmod(0o755)
    return str(program)


def test_the_first_that_has_both_libraries_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python(tmp_path, "python3", status=1)
    python(tmp_path, "python3.9")
    newest = python(tmp_path, "python3.12")
    python(tmp_path, "python3.12-config")
    monkeypatch.setattr(other_python, "_USUAL", (f"{tmp_path}/python3", f"{tmp_path}/python3.*[0-9]"))
    assert other_python.another_python() == newest.replace("3.12", "3.9")  # sorted as text: any will do


def test_none_is_taken_where_no_other_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = python(tmp_path, "python3", status=1)
    broken = tmp_path / "python3.11"
    broken.write_text("no program")
    monkeypatch.setattr(other_python, "_USUAL", (lacking, str(broken), f"{tmp_path}/nothing", sys.executable))
    assert other_python.another_python() is None


def test_a_real_python_without_the_libraries_is_told_apart(tmp_path: Path) -> None:
    assert not other_python._has_libraries(str(tmp_path / "nothing"))
    (tmp_path / "libvirt.py").write_text("raise ImportError\n")
    isolated = python(tmp_path, "isolated")
    Path(isolated).write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    assert not other_python._has_libraries(isolated)
    (tmp_path / "libvirt.py").write_text("")
    (tmp_path / "lxml").mkdir()
    (tmp_path / "lxml" / "__init__.py").write_text("")
    (tmp_path / "lxml" / "etree.py").write_text("")
    assert other_python._has_libraries(isolated)


@pytest.mark.parametrize("backend", ["mock", "qx_node"])
def test_other_backends_stay_where_they_are(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_python, "another_python", lambda: pytest.fail("nobody needs another Python"))
    other_python.go_where_libraries_are({"backend": backend})
