"""The Ansible inventory of the running lab."""

from __future__ import annotations

from . import hosts
from .host_table import HOSTS, OPENRC
from .paths import INVENTORY, SSH_CONFIG

# ansible_ssh_args replaces Ansible's own connection sharing: so its connections are those of ssh_config, which the lab
# knows and ends. Ansible's own would outlive the hosts, and meet the next lab's at the same address.
HEAD = f"""\
# Written by tests/lab/lab up; describes the hosts that are up.
lab:
  vars:
    ansible_user: root
    ansible_ssh_args: -F {SSH_CONFIG}
    ansible_python_interpreter: /usr/bin/python3
  children:
    hypervisors: {{}}
    openrc: {{}}
    dev: {{}}
"""
# What each group is for.
HYPERVISORS = "The fleet that the tests of snapshots work on."
OPENRC_HOSTS = "Hosts without systemd, for the agent's role. Their libvirt is one that the fleet has, too."
INVTSC = "Hosts of the fleet whose KVM runs tsc01, the VM that cannot have a memory snapshot."


def _group(name: str, purpose: str, lines: list[str]) -> str:
    return f"# {purpose}\n{name}:\n  hosts:" + ("\n" + "".join(lines) if lines else " {}\n")


def write() -> None:
    usable = [(spec, facts) for spec in HOSTS if (facts := hosts.facts_of(spec))]
    entries = {
        spec: f'    {spec.name}:\n      ansible_host: {spec.name}\n      libvirt_version: "{facts["libvirt"]}"\n'
        for spec, facts in usable
    }
    invtsc = [
        f"    {spec.name}: {{}}\n" for spec, facts in usable if spec.snapshots and facts["without_invtsc"] is None
    ]
    text = HEAD
    text += _group("hypervisors", HYPERVISORS, [entry for spec, entry in entries.items() if spec.snapshots])
    text += _group("openrc", OPENRC_HOSTS, [entry for spec, entry in entries.items() if spec.init == OPENRC])
    text += _group("invtsc", INVTSC, invtsc)
    text += _group("dev", "dev only", [entry for spec, entry in entries.items() if spec.name == "hv-dev"])
    new = INVENTORY.with_suffix(".new")
    new.write_text(text)
    new.rename(INVENTORY)
