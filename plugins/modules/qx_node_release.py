#!/usr/bin/python
# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switch a host to a release of the agent, prove that it serves, and go back where it does not."""

from __future__ import annotations

DOCUMENTATION = r"""
module: qx_node_release
short_description: Switch a host to a release of the agent qx-node, and back where it does not serve
version_added: 0.1.0
description:
  - The host's part of the role P(limiquantix.kvm.qx_node#role), which is the way to use it.
  - A release is a file C(BASE_DIR/releases/SHA256/qx-node). One of them is in use, through a symbolic link at O(path).
  - Switches to a release, restarts the service, and proves that the agent serves. Where it does not, what was there before is put
    back, restarted and proven, and the task fails with the last lines of the new one's log.
  - All of that happens on the host, in one process that does not end with its connection. A controller that dies in
    between, or a network that goes away, leaves a host that serves. What is under way is written down first, so that the next
    run finishes or undoes what a host that lost its power left.
author:
  - The limiquantix.kvm founders (@limiquantix)
attributes:
  check_mode:
    description: Can run in check mode, and then says what it would change without changing it.
    support: full
  diff_mode:
    description: Returns what changed, or in check mode what would.
    support: full
  platform:
    description: Where it works.
    platforms: linux
    support: full
options:
  state:
    description:
      - V(present) makes the release O(sha256) the one that runs. It must lie on the host already, which RV(stored) tells.
      - V(previous) goes back to the release that was in use before, with the service file it had.
      - V(absent) stops the service and removes what V(present) and the role put there.
    type: str
    choices: [present, previous, absent]
    default: present
  sha256:
    description:
      - The release. Required with O(state=present).
      - With O(state=previous) the beginning of one that the host has kept, in place of the latest before.
    type: str
  size:
    description: Bytes of the release, to see beforehand whether there is room for it.
    type: int
    default: 0
  path:
    description:
      - Where the agent is called from. This becomes a symbolic link.
      - A file that is there, or that a link there leads to, is kept as a release.
    type: path
    default: /usr/local/bin/qx-node
  base_dir:
    description: Where releases are kept.
    type: path
    default: /opt/qx-node
  keep:
    description: How many releases to keep. The current and the previous one are kept in any case.
    type: int
    default: 3
  service:
    description: Name of the service.
    type: str
    default: qx-node
  service_file:
    description:
      - Whether to write the service's file, which is a unit of systemd or a script for OpenRC.
      - V(auto) writes it where the host has none, and where it is this module's. Others are left alone.
      - V(always) replaces the host's own, too. V(never) writes none.
    type: str
    choices: [auto, always, never]
    default: auto
  systemd_unit:
    description: The service's file for systemd. Its first line must be V(# limiquantix.kvm.qx_node).
    type: str
  openrc_script:
    description: The service's file for OpenRC. Its second line must be V(# limiquantix.kvm.qx_node).
    type: str
  health_url:
    description: Where the agent says, as JSON with C(healthy), whether it is well. Asked from the host itself.
    type: str
    default: http://127.0.0.1:8080/api/v1/host/health
  health_timeout:
    description: Seconds that the agent has for that after a start.
    type: int
    default: 30
  validate_certs:
    description: Whether to check the certificate of an O(health_url) with https.
    type: bool
    default: true
  ca_path:
    description: Certificates to check it with.
    type: path
  stay_up:
    description: Seconds that the same process must have been running before it counts as good.
    type: int
    default: 5
  libvirt_uri:
    description: Where to count the running VMs, before and after a restart. Not counted on hosts without C(virsh).
    type: str
    default: qemu:///system
  log_files:
    description: Where the agent logs, for its last lines when it fails. The journal of systemd is read anyway.
    type: list
    elements: path
    default: []
notes:
  - The proof is that the service runs, that C(/proc/PID/exe) has the SHA-256 of the release, that this process has been
    running for O(stay_up), and that O(health_url) answers JSON with C(healthy) true. A page of HTML with status 200 is not.
"""

EXAMPLES = r"""
- name: Go back to the release before
  limiquantix.kvm.qx_node_release:
    state: previous
"""

