#!/usr/bin/python
# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what a binary of qx-node is, and which hosts it is made for."""

from __future__ import annotations

DOCUMENTATION = r"""
module: qx_node_binary_info
short_description: Show which hosts a binary of the node agent qx-node is made for
version_added: 0.1.0
description:
  - Reads the file of a program, on the controller or on the host that built it, for the role P(limiquantix.kvm.qx_node#role).
  - Only reads the file and does not start the program, so it also works for a program that is made for another machine.
requirements:
  - Python 3.9 or newer where the module runs
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
- name: Show which hosts this binary is made for
  limiquantix.kvm.qx_node_binary_info:
    path: target/release/limiquantix-node
  delegate_to: localhost
"""

RETURN = r"""
path:
  description: The path, with the user's home in the place of C(~).
  returned: always
  type: str
exists:
  description: Whether there is a file or directory at O(path).
  returned: always
  type: bool
is_file:
  description: Whether it is a file. If not, the keys below are V(null).
  returned: always
  type: bool
sha256:
  description: Its SHA-256.
  returned: always
  type: str
size:
  description: Its size in bytes.
  returned: always
  type: int
made_for:
  description: What the program needs on a host. V(null) if O(path) is not a file.
  returned: always
  type: dict
  contains:
    machine:
      description: The machine, in most cases as C(uname -m) says it. V(null) if the file is not an ELF program.
      type: str
      sample: x86_64
    interpreter:
      description: The loader of the libc that it is linked with. V(null) if it is linked statically.
      type: str
      sample: /lib/ld-musl-x86_64.so.1
    glibc:
      description: The oldest glibc with which it runs. V(null) if it needs no glibc.
      type: str
      sample: "2.34"
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.limiquantix.kvm.plugins.module_utils._node_agent.elf_binary import made_for
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
    module.exit_json(path=module.params["path"], **result)


if __name__ == "__main__":
    main()
