# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The change to another release, the way back, and what a killed run left. Every step can be repeated."""

from __future__ import annotations

import json
import stat
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.errors import DeployError, NotServing
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.files import (
    link_atomically,
    write_atomically,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.host import Host, Unfinished
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.service import is_marked
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.service_log import Log


def change(host: Host, to: str, text: Optional[str], restart: bool) -> tuple[str, list[str]]:
    """Switch, prove, or put back; return the version that serves, and warnings."""
    current = host.releases.current()
    before = Unfinished(
        to,
        current,
        host.service.own_text(),
        changes_service_file=text is not None,
        own_mode=host.service.own_mode(),
        host_file=host.service.file() is not None and not host.service.is_ours(),
        enabled=host.service.enabled(),
    )
    fresh = host.params["state"] == "present" and not host.releases.is_needed(to)
    host.releases.keep_current()
    write_atomically(host.unfinished_file, json.dumps(asdict(before)), 0o600)
    vms, log = host.vms(), Log.of(host.service, host.params["log_files"])
    older = frozenset(host.probe.processes.running()) if restart else frozenset[int]()
    try:
        if text is not None:
            write_service_file(host, text)
        host.releases.use(to)
        if not host.service.enabled():
            host.service.enable(True)
        if restart:
            host.service.restart()
        version = proven(host, to, older)
    except NotServing as reason:
        said, other = log.tail(), host.probe.in_the_way(older)
        raise _failed(f"{reason}.{other}", said, before, undo(host, before, fresh)) from reason
    except OSError as error:
        raise _failed(f"{error}.", [], before, undo(host, before, fresh)) from error
    finish(host, before)
    host.releases.prune(host.params["keep"])  # not where a run recovers: the release it is to bring may be an old one
    return version, _compared(vms, host.vms())


def _compared(before: Optional[set[str]], after: Optional[set[str]]) -> list[str]:
    """Raise ``vms_gone`` where VMs have ended; return a warning where libvirt did not tell."""
    if before is None or after is None:
        when = "before" if before is None else "after"
        return [
            f"Whether all VMs still run is not known: libvirt did not list them {when} the change. "
            "Look there: virsh list --all."
        ]
    gone = sorted(before - after)
    if gone:
        raise DeployError(
            "vms_gone",
            f"The new release serves, but VMs that ran before do not run any more: {', '.join(gone)}.",
            "See libvirt's log for why they ended, and start them: virsh start VM.",
            vms=gone,
        )
    return []


def proven(host: Host, sha: str, older: Collection[int] = ()) -> str:
    """Return the version that serves; not by a process of before the restart, which nobody has ended."""
    return host.probe.prove(sha, host.params["health_timeout"], to_appear=3, older=older)


def write_service_file(host: Host, text: str) -> None:
    """Write ours; or put back the host's own, which is another file where the text is empty."""
    theirs = host.releases.original_service
    if not text:
        host.service.enable(False)  # its links lead to the file that goes
    keep_mode = theirs.is_file() and not is_marked(text)
    host.service.write(text, stat.S_IMODE(theirs.stat().st_mode) if keep_mode else None)


def finish(host: Host, before: Unfinished) -> None:
    releases, ours = host.releases, is_marked(before.own_file)
    if before.changes_service_file and (before.host_file or (before.own_file and not ours)):
        mode = before.own_mode or host.service.mode
        write_atomically(releases.original_service, before.own_file or "", mode)
    if before.release is not None and before.release != before.to:
        with_it = releases.service_text_file(before.release)
        if ours:
            write_atomically(with_it, before.own_file or "", 0o600)
        else:
            with_it.unlink(missing_ok=True)  # it ran with the host's own
        link_atomically(releases.base / "previous", f"releases/{before.release}")
    releases.note_use(before.to)
    host.unfinished_file.unlink()


def undo(host: Host, before: Unfinished, fresh: bool = False) -> str:
    """Put back what was there, and return in a sentence what came of it. A fresh release, just brought, goes."""
    if before.release is None:
        host.service.stop()
    _put_service_back(host, before)
    if before.release is None:
        host.releases.path.unlink(missing_ok=True)
        outcome = "This host had no release before, and has none now."
    elif not host.releases.stored(before.release):
        outcome = (
            f"The release before ({before.release[:12]}) is missing or damaged, and did not come back: "
            "QX-NODE ON THIS HOST DOES NOT SERVE."
        )
    else:
        host.releases.use(before.release)
        try:
            older = frozenset(host.probe.processes.running())
            host.service.restart()
            proven(host, before.release, older)
            outcome = f"The release before ({before.release[:12]}) is back, runs and is healthy."
        except NotServing as reason:
            outcome = f"The release before is back, but QX-NODE ON THIS HOST DOES NOT SERVE: {reason}."
    if fresh and not host.releases.is_linked(before.to):
        host.releases.forget(before.to)
    host.unfinished_file.unlink()
    return outcome


def _put_service_back(host: Host, before: Unfinished) -> None:
    """Put back its file, and whether it starts with the host: each as far as the host lets it."""
    service = host.service
    if before.changes_service_file:
        if before.own_file is None:
            with suppress(NotServing):
                service.enable(False)  # its links lead to the file that goes
        with suppress(NotServing):
            service.write(before.own_file, before.own_mode)
    with suppress(NotServing):
        if before.enabled is not None and before.enabled != service.enabled():
            service.enable(before.enabled)


def recover(host: Host) -> Optional[str]:
    """Finish or undo what a killed run left, and say what that was."""
    before = host.unfinished()
    if before is None:
        return None
    try:
        if not host.releases.is_linked(before.to):
            raise NotServing("the switch was not made")
        proven(host, before.to)
    except NotServing:
        return f"An earlier run was interrupted. {undo(host, before)}"
    finish(host, before)
    return f"An earlier run was interrupted. Its release ({before.to[:12]}) serves, and stays."


def _failed(reason: str, log: list[str], before: Unfinished, outcome: str) -> DeployError:
    tail = "".join(f"\n  {line}" for line in log) or " nothing"
    return DeployError(
        "not_serving",
        f"The new release ({before.to[:12]}) does not serve: {reason} {outcome} Correct the new one, and run the role "
        f"again. Its log says:{tail}",
        log=log,
        rolled_back_to=before.release,
    )