RETURN = r"""
stored:
  description: Whether the host has the release. V(false) is returned in check mode only, where nothing depends on it.
  returned: O(state=present)
  type: bool
upload_to:
  description: Where it is to be uploaded.
  returned: O(state=present)
  type: str
differences:
  description: What is or was not as wanted.
  returned: always
  type: list
  elements: str
  sample: [release, service file]
sha256:
  description: SHA-256 of the release in use. V(null) when there is none.
  returned: always
  type: str
version:
  description: What the agent says of its version. V(null) where it was not asked, as in check mode before an upgrade.
  returned: always
  type: str
path:
  description: Where the agent is called from.
  returned: always
  type: str
previous_sha256:
  description: SHA-256 of the release to which O(state=previous) would go back.
  returned: always
  type: str
service_manager:
  description: C(systemd) or C(openrc).
  returned: always
  type: str
service_file:
  description: The service's file.
  returned: always
  type: str
service_file_of_host:
  description: Whether that is the host's own, which is left alone.
  returned: always
  type: bool
error_code:
  description: A stable name of what went wrong, explained in the role's README.
  returned: failure
  type: str
"""

import fcntl
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional
from urllib.error import HTTPError

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url

from ansible_collections.limiquantix.kvm.plugins.module_utils._errors import KvmError

MARK = "# limiquantix.kvm.qx_node"  # in the service files that are ours
BINARY = "qx-node"
ROOM_TO_SPARE = 1 << 20
MACHINES = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}  # e_machine of ELF
Run = Callable[[Sequence[str]], "tuple[int, str]"]


class AgentError(KvmError):
    """What an operator must know of a deployment."""


class NotServing(Exception):  # noqa: N818  (an outcome, not an error of ours)
    """Why the agent does not serve."""


# --- what lies on the disk ---------------------------------------------------------------------------------------------


def sha256_of(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def write_atomically(file: Path, text: str, mode: int) -> None:
    """Whole or not at all, also after a power cut."""
    new = file.with_name(f".{file.name}.new")
    with new.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    new.chmod(mode)
    new.replace(file)


def link_atomically(link: Path, target: str) -> None:
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)


def standing(path: Path) -> Path:
    """Return the path itself, or the nearest folder above it that exists."""
    return path if path.exists() else standing(path.parent)


@dataclass(frozen=True)
class Releases:
    """The folder of releases, and the link that makes one of them the current."""

    base: Path
    path: Path

    def binary(self, sha: str) -> Path:
        return self.base / "releases" / sha / BINARY

    def service_text_file(self, sha: str) -> Path:
        """Return where the service file is kept that this release last ran with."""
        return self.binary(sha).with_name("service")

    def stored(self, sha: str) -> bool:
        return self.binary(sha).is_file() and sha256_of(self.binary(sha)) == sha

    def current(self) -> Optional[str]:
        return sha256_of(self.path) if self.path.is_file() else None

    def is_linked(self, sha: str) -> bool:
        return self.path.is_symlink() and os.readlink(self.path) == str(self.binary(sha))

    def previous(self) -> Optional[str]:
        link = self.base / "previous"
        sha = os.path.basename(os.readlink(link)) if link.is_symlink() else ""
        return sha if sha and self.binary(sha).is_file() else None

    def all(self) -> list[str]:
        """Return what is kept, the one used last first."""
        folders = [folder for folder in self.base.glob("releases/*") if (folder / BINARY).is_file()]
        return [folder.name for folder in sorted(folders, key=lambda folder: -folder.stat().st_mtime)]

    def keep_current(self) -> None:
        """Make a release of a file that is at the path without being one."""
        sha = self.current()
        if sha is None or self.stored(sha):
            return
        binary = self.binary(sha)
        binary.parent.mkdir(parents=True, exist_ok=True)
        new = binary.with_name(f".{BINARY}.new")
        shutil.copy2(self.path, new)
        new.replace(binary)

    def use(self, sha: str) -> None:
        binary = self.binary(sha)
        with binary.open("rb") as stream:
            os.fsync(stream.fileno())
        os.utime(binary.parent)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        link_atomically(self.path, str(binary))

    def forget(self, sha: str) -> None:
        shutil.rmtree(self.binary(sha).parent, ignore_errors=True)

    def prune(self, keep: int) -> None:
        spared = {self.current(), self.previous()}
        for number, sha in enumerate(self.all(), start=1):
            if number > keep and sha not in spared:
                self.forget(sha)


