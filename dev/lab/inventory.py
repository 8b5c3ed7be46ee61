"""The Ansible inventory of the running lab."""

from __future__ import annotations

from . import hosts
from .host_table import HOSTS, OPENRC
from .paths import INVENTORY, SSH_CONFIG

# ansible_ssh_args replaces Ansible's own connection sharing: so its connections are those of ssh_config, which the lab
# knows and ends. Ansible's own would outlive the hosts, and meet the next lab's at the same address.
HEAD = f"""\
# Written by dev/lab/lab up; describes the hosts that are up.
lab:
  vars:
    ansible_user: root
    ansible_ssh_args: -F {SSH_CONFIG}
    ansible_python_interpreter: /usr/bin/python3
  hosts:
"""


def _group(name: str, purpose: str, members: list[str]) -> str:
    lines = "".join(f"    {member}: {{}}\n" for member in members)
    return f"# {purpose}\n{name}:\n  hosts:" + (f"\n{lines}" if lines else " {}\n")


def write() -> None:
    usable = {spec: facts for spec in HOSTS if (facts := hosts.facts_of(spec))}
    text = HEAD
    for spec, facts in usable.items():
        text += f'    {spec.name}:\n      ansible_host: {spec.name}\n      libvirt_version: "{facts["libvirt"]}"\n'
    fleet = [spec for spec in usable if spec.snapshots and spec.whole]
    newest = [spec.name for spec in usable if spec.snapshots and not spec.whole]
    invtsc = [spec.name for spec in fleet if usable[spec]["without_invtsc"] is None]
    text += _group("hypervisors", "The fleet that playbooks run over.", [spec.name for spec in fleet])
    text += _group(
        "newest", "Debian testing, which changes: no playbook of a test runs over it and the others at once.", newest
    )
    text += _group("invtsc", "Those whose KVM runs tsc01, the VM that cannot have a memory snapshot.", invtsc)
    text += _group("agents", "One of each init, for the agent's role.", [spec.name for spec in usable if spec.agent])
    text += _group("empty", "Hosts without a VM.", [spec.name for spec in usable if spec.vms == () and not spec.metal])
    text += _group("metal", "Machines of their own.", [spec.name for spec in usable if spec.metal])
    text += _group("openrc", "Hosts without systemd.", [spec.name for spec in usable if spec.init == OPENRC])
    new = INVENTORY.with_suffix(".new")
    new.write_text(text)
    new.rename(INVENTORY)
