# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A way for Ansible into the lab's guests, which have no network: their guest agent, asked on their hypervisor."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import Any, Optional

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.connection import ConnectionBase
from lab import ssh

DOCUMENTATION = """
name: lab_guest
short_description: Run commands in a guest of the lab
description: Through the guest agent, on the hypervisor where the test made the VM.
author: [The limiquantix.kvm founders]
options:
  lab_host:
    description: The hypervisor.
    vars: [{name: lab_host}]
  lab_vm:
    description: The VM.
    vars: [{name: inventory_hostname}]
"""

# On the hypervisor, under its own Python and libvirt.
_ON_HOST = """
import json, sys, time, libvirt, libvirt_qemu
libvirt.registerErrorHandler(lambda *_words: None, None)
domain = libvirt.open("qemu:///system").lookupByName({vm!r})
def ask(command, **arguments):
    text = json.dumps({{"execute": command, "arguments": arguments}})
    return json.loads(libvirt_qemu.qemuAgentCommand(domain, text, 5, 0))["return"]
try:
    words = ["sh", "-c", {command!r}]
    started = ask("guest-exec", **{{"path": "/bin/busybox", "arg": words, "capture-output": True}})
    status = {{"exited": False}}
    while not status["exited"]:
        time.sleep(0.05)
        status = ask("guest-exec-status", pid=started["pid"])
except libvirt.libvirtError as error:
    status = {{"gone": str(error)}}
print(json.dumps(status))
"""


class Connection(ConnectionBase):
    """No files go in or out: the guests have no Python, and get raw commands only."""

    transport = "lab_guest"

    def _connect(self) -> Connection:
        return self

    def reset(self) -> None:
        """There is nothing open."""

    def exec_command(
        self, cmd: str, in_data: Optional[bytes] = None, sudoable: bool = True
    ) -> tuple[int, bytes, bytes]:
        """Run a command in the guest."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        script = _ON_HOST.format(vm=self.get_option("lab_vm"), command=cmd)
        words = [*ssh.command(self.get_option("lab_host")), "python3 -"]
        done = subprocess.run(words, input=script, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AnsibleError(f"the hypervisor: {done.stderr}")
        status: dict[str, Any] = json.loads(done.stdout)
        if "gone" in status:
            raise AnsibleConnectionFailure(status["gone"])
        said, errors = (base64.b64decode(status.get(name, "")) for name in ("out-data", "err-data"))
        return status["exitcode"], said, errors

    def put_file(self, in_path: str, out_path: str) -> None:
        """Refuse it."""
        raise AnsibleError("no file goes into a guest of the lab")

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Refuse it."""
        raise AnsibleError("no file comes out of a guest of the lab")

    def close(self) -> None:
        """There is nothing to close."""
