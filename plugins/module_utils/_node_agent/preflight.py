# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task wishes, how the host differs from it, and what is refused before anything is touched."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.elf_binary import Here, MadeFor, unfit
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.errors import DeployError, NotServing
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.files import standing
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.host import Host, does_not_run
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.service import MARK, is_marked

ROOM_TO_SPARE = 1 << 20  # bytes
TIME_TO_END = 5  # seconds, of a process whose service is stopped


def wanted_text(host: Host) -> Optional[str]:
    """Return the service file to be written; None where the host's is left alone."""
    name = {"systemd": "systemd_unit", "openrc": "openrc_script"}[host.service.manager]
    text: Optional[str] = host.params[name]
    there = host.service.file()
    if host.params["service_file"] == "never" or text is None:
        if there is None:
            raise DeployError(
                "no_service_file",
                f"This host has no service {host.service.name}, and the role may not write one (qx_node_service_file: never).",
                "Name the host's own service (qx_node_service), or let the role write one (qx_node_service_file: auto).",
            )
        return None
    if not is_marked(text):
        raise DeployError(
            "bad_request",
            f"{name} does not have the line {MARK} at its top, by which later runs know that the file is the role's.",
            "Add that line.",
        )
    if there is not None and not host.service.is_ours() and host.params["service_file"] == "auto":
        return None
    return text


def refuse_what_cannot_run(host: Host, sha: str) -> None:
    """Foretell what trying it on this host would show, where the task says what the release was made for."""
    needs = host.params["made_for"]
    if needs and host.releases.current() != sha:
        reason = unfit(MadeFor(**needs), Here.now())
        if reason is not None:
            raise does_not_run(reason)


def refuse_what_the_operator_forbids(host: Host) -> None:
    """Raise ``masked`` or ``overridden`` where somebody has seen to it that the service does not start our program."""
    name, program = host.service.name, str(host.releases.path)
    if host.service.masked():
        raise DeployError(
            "masked",
            f"The service {name} is masked on this host (systemctl mask): it must not run. Nothing was changed on this host.",
            f"If qx-node is to run here, run: systemctl unmask {name}. If not, take the host out of the play.",
        )
    drop_in = host.service.overridden(program)
    if drop_in:
        raise DeployError(
            "overridden",
            f"{drop_in} replaces ExecStart of the service {name}: systemd would not start {program}. Nothing was changed on "
            "this host.",
            f"Take ExecStart out of that file and run: systemctl daemon-reload. Or have it start {program}, or take the host "
            "out of the play.",
        )


def refuse_what_cannot_be_written(host: Host, sha: str, text: Optional[str]) -> None:
    releases = host.releases
    if releases.path.is_dir():
        raise DeployError(
            "bad_request", f"{releases.path} is a folder.", "Give the path of qx-node itself (qx_node_path)."
        )
    stored = releases.stored(sha)
    files = [] if stored and releases.is_linked(sha) else [releases.base / "releases", releases.path.parent]
    files += [host.service.own_file.parent] if host.service.differs(text) else []
    for folder in map(standing, files):
        if not os.access(folder, os.W_OK):
            raise DeployError(
                "read_only",
                f"{folder} cannot be written: it is read-only, or belongs to another user. The release in use was not touched.",
                "Use another folder (qx_node_path, qx_node_base_dir), or run as root (become: true).",
            )
    needed = 0 if stored else host.params["size"] + ROOM_TO_SPARE
    room = os.statvfs(standing(releases.base))
    if room.f_flag & os.ST_NOEXEC:
        raise DeployError(
            "does_not_run",
            f"{releases.base} is on a file system that is mounted noexec: no program runs from there. The release in use was "
            "not touched.",
            "Use another folder (qx_node_base_dir), or mount that file system without noexec.",
        )
    free = room.f_bavail * room.f_frsize
    if free < needed:
        raise DeployError(
            "no_space",
            f"There is no room for qx-node in {releases.base}: it needs {needed >> 10} KiB, and {free >> 10} KiB are free. "
            "The release in use was not touched.",
            "Make room, or use another folder (qx_node_base_dir).",
        )


