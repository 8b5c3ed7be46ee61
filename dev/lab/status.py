"""What is up, as a short table."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from . import hosts
from .commands import LabError
from .host_table import HOSTS, HostSpec

FORM = "{:<13} {:<9} {:<9} {:<9} {}"


def show() -> None:
    print(FORM.format("HOST", "LIBVIRT", "QEMU", "PYTHON", "VMS"))
    with ThreadPoolExecutor(len(HOSTS)) as pool:
        for line in pool.map(_line, HOSTS):
            print(line)


def _line(spec: HostSpec) -> str:
    facts = hosts.facts_of(spec)
    if facts is None:
        return FORM.format(spec.name, "-", "-", "-", "not up")
    line = FORM.format(spec.name, facts["libvirt"], facts["qemu"], facts["python"], _vms(spec))
    if facts["without_invtsc"]:
        line += f"\n{'':<14}no tsc01: {facts['without_invtsc']}"
    return line


def _vms(spec: HostSpec) -> str:
    try:
        states: dict[str, str] = json.loads(hosts.on_host(spec, "state", timeout=30))
    except LabError as error:
        return str(error).splitlines()[-1]
    tiny = [state for name, state in states.items() if name.startswith("tiny")]
    shown = [f"{name} {state}" for name, state in states.items() if not name.startswith("tiny")]
    return ", ".join(shown + ([f"{tiny.count('running')} of {len(tiny)} tiny running"] if tiny else []))
