"""How to reach the hosts: a key of this run's own, and an ssh configuration that shares one connection per host."""

from __future__ import annotations

import shutil
import subprocess
import time
from typing import Optional

from . import processes
from .commands import run
from .host_table import HOSTS, HostSpec, named
from .paths import CONTROL_SOCKETS, PRIVATE_KEY, SSH_CONFIG

COMMON = f"""\
Host *
    User root
    IdentityFile {PRIVATE_KEY}
    IdentitiesOnly yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
    ConnectTimeout 10
    ControlMaster auto
    ControlPath {CONTROL_SOCKETS}/%n
    ControlPersist 600
"""


def prepare() -> None:
    """Key and configuration, written once; the key never enters an image."""
    CONTROL_SOCKETS.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not PRIVATE_KEY.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "limiquantix-kvm-lab", "-f", str(PRIVATE_KEY)])
    hosts = "".join(f"Host {spec.name}\n    HostName {spec.address}\n" for spec in HOSTS)
    SSH_CONFIG.write_text(hosts + COMMON)


def command(host: str, *options: str) -> list[str]:
    """With its address: the lab of another checkout, which writes that file too, may not know each of our hosts."""
    words = [word for option in (f"HostName={named(host).address}", *options) for word in ("-o", option)]
    return ["ssh", "-F", str(SSH_CONFIG), *words, host]


def _answers(spec: HostSpec) -> bool:
    """Asked without a shared connection: the first one is otherwise kept, with a host that is still starting."""
    patience = 20 if spec.metal else 2  # an emulated machine that is asked too often gets slower still
    probe = [*command(spec.name, "ControlPath=none", f"ConnectTimeout={patience}"), "true"]
    try:
        return run(probe, check=False, timeout=10 + patience).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def answers_within(spec: HostSpec, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not _answers(spec):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def disconnect(host: Optional[str] = None) -> None:
    """End the shared connections (of one host) and remove their sockets."""
    # A shared connection's process names itself after its socket.
    title = f"ssh: {CONTROL_SOCKETS}/{host or ''}"
    processes.kill(pid for pid in processes.everyone() if "".join(processes.command_line(pid)).startswith(title))
    for socket in CONTROL_SOCKETS.glob(f"{host or ''}*"):
        socket.unlink()
    if host is None:
        shutil.rmtree(CONTROL_SOCKETS, ignore_errors=True)
