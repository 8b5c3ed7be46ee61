"""The Ansible inventory of the running lab."""

from __future__ import annotations

from . import hosts
from .host_table import HOSTS
from .paths import INVENTORY, SSH_CONFIG

# ansible_ssh_args replaces Ansible's own connection sharing: so its connections are those of ssh_config, which the lab
# knows and ends. Ansible's own would outlive the hosts, and meet the next lab's at the same address.
HEAD = f"""\
# Written by tests/lab/lab up; describes the hosts that are up.
hypervisors:
  vars:
    ansible_user: root
    ansible_ssh_args: -F {SSH_CONFIG}
    ansible_python_interpreter: /usr/bin/python3
  hosts:
"""


def write() -> None:
    usable = [(spec, facts) for spec in HOSTS if (facts := hosts.facts_of(spec))]
    text = HEAD
    for spec, facts in usable:
        text += f"    {spec.name}:\n"
        text += f"      ansible_host: {spec.name}\n"
        text += f'      libvirt_version: "{facts["libvirt"]}"\n'
    invtsc = "".join(f"    {spec.name}: {{}}\n" for spec, facts in usable if facts["without_invtsc"] is None)
    text += "# Hosts whose KVM runs tsc01, the VM that cannot have a memory snapshot.\n"
    text += f"invtsc:\n  hosts:\n{invtsc}" if invtsc else "invtsc:\n  hosts: {}\n"
    new = INVENTORY.with_suffix(".new")
    new.write_text(text)
    new.rename(INVENTORY)
