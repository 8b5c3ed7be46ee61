#!/usr/bin/python
# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switch a host to a release of qx-node, prove that it serves, and go back if it does not."""

from __future__ import annotations

DOCUMENTATION = r"""
module: qx_node_release
short_description: Switch a host to a release of the node agent qx-node, and back if it does not serve
version_added: 0.1.0
description:
  - Does the work of the role P(limiquantix.kvm.qx_node#role) on a host. Use the role rather than this module.
  - A release is a file C(BASE_DIR/releases/SHA256/qx-node). One of them is in use, through a symbolic link at O(path).
  - Switches to a release, restarts the service, and proves that qx-node serves. If it does not, the module puts back what was
    there before, restarts it and proves it, and the task fails with the last lines of the new release's log.
  - All of that happens on the host, in one process that goes on if the connection ends. If the controller or the network
    fails in between, the host ends up with a qx-node that serves. The module first writes down what it is about to do. If the
    host loses power in between, the next run finishes or undoes it.
requirements:
  - Python 3.9 or newer, and systemd or OpenRC, on the host
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
      - V(present) makes the release O(sha256) the one that runs. It must already be on the host. RV(stored) says whether it is.
      - V(previous) goes back to the release that was in use before, with its service file.
      - V(absent) stops the service, disables its start at boot, and removes what V(present) and the role put on the host. If
        V(present) found a file or link of somebody else at O(path), the latest one is put back there, but not started. The same
        holds for a service file of the host's own that O(service_file=always) has replaced.
    type: str
    choices: [present, previous, absent]
    default: present
  sha256:
    description:
      - The SHA-256 of the release. Required with O(state=present).
      - With O(state=previous), the beginning of the SHA-256 of a kept release. By default the one in use before is taken.
    type: str
  size:
    description: The size of the release in bytes, to check first whether there is room for it.
    type: int
    default: 0
  made_for:
    description:
      - What the release needs on a host, as RV(limiquantix.kvm.qx_node_binary_info#module:made_for) says.
      - If the host does not have it, the task fails before the release is copied there, also in check mode. If this is not
        given, the module finds out by starting the release with C(--version), and not in check mode.
    type: dict
    suboptions:
      machine:
        description: The machine. V(null) means that it is not an ELF program, which no host can run.
        type: str
      interpreter:
        description: The loader of the libc that it is linked with, if any.
        type: str
      glibc:
        description: The oldest glibc with which it runs, if it needs any.
        type: str
  path:
    description:
      - The path of qx-node on the host. This becomes a symbolic link.
      - If there is a file, or a link to one, that file is kept as a release.
    type: path
    default: /usr/local/bin/qx-node
  base_dir:
    description: The directory of the releases.
    type: path
    default: /opt/qx-node
  keep:
    description:
      - How many releases to keep. The current one, the previous one and what O(state=absent) would put back are always kept.
    type: int
    default: 3
  service:
    description: The name of the service.
    type: str
    default: qx-node
  service_file:
    description:
      - Whether to write the service file, a unit for systemd or a script for OpenRC.
      - V(auto) writes O(systemd_unit) or O(openrc_script) if the host has no service file or if this module wrote it. It leaves
        alone a service file of the host's own. V(always) replaces that too, and keeps it for O(state=previous) and
        O(state=absent). V(never) writes none.
      - If the host has no service file, and none is written, the task fails with C(error_code=no_service_file).
    type: str
    choices: [auto, always, never]
    default: auto
  systemd_unit:
    description: The service file for systemd. Its first line must be V(# limiquantix.kvm.qx_node).
    type: str
  openrc_script:
    description: The service file for OpenRC. Its second line must be V(# limiquantix.kvm.qx_node).
    type: str
  health_url:
    description: The URL at which qx-node says, as JSON with C(healthy), whether it is well. The host itself asks it.
    type: str
    default: http://127.0.0.1:8080/api/v1/host/health
  health_timeout:
    description: How many seconds after its start qx-node may take to become healthy.
    type: int
    default: 30
  validate_certs:
    description: Whether to check the certificate of an O(health_url) with https.
    type: bool
    default: true
  ca_path:
    description: The file with the CA certificates to check it with.
    type: path
  stay_up:
    description: How many seconds the same process must have been running before it counts as good.
    type: int
    default: 5
  libvirt_uri:
    description:
      - The libvirt whose running VMs are compared before and after a restart. If one does not run any more, the task fails with
        C(error_code=vms_gone), and the new release stays in use. Not used on hosts without C(virsh). If libvirt does not answer
        before or after, a warning says so.
    type: str
    default: qemu:///system
  log_files:
    description: The log files of qx-node. Their last lines are shown if it fails. The journal of systemd is always read.
    type: list
    elements: path
    default: []
notes:
  - It is proven that qx-node serves if the service runs, C(/proc/PID/exe) has the SHA-256 of the release, this process has been
    running for O(stay_up), and O(health_url) answers JSON with C(healthy) true. An HTML page with status 200 does not count.
    After a restart, a process of before it does not count either.
"""

EXAMPLES = r"""
- name: Go back to the release that was in use before
  limiquantix.kvm.qx_node_release:
    state: previous
"""

RETURN = r"""
stored:
  description: Whether the host has the release. V(false) is returned in check mode only. Otherwise the task fails.
  returned: O(state=present)
  type: bool
upload_to:
  description: The path to which the release must be uploaded.
  returned: O(state=present)
  type: str
differences:
  description: What was different from what the task asks for. In check mode, what is different.
  returned: always
  type: list
  elements: str
  sample: [release, service file]
sha256:
  description: The SHA-256 of the release in use. V(null) if there is none.
  returned: always
  type: str
version:
  description: The version that qx-node reports. V(null) if it was not asked, as in check mode before an upgrade.
  returned: always
  type: str
path:
  description: The path of qx-node on the host.
  returned: always
  type: str
previous_sha256:
  description: The SHA-256 of the release to which O(state=previous) would go back.
  returned: always
  type: str
service_manager:
  description: C(systemd) or C(openrc).
  returned: always
  type: str
service_file:
  description: The path of the service file.
  returned: always
  type: str
service_file_of_host:
  description: Whether the service file is the host's own. It is left alone then, unless O(service_file=always).
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
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.errors import DeployError
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.health import Health
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.host import Host
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.releases import BINARY, Releases
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.service import Run, service_of
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.service_probe import Probe, Processes

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
    except DeployError as error:
        module.fail_json(**error.to_failure())
    except OSError as error:
        module.fail_json(msg=f"{socket.gethostname()}: {error}", error_code="os_error")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