# --- the service, on either init ---------------------------------------------------------------------------------------


class Service(ABC):
    """A service of the host's init, by its name. Commands that fail are AgentErrors, but for stopping."""

    manager: str
    mode: int  # of the service's file

    def __init__(self, name: str, run: Run) -> None:
        self.name = name
        self.run = run

    @property
    @abstractmethod
    def own_file(self) -> Path:
        """Where ours goes."""

    @abstractmethod
    def file(self) -> Optional[Path]:
        """The one in force, whosever it is."""

    @abstractmethod
    def active(self) -> bool:
        """Whether the service runs."""

    @abstractmethod
    def enabled(self) -> bool:
        """Whether it starts with the host."""

    @abstractmethod
    def enable(self, wanted: bool) -> None:
        """Have it start with the host, or not."""

    @abstractmethod
    def reload(self) -> None:
        """Make a changed service file known."""

    @abstractmethod
    def restart(self) -> None:
        """Start it, or stop and start it."""

    @abstractmethod
    def stop(self) -> None:
        """Stop it."""

    def journal(self, _since: float) -> str:
        """Return what the init itself has kept of the service's words."""
        return ""

    def own_text(self) -> Optional[str]:
        return self.own_file.read_text("utf-8", errors="replace") if self.own_file.is_file() else None

    def text(self) -> Optional[str]:
        file = self.file()
        return file.read_text("utf-8", errors="replace") if file else None

    def is_ours(self) -> bool:
        return MARK in (self.text() or "").splitlines()[:2]

    def write(self, text: Optional[str]) -> None:
        if text is None:
            self.own_file.unlink(missing_ok=True)
        else:
            write_atomically(self.own_file, text, self.mode)
        self.reload()

    def do(self, *words: str) -> None:
        status, said = self.run(words)
        if status:
            raise NotServing(f"`{' '.join(words)}` failed with status {status}: {' '.join(said.split())[-500:]}")


class Systemd(Service):
    """Through systemctl."""

    manager = "systemd"
    mode = 0o644

    @property
    def own_file(self) -> Path:
        return Path(f"/etc/systemd/system/{self.name}.service")

    def _show(self, name: str) -> str:
        return self.run(["systemctl", "show", "--property", name, "--value", f"{self.name}.service"])[1].strip()

    def file(self) -> Optional[Path]:
        path = self._show("FragmentPath")
        return Path(path) if path and Path(path).is_file() else None

    def active(self) -> bool:
        return self._show("ActiveState") in {"active", "reloading"}

    def enabled(self) -> bool:
        return self.run(["systemctl", "is-enabled", "--quiet", f"{self.name}.service"])[0] == 0

    def enable(self, wanted: bool) -> None:
        self.do("systemctl", "enable" if wanted else "disable", "--quiet", f"{self.name}.service")

    def reload(self) -> None:
        self.do("systemctl", "daemon-reload")

    def restart(self) -> None:
        self.run(["systemctl", "reset-failed", f"{self.name}.service"])  # else it may have been started too often
        self.do("systemctl", "restart", f"{self.name}.service")

    def stop(self) -> None:
        self.run(["systemctl", "stop", f"{self.name}.service"])

    def journal(self, _since: float) -> str:
        words = ["--unit", f"{self.name}.service", "--since", f"@{int(_since)}", "--lines", "30", "--output", "cat"]
        return self.run(["journalctl", "--quiet", "--no-pager", *words])[1]


