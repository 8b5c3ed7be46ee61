# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each state of a task does."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.errors import DeployError, NotServing
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.host import Host
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.preflight import (
    diff,
    differences,
    refuse_what_cannot_be_removed,
    refuse_what_cannot_be_written,
    refuse_what_cannot_run,
    refuse_what_still_runs,
    refuse_what_the_operator_forbids,
    removal,
    removal_diff,
    wanted_text,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.switch_release import (
    change,
    recover,
    write_service_file,
)


def put(host: Host, sha: str, wanted: Callable[[], Optional[str]], check: bool) -> dict[str, Any]:
    """Make this release, with the service file that is wanted, the one that serves."""
    refuse_what_the_operator_forbids(host)
    text = wanted()
    refuse_what_cannot_be_written(host, sha, text)
    found, version = differences(host, sha, text)
    result: dict[str, Any] = {
        "differences": found,
        "stored": host.releases.stored(sha),
        "upload_to": str(host.releases.binary(sha)),
        "diff": diff(host, sha, text) if found else [],
    }
    if check or not found:
        return {**result, "version": version, "changed": bool(found)}
    with host.alone():
        recovered = recover(host)
        if not host.releases.stored(sha):
            raise DeployError(
                "not_stored",
                f"{host.releases.binary(sha)} is missing or damaged{f' ({recovered})' if recovered else ''}. "
                "The release in use was not touched.",
                "Run the role again with that release: it uploads it. For a rollback, name another one (qx_node_rollback_to).",
            )
        text = wanted()  # anew: the host's own service file may be back
        found, version = differences(host, sha, text)
        if found:
            host.version(sha)
            changes = text if host.service.differs(text) else None
            restart = found not in (["link"], ["not started at boot"])
            version, result["warnings"] = change(host, sha, changes, restart)
    # Another run may have done it meanwhile.
    return {
        **result,
        "version": version,
        "changed": bool(found or recovered),
        **({"msg": recovered} if recovered else {}),
    }


def present(host: Host, check: bool) -> dict[str, Any]:
    sha = host.params["sha256"].lower()
    if not re.fullmatch("[0-9a-f]{64}", sha):
        raise DeployError("bad_request", f"{sha!r} is not a SHA-256.", "Give 64 hexadecimal digits.")
    refuse_what_cannot_run(host, sha)
    return put(host, sha, lambda: wanted_text(host), check)


def previous(host: Host, check: bool) -> dict[str, Any]:
    asked = host.params["sha256"]
    kept = host.releases.all()
    if not check and host.unfinished():
        with host.alone():
            recover(host)
    sha = next((one for one in kept if one.startswith(asked)), None) if asked else host.releases.previous()
    if sha is None:
        raise DeployError(
            "no_previous",
            f"There is no release {asked} on this host."
            if asked
            else "There is no release before the current one on this host.",
            f"Name one that this host has kept (qx_node_rollback_to): {', '.join(one[:12] for one in kept)}."
            if kept
            else "This host has kept no release. Deploy one first.",
        )
    return put(host, sha, lambda: _text_with(host, sha), check)


def _text_with(host: Host, sha: str) -> Optional[str]:
    """Return the service file that a release last ran with: ours, else the host's own, which ours has replaced since."""
    wish = host.params["service_file"]
    if wish == "never" or (wish == "auto" and not host.service.is_ours()):
        return None
    kept = (host.releases.service_text_file(sha), host.releases.original_service)
    return next((file.read_text("utf-8") for file in kept if file.is_file()), None)


def absent(host: Host, check: bool) -> dict[str, Any]:
    paths, running = removal(host)
    found = [*map(str, paths), *(["service"] if running else [])]
    result = {"differences": found, "version": None, "diff": removal_diff(host, paths, running) if found else []}
    if check or not found:
        return {**result, "changed": bool(found)}
    refuse_what_cannot_be_removed(paths)
    with host.alone():
        recovered = recover(host)
        try:
            _remove(host)
        except NotServing as reason:
            raise DeployError(
                "init_failed",
                f"This host's {host.service.manager} failed while qx-node was being removed: {reason}. "
                "The service is stopped, and some of qx-node may still be there.",
                "Correct what it says, and remove qx-node again: that removes the rest.",
            ) from reason
    return {**result, "changed": True, **({"msg": recovered} if recovered else {})}


def _remove(host: Host) -> None:
    """Stop the agent, delete all of the role's, and put the host's own back. The lock goes last."""
    paths, running = removal(host)
    releases, service = host.releases, host.service
    if running:
        service.stop()
    refuse_what_still_runs(host)
    if running:
        service.enable(False)
    if releases.path in paths:
        releases.leave()
    if service.own_file in paths:
        write_service_file(host, _theirs(host))
    else:
        service.reload()  # it may have failed the last time
    for path in paths:
        if path not in (releases.path, service.own_file):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (releases.base / "lock").unlink(missing_ok=True)
    with suppress(OSError):
        releases.base.rmdir()


def _theirs(host: Host) -> str:
    kept = host.releases.original_service
    return kept.read_text("utf-8") if kept.is_file() else ""


def facts(host: Host) -> dict[str, Any]:
    """Return what every state says in the end."""
    file = host.service.file()
    return {
        "sha256": host.releases.current(),
        "path": str(host.releases.path),
        "previous_sha256": host.releases.previous(),
        "service_manager": host.service.manager,
        "service_file": str(file or host.service.own_file),
        "service_file_of_host": file is not None and not host.service.is_ours(),
    }
