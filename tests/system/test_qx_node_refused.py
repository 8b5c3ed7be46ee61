# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot run on a host is refused before anything of it is changed."""

from __future__ import annotations

import pytest
from lab.api import Host

from .agent_role import Agent, Builds, agent_of, sha
from .ansible_run import run_module
from .deployed import Deploy, deploy, host, on_one, on_the_other, refused, served, upload

__all__ = ("deploy", "host", "served")

pytestmark = pytest.mark.agent


@on_one
def test_a_checksum_that_does_not_match(host: Host, deploy: Deploy, builds: Builds, served: Agent) -> None:
    refused(deploy(builds.good(2), qx_node_binary_sha256="0" * 64), f"has the SHA-256 {sha(builds.good(2))}, not 000")
    refused(deploy(builds.folder / "nothing"), "is not there")
    assert agent_of(host) == served


@on_one
def test_what_was_damaged_on_the_host_is_brought_again(
    host: Host, deploy: Deploy, builds: Builds, served: Agent
) -> None:
    host.run(f"echo >> {served.link}", check=False)
    host.run(
        f"cp {served.link} {served.link}.new; echo damage >> {served.link}.new; mv {served.link}.new {served.link}"
    )
    assert deploy(builds.good()).status == 0
    assert agent_of(host).serves(builds.good())


@on_the_other
def test_a_binary_for_another_machine_is_refused(host: Host, deploy: Deploy, builds: Builds, served: Agent) -> None:
    head = builds.good().read_bytes()[:20]
    arm = builds.patched("aarch64", head, head[:18] + b"\xb7\x00")
    for more in (["--check"], []):
        refused(deploy(arm, *more), "built for aarch64, and this host is x86_64", "Nothing was changed")
    musl = builds.patched("musl", b"/lib64/ld-linux-x86-64.so.2", b"/lib/ld-musl-x86_64.so.1\0\0\0")
    refused(deploy(musl, "--check"), "its loader /lib/ld-musl-x86_64.so.1 is not on this host")
    newer = builds.patched("glibc", b"\0GLIBC_2.34\0", b"\0GLIBC_2.99\0")
    refused(deploy(newer, "--check"), "it needs glibc 2.99, and this host has 2.36")
    script = builds.folder / "no-program"
    script.write_text("hello\n")
    refused(deploy(script, "--check"), "not an ELF program")
    assert agent_of(host) == served


@on_the_other
def test_what_only_trying_tells(host: Host, deploy: Deploy, builds: Builds, served: Agent) -> None:
    """Of a deploy without what the binary's file says, and of a binary whose file says nothing wrong."""
    dumb = builds.patched("dumb", b"--version-V--help", b"--versiom-V--help")
    assert deploy(dumb, "--check").status == 0
    refused(deploy(dumb), "does not run on this host: error: unexpected argument '--version'", "Nothing was changed")
    head = builds.good().read_bytes()[:20]
    arm = builds.patched("aarch64", head, head[:18] + b"\xb7\x00")
    upload(host, arm)
    release = {"sha256": sha(arm), "service_file": "never"}
    tried = run_module(host, "qx_node_release", release)
    assert tried["error_code"] == "does_not_run"
    assert "built for aarch64, and this host is x86_64" in tried["msg"]
    assert agent_of(host).pids == served.pids
    assert agent_of(host).serves(builds.good())


@on_one
def test_a_full_disk_is_refused(host: Host, deploy: Deploy, builds: Builds, served: Agent) -> None:
    host.run("mkdir -p /mnt/full && mount -t tmpfs -o size=600k tmpfs /mnt/full")
    try:
        for more in (["--check"], []):
            done = deploy(builds.good(2), *more, qx_node_base_dir="/mnt/full/qx-node")
            refused(done, "There is no room for qx-node", "KiB are free")
    finally:
        host.run("umount /mnt/full")
    assert agent_of(host) == served


@on_one
def test_a_folder_from_which_nothing_runs(host: Host, deploy: Deploy, builds: Builds, served: Agent) -> None:
    host.run("mkdir -p /mnt/noexec && mount -t tmpfs -o noexec tmpfs /mnt/noexec")
    try:
        for more in (["--check"], []):
            done = deploy(builds.good(2), *more, qx_node_base_dir="/mnt/noexec/qx-node")
            refused(done, "/mnt/noexec/qx-node is on a file system that is mounted noexec")
    finally:
        host.run("umount /mnt/noexec")
    assert agent_of(host) == served


@on_the_other
def test_a_service_that_is_masked_stays_so(host: Host, deploy: Deploy, builds: Builds) -> None:
    host.run(["systemctl", "mask", "qx-node"])
    try:
        for more in (["--check"], []):
            refused(deploy(builds.good(), *more), "is masked on this host", "systemctl unmask qx-node")
        assert host.run(["readlink", "/etc/systemd/system/qx-node.service"]).stdout.strip() == "/dev/null"
    finally:
        host.run(["systemctl", "unmask", "qx-node"])
    assert agent_of(host).pids == []


@on_the_other
def test_a_drop_in_that_starts_another_program_is_named(
    host: Host, deploy: Deploy, builds: Builds, served: Agent
) -> None:
    folder = "/etc/systemd/system/qx-node.service.d"
    host.run(f"mkdir -p {folder}; printf '[Service]\\nExecStart=\\nExecStart=/bin/sleep 9\\n' >{folder}/own.conf")
    host.run("systemctl daemon-reload")
    try:
        for more in (["--check"], []):
            refused(deploy(builds.good(2), *more), f"{folder}/own.conf replaces ExecStart", "Nothing was changed")
        assert agent_of(host) == served
        host.run(f"sed -i 's|/bin/sleep 9|/usr/local/bin/qx-node|' {folder}/own.conf; systemctl daemon-reload")
        assert deploy(builds.good()).status == 0
    finally:
        host.run(f"rm -r {folder}; systemctl daemon-reload")


@on_one
def test_a_read_only_folder(host: Host, deploy: Deploy, builds: Builds, served: Agent) -> None:
    host.run("mount --bind /usr/local/bin /usr/local/bin && mount -o remount,bind,ro /usr/local/bin")
    try:
        for more in (["--check"], []):
            done = deploy(builds.good(2), *more, qx_node_base_dir="/opt/elsewhere")
            refused(done, "/usr/local/bin cannot be written: it is read-only")
    finally:
        host.run("umount /usr/local/bin")
    assert agent_of(host) == served