class OpenRC(Service):
    """Through rc-service."""

    manager = "openrc"
    mode = 0o755

    @property
    def own_file(self) -> Path:
        return Path(f"/etc/init.d/{self.name}")

    def file(self) -> Optional[Path]:
        return self.own_file if self.own_file.is_file() else None

    def active(self) -> bool:
        return self.run(["rc-service", self.name, "status"])[0] == 0

    def _runlevels(self) -> list[str]:
        return [entry.parent.name for entry in Path("/etc/runlevels").glob(f"*/{self.name}")]

    def enabled(self) -> bool:
        return bool(self._runlevels())

    def enable(self, wanted: bool) -> None:
        # Not "delete --all": that fails for each runlevel that the service is not in.
        for runlevel in ["default"] if wanted else self._runlevels():
            self.do("rc-update", "--quiet", "add" if wanted else "delete", self.name, runlevel)

    def reload(self) -> None:
        """OpenRC reads the file each time."""

    def restart(self) -> None:
        # Not "restart": of a service that has crashed it is a failure. And the old one must be gone before the next comes.
        self.stop()
        self.run(["rc-service", self.name, "zap"])
        self.do("rc-service", self.name, "start")

    def stop(self) -> None:
        self.run(["rc-service", self.name, "stop"])


def service_of(name: str, run: Run) -> Service:
    if Path("/run/systemd/system").is_dir():
        return Systemd(name, run)
    if shutil.which("rc-service"):
        return OpenRC(name, run)
    raise AgentError(
        "no_service_manager",
        "This host runs neither systemd nor OpenRC, so there is nobody to run the agent as a service.",
        "Take it out of the play.",
    )


# --- the proof ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Health:
    """The agent's own word."""

    url: str
    validate_certs: bool
    ca_path: Optional[str]

    def ask(self) -> str:
        """Return the version that answers; raise NotServing when the answer is not a healthy agent's."""
        try:
            answer = open_url(
                self.url,
                timeout=3,
                validate_certs=self.validate_certs,
                ca_path=self.ca_path,
                follow_redirects="none",
                use_proxy=False,
            )
            body = answer.read(1 << 16)
        except HTTPError as error:
            raise NotServing(f"{self.url} answers with status {error.code}") from error
        except (OSError, ValueError) as error:
            raise NotServing(f"{self.url} does not answer: {getattr(error, 'reason', error)}") from error
        try:
            said = json.loads(body)
        except ValueError:
            said = None
        if not isinstance(said, dict) or "healthy" not in said:
            start = body[:60].decode(errors="replace").split("\n")[0]
            raise NotServing(f"{self.url} answers, but not with the agent's JSON: {start!r}")
        if said["healthy"] is not True:
            raise NotServing(f"{self.url} says healthy: {json.dumps(said['healthy'])}")
        return str(said.get("version", ""))


@dataclass
class Processes:
    """The agent's processes: those that run a file called like it, wherever that lies."""

    names: frozenset[str]
    known: dict[str, str] = field(default_factory=dict)

    def running(self) -> dict[int, tuple[str, str]]:
        """Return SHA-256 and path of the program by process."""
        found = {}
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):  # it ended meanwhile, or has no program
                # A program that was replaced meanwhile is marked so.
                program = os.readlink(f"/proc/{entry}/exe").replace(" (deleted)", "")
                if os.path.basename(program) in self.names:
                    found[int(entry)] = (self._sha256(entry), program)
        return found

    def _sha256(self, pid: str) -> str:
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        key = f"{pid} {started}"
        if key not in self.known:
            self.known[key] = sha256_of(Path(f"/proc/{pid}/exe"))
        return self.known[key]

    @staticmethod
    def age(pid: int) -> float:
        started = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        return float(Path("/proc/uptime").read_text().split()[0]) - started / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Probe:
    """Whether the agent serves: it runs as a service, is the right program, stays, and says that it is well."""

    service: Service
    processes: Processes
    health: Health
    stay_up: float

    def prove(self, sha: str, seconds: float, to_appear: float) -> str:
        """Return the version that serves, or raise NotServing: at once when the process ends, else after so many seconds."""
        started = time.monotonic()
        first: Optional[int] = None
        while True:
            passed = time.monotonic() - started
            ended = NotServing(f"its process ended after {passed:.0f} s")
            try:
                pid = self._process(sha)
            except NotServing as reason:
                if first is not None:
                    raise ended from reason
                if passed > to_appear:
                    raise
            else:
                if first not in (None, pid):
                    raise ended
                first = pid
                version = self._healthy_by(started + seconds)
                if version is not None and self.processes.age(pid) >= self.stay_up:
                    return version
            time.sleep(0.2)

    def _process(self, sha: str) -> int:
        running = self.processes.running()
        right = sorted(pid for pid, (its_sha, _program) in running.items() if its_sha == sha)
        if not self.service.active():
            raise NotServing(f"the service {self.service.name} does not keep running")
        if not right:
            others = ", ".join(f"process {pid} runs {program}" for pid, (_sha, program) in running.items())
            raise NotServing(f"the service {self.service.name} does not run it ({others or 'no process is an agent'})")
        return right[0]

    def _healthy_by(self, deadline: float) -> Optional[str]:
        try:
            return self.health.ask()
        except NotServing:
            if time.monotonic() > deadline:
                raise
            return None


