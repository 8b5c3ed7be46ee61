#!/usr/bin/python
# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of an action plugin: nothing runs on the guest but one command of its shell."""

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_answers
short_description: Wait until a guest answers, also a guest without Python
version_added: 0.1.0
description:
  - Opens a new connection to the guest and runs C(exit 0) in its shell, again and again until that succeeds.
  - Used by the role P(limiquantix.kvm.guarded_change#role). C(ansible.builtin.wait_for_connection) needs Python in the guest,
    and this does not.
requirements:
  - a shell in the guest
author:
  - The limiquantix.kvm founders (@limiquantix)
attributes:
  action:
    description: It runs on the controller.
    support: full
  check_mode:
    description: Can run in check mode. It changes nothing in any mode.
    support: full
  diff_mode:
    description: Returns what changed, or in check mode what would.
    support: N/A
  platform:
    description: Where it works.
    platforms: all
    support: full
options:
  timeout:
    description:
      - How many seconds to wait. The guest is asked once in any case.
      - The task fails if the guest does not answer.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Wait until the guest answers
  limiquantix.kvm.guest_answers:
    timeout: 120
"""

RETURN = r"""
elapsed:
  description: How many seconds that took.
  returned: always
  type: int
"""
