# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that want other builds: each gets its own, and none is changed where one of the builds fails. No host needed."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from .agent_build import TRIPLE, Build, build, needs_cargo, refused
from .agent_role import FIXTURES, sha

__all__ = ("build",)

pytestmark = pytest.mark.agent


@needs_cargo
def test_hosts_with_other_wishes_get_each_their_own_although_cargos_folder_is_the_same(
    build: Build, tmp_path: Path
) -> None:
    number = "{{ 2 if inventory_hostname == 'hv-3' else 1 }}"
    environment = {"QX_NODE_BUILD": number, "TOKEN": "hunter2"}
    done = build(FIXTURES, "-v", environment=environment)
    assert done.status == 0, done.output
    assert "hunter2" not in done.output
    told = dict(re.findall(r'^ok: \[(hv-\d)] => .*"qx_node_build": (\{.*?\}.*?\})', done.output, re.MULTILINE))
    builds = {host: json.loads(text) for host, text in told.items()}
    assert builds["hv-1"] == builds["hv-2"] != builds["hv-3"]
    for one, version in (("hv-1", b"0.1.0+1"), ("hv-3", b"0.1.0+2")):
        binary = Path(builds[one]["path"])
        assert sha(binary) == builds[one]["sha256"]
        binary.chmod(0o755)
        assert version in subprocess.run([binary, "--version"], check=True, stdout=subprocess.PIPE).stdout
    last = (tmp_path / "target/release/limiquantix-node").read_bytes()
    assert last == Path(builds["hv-3"]["path"]).read_bytes()  # cargo's own has been replaced


def test_a_build_that_takes_too_long_ends_the_play_for_every_host(build: Build, tmp_path: Path) -> None:
    """Also for one whose own build was done in time."""
    cargo = tmp_path / "cargo"
    cargo.write_text('#!/bin/sh\ncase "$*" in *--target*) exit 0 ;; esac\nexec sleep 20\n')
    cargo.chmod(0o755)
    done = build(qx_node_cargo=str(cargo), of_the_third=TRIPLE, qx_node_build_timeout=2)
    assert done.status != 0, done.output
    assert "The build took longer than 2 s" in done.output, done.output
    assert "No host was changed" in done.output
    assert "Use what was built" not in done.output


def test_a_build_host_that_cannot_be_reached_ends_the_play_for_every_host(build: Build) -> None:
    elsewhere = "{{ 'localhost' if inventory_hostname == 'hv-3' else 'nowhere.invalid' }}"
    done = build(qx_node_build_host=elsewhere, qx_node_cargo="/bin/true")
    refused(done, "nowhere.invalid cannot be reached to build there")
    assert "Use what was built" not in done.output