# --- a change, and back ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unfinished:
    """What was there before a change that is under way; kept in a file from before its first step to after its last."""

    to: str
    release: Optional[str]
    own_file: Optional[str]  # the text of the service file where ours goes
    changes_service_file: bool


@dataclass(frozen=True)
class Host:
    """All of it together."""

    releases: Releases
    service: Service
    probe: Probe
    run: Run
    params: dict[str, Any]

    @property
    def unfinished_file(self) -> Path:
        return self.releases.base / "unfinished.json"

    def unfinished(self) -> Optional[Unfinished]:
        with suppress(FileNotFoundError):
            return Unfinished(**json.loads(self.unfinished_file.read_text("utf-8")))
        return None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One change at a time: another's may still go on after its controller died."""
        self.releases.base.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + 60 + 2 * (self.params["health_timeout"] + self.params["stay_up"])
        with (self.releases.base / "lock").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise AgentError(
                            "locked", "Another run is changing this host's agent.", "Run it again when that has ended."
                        ) from None
                    time.sleep(0.2)
            yield

    def vms(self) -> set[str]:
        """Return the names of the running VMs."""
        if not shutil.which("virsh"):
            return set()
        status, said = self.run(["virsh", "-q", "-c", self.params["libvirt_uri"], "list", "--name"])
        return set(said.split("\n")) - {""} if status == 0 else set()

    def version(self, sha: str) -> str:
        """Try the release; raise AgentError where this host cannot run it."""
        status, said = self.run([str(self.releases.binary(sha)), "--version"])
        if status == 0:
            return said.strip().split("\n")[0]
        reason = " ".join(said.split())[-300:]
        made_for = machine_of(self.releases.binary(sha))
        if made_for not in (None, os.uname().machine):
            reason = f"it is built for {made_for}, and this host is {os.uname().machine}"
        elif status == 127:
            reason = (
                "the loader it was linked for is not on this host: musl on a host with glibc, or the other way round"
            )
        raise AgentError(
            "does_not_run",
            f"The new agent does not run on this host: {reason}. Nothing was changed here.",
            "Build it for this host's architecture and libc (qx_node_target), or statically.",
        )

    # The steps of a change. Each can be repeated.

    def change(self, to: str, text: Optional[str], restart: bool) -> str:
        """Switch, prove, or put back; return the version that serves."""
        current = self.releases.current()
        before = Unfinished(to, current, self.service.own_text(), text is not None)
        self.releases.keep_current()
        write_atomically(self.unfinished_file, json.dumps(asdict(before)), 0o600)
        vms, since, sizes = self.vms(), time.time(), self._log_sizes()
        try:
            if text is not None:
                self.service.write(text)
            self.releases.use(to)
            if not self.service.enabled():
                self.service.enable(True)
            if restart:
                self.service.restart()
            version = self.probe.prove(to, self.params["health_timeout"], to_appear=3)
        except NotServing as reason:
            log = self._log_tail(since, sizes)
            raise self._failed(str(reason), log, before, self.undo(before)) from reason
        except OSError as error:
            raise self._failed(str(error), [], before, self.undo(before)) from error
        self.finish(before)
        gone = sorted(vms - self.vms())
        if gone:
            raise AgentError(
                "vms_gone",
                f"The new agent serves, but VMs that ran before do not run any more: {', '.join(gone)}.",
                "See in libvirt's log why they ended, start them, and run this again.",
                vms=gone,
            )
        return version

    def finish(self, before: Unfinished) -> None:
        if before.release not in (None, before.to):
            if MARK in (before.own_file or ""):
                write_atomically(self.releases.service_text_file(before.release or ""), before.own_file or "", 0o600)
            link_atomically(self.releases.base / "previous", f"releases/{before.release}")
        self.unfinished_file.unlink()
        self.releases.prune(self.params["keep"])

    def undo(self, before: Unfinished) -> str:
        """Put back what was there, and return in a sentence what came of it."""
        if before.release is None:
            self.service.stop()
        if before.changes_service_file:
            with suppress(NotServing):
                if before.own_file is None:
                    self.service.enable(False)
                self.service.write(before.own_file)
        if before.release is None:
            self.releases.path.unlink(missing_ok=True)
            outcome = "There was no agent before, and there is none now."
        else:
            self.releases.use(before.release)
            try:
                self.service.restart()
                self.probe.prove(before.release, self.params["health_timeout"], to_appear=3)
                outcome = f"What was there before ({before.release[:12]}) is back, runs and is healthy."
            except NotServing as reason:
                outcome = f"What was there before is back, but THIS HOST'S AGENT DOES NOT SERVE: {reason}."
        if before.to != before.release:
            self.releases.forget(before.to)
        self.unfinished_file.unlink()
        return outcome

    def settle(self) -> Optional[str]:
        """Finish or undo what a killed run left, and say what that was."""
        before = self.unfinished()
        if before is None:
            return None
        try:
            if not self.releases.is_linked(before.to):
                raise NotServing("it was not switched to")
            self.probe.prove(before.to, self.params["health_timeout"], to_appear=3)
        except NotServing:
            return f"An earlier run was cut off. {self.undo(before)}"
        self.finish(before)
        return f"An earlier run was cut off; what it began ({before.to[:12]}) serves, and is kept."

    def _failed(self, reason: str, log: list[str], before: Unfinished, outcome: str) -> AgentError:
        tail = "".join(f"\n  {line}" for line in log) or " nothing"
        return AgentError(
            "not_serving",
            f"The new agent ({before.to[:12]}) was started and {reason}. {outcome} The new one's log said:{tail}",
            log=log,
            rolled_back_to=before.release,
        )

    def _log_sizes(self) -> dict[Path, int]:
        return {file: file.stat().st_size for file in map(Path, self.params["log_files"]) if file.is_file()}

    def _log_tail(self, since: float, sizes: dict[Path, int]) -> list[str]:
        texts = [self.service.journal(since)]
        for file in map(Path, self.params["log_files"]):
            with suppress(OSError), file.open("rb") as stream:
                stream.seek(max(sizes.get(file, 0), file.stat().st_size - 8192))
                texts.append(stream.read().decode(errors="replace"))
        return folded(line for line in "\n".join(texts).splitlines() if line.strip())[-15:]


