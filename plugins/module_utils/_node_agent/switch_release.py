# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The change to another release, the way back, and what a killed run left. Every step can be repeated."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.errors import DeployError, NotServing
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.files import (
    link_atomically,
    write_atomically,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.host import Host, Unfinished
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.service import MARK
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.service_log import Log


def change(host: Host, to: str, text: Optional[str], restart: bool) -> str:
    """Switch, prove, or put back; return the version that serves."""
    current = host.releases.current()
    before = Unfinished(to, current, host.service.own_text(), text is not None)
    host.releases.keep_current()
    write_atomically(host.unfinished_file, json.dumps(asdict(before)), 0o600)
    vms, log = host.vms(), Log.of(host.service, host.params["log_files"])
    try:
        if text is not None:
            host.service.write(text)
        host.releases.use(to)
        if not host.service.enabled():
            host.service.enable(True)
        if restart:
            host.service.restart()
        version = host.probe.prove(to, host.params["health_timeout"], to_appear=3)
    except NotServing as reason:
        said, other = log.tail(), host.probe.in_the_way()
        raise _failed(f"{reason}.{other}", said, before, undo(host, before)) from reason
    except OSError as error:
        raise _failed(f"{error}.", [], before, undo(host, before)) from error
    finish(host, before)
    gone = sorted(vms - host.vms())
    if gone:
        raise DeployError(
            "vms_gone",
            f"The new release serves, but VMs that ran before do not run any more: {', '.join(gone)}.",
            "See libvirt's log for why they ended, and start them: virsh start VM.",
            vms=gone,
        )
    return version


def finish(host: Host, before: Unfinished) -> None:
    if before.release not in (None, before.to):
        if MARK in (before.own_file or ""):
            write_atomically(host.releases.service_text_file(before.release or ""), before.own_file or "", 0o600)
        link_atomically(host.releases.base / "previous", f"releases/{before.release}")
    host.unfinished_file.unlink()
    host.releases.prune(host.params["keep"])


def undo(host: Host, before: Unfinished) -> str:
    """Put back what was there, and return in a sentence what came of it."""
    if before.release is None:
        host.service.stop()
    if before.changes_service_file:
        with suppress(NotServing):
            if before.own_file is None:
                host.service.enable(False)
            host.service.write(before.own_file)
    if before.release is None:
        host.releases.path.unlink(missing_ok=True)
        outcome = "This host had no release before, and has none now."
    else:
        host.releases.use(before.release)
        try:
            host.service.restart()
            host.probe.prove(before.release, host.params["health_timeout"], to_appear=3)
            outcome = f"The release before ({before.release[:12]}) is back, runs and is healthy."
        except NotServing as reason:
            outcome = f"The release before is back, but QX-NODE ON THIS HOST DOES NOT SERVE: {reason}."
    if before.to != before.release:
        host.releases.forget(before.to)
    host.unfinished_file.unlink()
    return outcome


def recover(host: Host) -> Optional[str]:
    """Finish or undo what a killed run left, and say what that was."""
    before = host.unfinished()
    if before is None:
        return None
    try:
        if not host.releases.is_linked(before.to):
            raise NotServing("the switch was not made")
        host.probe.prove(before.to, host.params["health_timeout"], to_appear=3)
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
