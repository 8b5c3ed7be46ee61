# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with real files in a folder, and an init and an agent that are told what to do."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.errors import NotServing
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.host import Host
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.releases import Releases
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.service import MARK, Service

OURS, THEIRS = f"{MARK}\nours\n", "[Service]\ntheirs\n"


class FakeService(Service):
    """An init for which a service is a flag. What is in ``failing`` fails."""

    manager, mode = "systemd", 0o644

    def __init__(self, folder: Path) -> None:
        super().__init__("qx-node", lambda _words: (0, ""))
        self.own, self.vendors = folder / "etc/qx-node.service", folder / "usr/qx-node.service"
        for file in (self.own, self.vendors):
            file.parent.mkdir()
        self.starts = self.runs = False
        self.failing: set[str] = set()

    @property
    def own_file(self) -> Path:
        return self.own

    def file(self) -> Optional[Path]:
        return next((file for file in (self.own, self.vendors) if file.is_file()), None)

    def active(self) -> bool:
        return self.runs

    def enabled(self) -> bool:
        return self.starts

    def enable(self, wanted: bool) -> None:
        self._fail("enable" if wanted else "disable")
        self.starts = wanted

    def reload(self) -> None:
        self._fail("reload")

    def restart(self) -> None:
        self.runs = True

    def stop(self) -> None:
        self.runs = self.runs and "stop" in self.failing

    def _fail(self, what: str) -> None:
        if what in self.failing:
            raise NotServing(f"`{what}` failed")


class FakeProbe:
    """An agent that serves unless it is ``bad``."""

    def __init__(self, releases: Releases, service: FakeService) -> None:
        self.releases, self.service = releases, service
        self.bad: set[Optional[str]] = set()
        self.orphans: dict[int, tuple[str, str]] = {}
        self.processes = self

    def running(self) -> dict[int, tuple[str, str]]:
        current = self.releases.current()
        its = {7: (current, str(self.releases.path))} if self.service.runs and current else {}
        return {**its, **self.orphans}

    def prove(self, sha: str, *_times: float, older: Any = (), **_more: Any) -> str:
        if sha in self.bad or self.releases.current() != sha or not self.service.runs or {*older} & {*self.orphans}:
            raise NotServing("it is not well")
        return "1.0"

    def in_the_way(self, older: Any) -> str:
        return f" Process {min(older)} is in the way." if older else ""


def fake_host(folder: Path, **params: Any) -> Any:
    """Return a host without an agent. It is a `Host`; ``Any`` since tests look into the fakes."""
    (folder / "bin").mkdir()
    releases, service = Releases(folder / "base", folder / "bin/qx-node"), FakeService(folder)
    given = {"state": "present", "sha256": "", "size": 1, "made_for": None, "keep": 3, "log_files": []}
    given.update(service_file="auto", systemd_unit=OURS, openrc_script=OURS, libvirt_uri="test:///default")
    given.update(health_timeout=1, stay_up=0, **params)
    probe: Any = FakeProbe(releases, service)
    host = Host(releases, service, probe, lambda _words: (0, ""), given)
    return SimpleNamespace(host=host, releases=releases, service=service, probe=probe, params=given)


def bring(host: Host, content: str) -> str:
    """Bring a release there as the role does."""
    sha = hashlib.sha256(content.encode()).hexdigest()
    binary = host.releases.binary(sha)
    binary.parent.mkdir(parents=True, exist_ok=True)
    binary.write_text(content)
    return sha