def folded(lines: Iterable[str]) -> list[str]:
    """Return lines with those that repeat told once: an agent may log each of our questions."""
    counted = [(line, len(list(same))) for line, same in itertools.groupby(lines)]
    return [line if times == 1 else f"{line} ({times} times)" for line, times in counted]


def machine_of(binary: Path) -> Optional[str]:
    """Return what an ELF file is made for, in uname's words."""
    with binary.open("rb") as stream:
        head = stream.read(20)
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return "no machine (it is not an ELF program)"
    number = struct.unpack("<H" if head[5] == 1 else ">H", head[18:20])[0]
    return MACHINES.get(number, f"machine {number}")


# --- what a task asks for ----------------------------------------------------------------------------------------------


def wanted_text(host: Host) -> Optional[str]:
    """Return the service file to be written; None where the host's is left alone."""
    name = {"systemd": "systemd_unit", "openrc": "openrc_script"}[host.service.manager]
    text: Optional[str] = host.params[name]
    there = host.service.file()
    if host.params["service_file"] == "never" or text is None:
        if there is None:
            raise AgentError(
                "no_service_file",
                f"This host has no service {host.service.name}, and none is to be written (qx_node_service_file: never).",
                "Name the host's own service (qx_node_service), or let the role write one (auto).",
            )
        return None
    if MARK not in text.splitlines()[:2]:
        raise AgentError("bad_request", f"{name} lacks the line {MARK}: it would not be known as ours later.")
    if there is not None and not host.service.is_ours() and host.params["service_file"] == "auto":
        return None
    return text