def differences(host: Host, sha: str, text: Optional[str]) -> tuple[list[str], Optional[str]]:
    """Return what is not as wanted, and the version that serves, when all is."""
    found = []
    if host.unfinished() is not None:
        found.append("an earlier run was interrupted")
    if host.releases.current() != sha:
        found.append("release")
    elif not host.releases.is_linked(sha):
        found.append("link")
    if host.service.differs(text):
        found.append("service file")
    if not host.service.enabled():
        found.append("not started at boot")
    if {"release", "service file"} & set(found):
        return found, None
    try:
        return found, host.probe.prove(sha, seconds=3, to_appear=0)
    except NotServing as reason:
        return [*found, f"does not serve: {reason}"], None


def diff(host: Host, sha: str, text: Optional[str]) -> list[dict[str, str]]:
    before = host.releases.current()
    found = []
    if before != sha:
        path = str(host.releases.path)
        found.append(
            {"before_header": path, "after_header": path, "before": f"{before or 'nothing'}\n", "after": f"{sha}\n"}
        )
    if host.service.differs(text):
        file, old = str(host.service.own_file), host.service.text()
        found.append({"before_header": file, "after_header": file, "before": old or "", "after": text or ""})
    return found


def removal(host: Host) -> tuple[list[Path], bool]:
    """Return all of the role's that is on the host, and whether the service runs or starts with the host."""
    releases, service = host.releases, host.service
    file = service.file()
    ours = [service.own_file] if file == service.own_file and service.is_ours() else []
    linked = [releases.path] if releases.is_ours() else []
    names = ("previous", "original", "original-service", "unfinished.json", "lock", "releases")
    kept = [path for path in (releases.base / name for name in names) if os.path.lexists(path)]
    return [*ours, *linked, *kept], file is not None and (service.active() or service.enabled())


def refuse_what_cannot_be_removed(paths: list[Path]) -> None:
    for folder in {path.parent: None for path in paths}:
        if not os.access(folder, os.W_OK):
            raise DeployError(
                "read_only",
                f"{folder} cannot be written: it is read-only, or belongs to another user. Nothing was removed from this host.",
                "Have it mounted writable, or run as root (become: true).",
            )


def refuse_what_still_runs(host: Host) -> None:
    """Raise ``still_running`` where the service has stopped, or has not, and a release runs on."""
    kept, deadline = {host.releases.current(), *host.releases.all()}, time.monotonic() + TIME_TO_END
    while True:
        running = host.probe.processes.running()
        left = {pid: program for pid, (sha, program) in running.items() if sha in kept}
        if not left:
            return
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    named = ", ".join(f"process {pid} runs {program}" for pid, program in left.items())
    raise DeployError(
        "still_running",
        f"The service {host.service.name} was stopped on this host, but qx-node still runs: {named}. Nothing was removed.",
        f"End it (kill {' '.join(map(str, left))}), and remove qx-node again.",
        processes=sorted(left),
    )


def removal_diff(host: Host, paths: list[Path], serving: bool) -> list[dict[str, str]]:
    """Return what goes when the agent is removed, and what comes back in the place of its link."""
    releases, header = host.releases, "qx-node on this host"
    gone = [f"{path} -> {os.readlink(path)}" if path.is_symlink() else str(path) for path in paths]
    gone += [f"the service {host.service.name}, which runs or starts with the host"] if serving else []
    back = releases.to_put_back() if releases.path in paths else None
    after = f"{releases.path}, as it was before this role: {back}\n" if back else ""
    theirs, file = releases.original_service, host.service.own_file
    if file in paths and theirs.is_file() and theirs.stat().st_size:
        after += f"{file}, as it was before this role\n"
    return [
        {
            "before_header": header,
            "after_header": header,
            "before": "".join(f"{line}\n" for line in gone),
            "after": after,
        }
    ]
