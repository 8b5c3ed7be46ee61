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
      - V(absent) stops the service, has it not start with the host, and removes what V(present) and the role put there.
        The latest file or link that V(present) has found at O(path), and that was not its own, is put back there but not started.
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
  made_for:
    description:
      - What the release needs of a host, as RV(limiquantix.kvm.qx_node_binary_info#module:made_for) tells.
      - A host that has not got it is refused before the release lies there, in check mode too. Else only trying it tells.
    type: dict
    suboptions:
      machine:
        description: The machine. V(null) is no ELF program, which no host can run.
        type: str
      interpreter:
        description: The loader of the libc that it is linked for, if any.
        type: str
      glibc:
        description: The oldest glibc that will do, if any.
        type: str
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
    description:
      - How many releases to keep. The current, the previous and what O(state=absent) would put back are kept in any case.
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

import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.actions import (
    absent,
    facts,
    present,
    previous,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.errors import AgentError
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.health import Health
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.host import Host
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.probe import Probe, Processes
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.releases import BINARY, Releases
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.service import Run, service_of

# All of it is imported here, at the start: the process may outlive the connection that brought its files.

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "previous", "absent"], "default": "present"},
    "sha256": {"type": "str"},
    "size": {"type": "int", "default": 0},
    "made_for": {"type": "dict", "options": {name: {"type": "str"} for name in ("machine", "interpreter", "glibc")}},
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


def host_of(params: dict[str, Any], run: Run) -> Host:
    releases = Releases(Path(params["base_dir"]), Path(params["path"]))
    service = service_of(params["service"], run)
    processes = Processes(frozenset({BINARY, "limiquantix-node", releases.path.name}))
    health = Health(params["health_url"], params["validate_certs"], params["ca_path"])
    return Host(releases, service, Probe(service, processes, health, params["stay_up"]), run, params)


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