def refuse_what_cannot_be_written(host: Host, sha: str, text: Optional[str]) -> None:
    releases = host.releases
    if releases.path.is_dir():
        raise AgentError("bad_request", f"{releases.path} is a folder.", "Give the agent's own path (qx_node_path).")
    stored = releases.stored(sha)
    files = [] if stored and releases.is_linked(sha) else [releases.base / "releases", releases.path.parent]
    files += [host.service.own_file.parent] if text not in (None, host.service.text()) else []
    for folder in map(standing, files):
        if not os.access(folder, os.W_OK):
            raise AgentError(
                "read_only",
                f"{folder} cannot be written: read-only, or not this user's. The agent there was not touched.",
                "Use a folder that can (qx_node_path, qx_node_base_dir), or become root.",
            )
    needed = 0 if stored else host.params["size"] + ROOM_TO_SPARE
    room = os.statvfs(standing(releases.base))
    free = room.f_bavail * room.f_frsize
    if free < needed:
        raise AgentError(
            "no_space",
            f"No room for the agent in {releases.base}: {needed >> 10} KiB are needed and {free >> 10} KiB free. "
            "The agent there was not touched.",
            "Make room, or use another qx_node_base_dir.",
        )


def differences(host: Host, sha: str, text: Optional[str]) -> tuple[list[str], Optional[str]]:
    """Return what is not as wanted, and the version that serves, when all is."""
    found = []
    if host.unfinished() is not None:
        found.append("an earlier run was cut off")
    if host.releases.current() != sha:
        found.append("release")
    elif not host.releases.is_linked(sha):
        found.append("link")
    if text is not None and text != host.service.text():
        found.append("service file")
    if not host.service.enabled():
        found.append("not started at boot")
    if {"release", "service file"} & set(found):
        return found, None
    try:
        return found, host.probe.prove(sha, seconds=3, to_appear=0)
    except NotServing as reason:
        return [*found, f"does not serve: {reason}"], None


def put(host: Host, sha: str, text: Optional[str], check: bool) -> dict[str, Any]:
    """Make this release, with this service file, the one that serves."""
    refuse_what_cannot_be_written(host, sha, text)
    found, version = differences(host, sha, text)
    result = {
        "differences": found,
        "stored": host.releases.stored(sha),
        "upload_to": str(host.releases.binary(sha)),
        "diff": diff(host, sha, text) if found else [],
    }
    if check or not found:
        return {**result, "version": version, "changed": bool(found)}
    with host.alone():
        settled = host.settle()
        if not host.releases.stored(sha):
            raise AgentError(
                "not_stored",
                f"{host.releases.binary(sha)} is not there, or is not what its name says{f' ({settled})' if settled else ''}. "
                "The agent in use was not touched.",
                "Upload it there; the role does, when it is run again.",
            )
        found, version = differences(host, sha, text)
        if found:
            host.version(sha)
            changes = text if text != host.service.text() else None
            version = host.change(sha, changes, restart=found not in (["link"], ["not started at boot"]))
    # Another run may have done it meanwhile.
    return {**result, "version": version, "changed": bool(found or settled), **({"msg": settled} if settled else {})}


def diff(host: Host, sha: str, text: Optional[str]) -> list[dict[str, str]]:
    before = host.releases.current()
    found = []
    if before != sha:
        path = str(host.releases.path)
        found.append(
            {"before_header": path, "after_header": path, "before": f"{before or 'nothing'}\n", "after": f"{sha}\n"}
        )
    if text not in (None, host.service.text()):
        file = str(host.service.own_file)
        old = host.service.text() or ""
        found.append({"before_header": file, "after_header": file, "before": old, "after": text or ""})
    return found


def present(host: Host, check: bool) -> dict[str, Any]:
    sha = host.params["sha256"].lower()
    if not re.fullmatch("[0-9a-f]{64}", sha):
        raise AgentError("bad_request", f"{sha!r} is no SHA-256.", "64 hexadecimal digits.")
    return put(host, sha, wanted_text(host), check)


