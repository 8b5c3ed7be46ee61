# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one family of errors every layer raises and ``main()`` reports."""

from __future__ import annotations

from typing import Any


class KvmError(Exception):
    """Something an operator must know: what happened, to which VM, and what to do now.

    ``error_code`` is stable, for plays that branch on it; ``remedy`` is a sentence that says what to do;
    ``details`` holds values behind the message (blockers, numbers of bytes, paths), ready for JSON. ``files_removed`` are
    those that were deleted before it happened, ``changed`` tells that the VM is on other images for what was done before.
    """

    def __init__(self, error_code: str, message: str, remedy: str = "", **details: Any) -> None:
        super().__init__(message)
        self.error_code = error_code
        self.message = message
        self.remedy = remedy
        self.details = details
        self.files_removed: tuple[str, ...] = ()
        self.changed = False

    @property
    def full_message(self) -> str:
        """The message and, behind it, the way out."""
        return f"{self.message} {self.remedy}".strip()

    def to_failure(self) -> dict[str, Any]:
        """Return keyword arguments for ``fail_json``."""
        failure: dict[str, Any] = {"msg": self.full_message, "error_code": self.error_code}
        if self.details:
            failure["details"] = self.details
        return failure
