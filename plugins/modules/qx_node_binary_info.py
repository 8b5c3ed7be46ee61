#!/usr/bin/python
# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what a binary of the agent is, and what it is made for."""

from __future__ import annotations

DOCUMENTATION = r"""
module: qx_node_binary_info
short_description: Tell what a binary of the agent qx-node is made for
version_added: 0.1.0
description:
  - Reads a program's file, on the controller or the host that has built it, for the role P(limiquantix.kvm.qx_node#role).
  - What it is made for is read off the file, so that a program for another machine can be told from here. It is not started.
author:
  - The limiquantix.kvm founders (@limiquantix)
attributes:
  check_mode:
    description: Can run in check mode. It changes nothing in any mode.
    support: full
  diff_mode:
    description: Returns what changed, or in check mode what would.
    support: N/A
  platform:
    description: Where it works.
    platforms: linux
    support: full
options:
  path:
    description: The program.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: What is this made for?
  limiquantix.kvm.qx_node_binary_info:
    path: target/release/limiquantix-node
  delegate_to: localhost
"""

RETURN = r"""
exists:
  description: Whether there is anything at O(path).
  returned: always
  type: bool
is_file:
  description: Whether that is a file. All that follows is V(null) where it is not.
  returned: always
  type: bool
sha256:
  description: Its SHA-256.
  returned: always
  type: str
size:
  description: Its bytes.
  returned: always
  type: int
made_for:
  description: What the program needs of a host. V(null) for O(path) without a file.
  returned: always
  type: dict
  contains:
    machine:
      description: The machine, mostly in the words of C(uname -m). V(null) when this is no ELF program.
      type: str
      sample: x86_64
    interpreter:
      description: The loader of the libc that it is linked for. V(null) when it is linked statically.
      type: str
      sample: /lib/ld-musl-x86_64.so.1
    glibc:
      description: The oldest glibc that will do. V(null) when it needs none.
      type: str
      sample: "2.34"
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.elf import made_for
from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.files import sha256_of


def look(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {"exists": path.exists(), "is_file": False, "sha256": None, "size": None, "made_for": None}
    size = path.stat().st_size
    return {
        "exists": True,
        "is_file": True,
        "sha256": sha256_of(path),
        "size": size,
        "made_for": made_for(path).to_result(),
    }


def main() -> None:
    """Wire, and answer."""
    module = AnsibleModule({"path": {"type": "path", "required": True}}, supports_check_mode=True)
    try:
        result = look(Path(module.params["path"]))
    except OSError as error:
        module.fail_json(msg=f"{error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