def previous(host: Host, check: bool) -> dict[str, Any]:
    asked = host.params["sha256"]
    kept = host.releases.all()
    if not check and host.unfinished():
        with host.alone():
            host.settle()
    sha = next((one for one in kept if one.startswith(asked)), None) if asked else host.releases.previous()
    if sha is None:
        raise AgentError(
            "no_previous",
            f"There is no release {asked} on this host."
            if asked
            else "There is no release before the current on this host.",
            f"Kept are {', '.join(one[:12] for one in kept) or 'none'}; one of them can be named (qx_node_rollback_to).",
        )
    file = host.releases.service_text_file(sha)
    ours = host.service.is_ours() and host.params["service_file"] != "never"
    return put(host, sha, file.read_text("utf-8") if ours and file.is_file() else None, check)


def absent(host: Host, check: bool) -> dict[str, Any]:
    releases, service = host.releases, host.service
    file = service.file()
    ours = [service.own_file] if file == service.own_file and service.is_ours() else []
    linked = releases.path.is_symlink() and Path(os.readlink(releases.path)).is_relative_to(releases.base)
    paths = ours + ([releases.path] if linked else [])
    kept = [releases.base / name for name in ("previous", "unfinished.json", "lock", "releases")]
    paths += [path for path in kept if os.path.lexists(path)]
    running = file is not None and (service.active() or service.enabled())
    result = {"differences": [*map(str, paths), *(["service"] if running else [])], "version": None}
    if check or not result["differences"]:
        return {**result, "changed": bool(result["differences"])}
    if running:
        service.stop()
        service.enable(False)
    for path in paths:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if ours:
        service.reload()
    with suppress(OSError):
        releases.base.rmdir()
    return {**result, "changed": True}


def host_of(params: dict[str, Any], run: Run) -> Host:
    releases = Releases(Path(params["base_dir"]), Path(params["path"]))
    service = service_of(params["service"], run)
    processes = Processes(frozenset({BINARY, "limiquantix-node", releases.path.name}))
    health = Health(params["health_url"], params["validate_certs"], params["ca_path"])
    return Host(releases, service, Probe(service, processes, health, params["stay_up"]), run, params)


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


ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "previous", "absent"], "default": "present"},
    "sha256": {"type": "str"},
    "size": {"type": "int", "default": 0},
    "path": {"type": "path", "default": "/usr/local/bin/qx-node"},
    "base_dir": {"type": "path", "default": "/opt/qx-node"},
    "keep": {"type": "int", "default": 3},
    "service": {"type": "str", "default": "qx-node"},
    "service_file": {"type": "str", "choices": ["auto", "always", "never"], "default": "auto"},
    "systemd_unit": {"type": "str"},
    "openrc_script": {"type": "str"},
    "health_url": {"type": "str", "default": "http://127.0.0.1:8080/api/v1/host/health"},
    "health_timeout": {"type": "int", "default": 30},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
    "stay_up": {"type": "int", "default": 5},
    "libvirt_uri": {"type": "str", "default": "qemu:///system"},
    "log_files": {"type": "list", "elements": "path", "default": []},
}


def main() -> None:
    """Wire, and answer."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True, required_if=[("state", "present", ["sha256"])])
    # A switch goes on when its connection ends: away from the terminal whose end would end it, and deaf to its hang-up.
    signal.signal(signal.SIGHUP, lambda *_: None)
    with suppress(OSError):
        os.setsid()
    action = {"present": present, "previous": previous, "absent": absent}[module.params["state"]]

    def run(words: Sequence[str]) -> tuple[int, str]:
        status, out, err = module.run_command(["timeout", "90", *words], environ_update={"LC_ALL": "C"})
        return status, f"{out}{err}"

    try:
        host = host_of(module.params, run)
        result = action(host, module.check_mode)
        result = {**facts(host), **result}
    except AgentError as error:
        module.fail_json(**error.to_failure())
    except OSError as error:
        module.fail_json(msg=f"{socket.gethostname()}: {error}", error_code="os_error")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
