# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong with an agent: for an operator, or for who may yet put it right."""

from __future__ import annotations

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


class DeployError(KvmError):
    """What an operator must know of a deployment."""


class NotServing(Exception):  # noqa: N818  (an outcome, not an error of ours)
    """Why the agent does not serve."""
