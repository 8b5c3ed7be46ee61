# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a file that somebody has open, or needs: who that is, and how to find out more."""

from __future__ import annotations

import shlex
from typing import Optional

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError


def _who(file: str, pid: Optional[int]) -> tuple[str, str]:
    """Return who has a file open, and how to find out more; ``pid`` is None where it is no process of this host."""
    if pid is None:
        who = "somebody who is no process of this host (a VM or a program on another host, or in a container)"
        return who, f"Find out who it is: on each host that has this storage, run: fuser -v {shlex.quote(file)}."
    return f"process {pid}", f"Find out which process it is: ps -fp {pid}."


def holder(file: str, pid: Optional[int]) -> tuple[str, str]:
    """Return why a file is in use, and how to find out more."""
    who, remedy = _who(file, pid)
    return f"{who} has it open", remedy


def in_use(vm: str, file: str, why: str, remedy: str, done: str = "Nothing was changed.") -> KvmError:
    """Return the error of a layer that somebody beside the VM has in use."""
    message = f"A layer of {vm} cannot be merged now: {file} is in use, {why}."
    return KvmError("file_in_use", message, f"{done} {remedy} Then run the task again.", file=file)


def still_written(vm: str, file: str, pid: Optional[int]) -> KvmError:
    """Return the error of a VM that libvirt says is off, and whose image is written to."""
    if pid is None:
        remedy = (
            f"{_who(file, pid)[1]} If {vm} runs there (virsh list), run the task on that host, or shut the VM down there first: "
            "do not start it here."
        )
    else:
        remedy = (
            f"{_who(file, pid)[1]} If it is the VM's own QEMU, libvirt has lost it: do not start the VM. Shut the guest down "
            "from inside or end that process, then run the task again."
        )
    message = f"libvirt says that {vm} is off, but {_who(file, pid)[0]} writes to {file}."
    return KvmError("file_in_use", message, f"Nothing was changed. {remedy}", file=file, pid=pid)


def read_by(vm: str, file: str, pid: Optional[int], or_else: str = "") -> KvmError:
    """Return the error of a file that is to be deleted, and that somebody has open; ``or_else`` is another way."""
    why, remedy = holder(file, pid)
    return KvmError(
        "file_in_use",
        f"{file} of {vm} would be deleted, and {why}.",
        f"Nothing was changed, and the VM was not stopped. {remedy} Wait for its end, or end it.{or_else} "
        "Then run the task again.",
        file=file,
        pid=pid,
    )


def needed(vm: str, file: str, users: list[str]) -> KvmError:
    """Return the error of a file that was to be deleted, and that somebody needs."""
    return KvmError(
        "file_in_use",
        f"{file}, which {vm} does not need any more, is needed by {' and '.join(users)}.",
        "No file was deleted. Run the task again: it looks at what is there first.",
        file=file,
        users=users,
    )


def unneeded_open(vm: str, file: str, pid: Optional[int]) -> KvmError:
    """Return the error of a file that was to be deleted, and that somebody has open although nothing needs it."""
    who, remedy = _who(file, pid)
    if pid is not None:
        remedy = (
            f"See what the process has open: ls -l /proc/{pid}/fd. If it is the VM's QEMU, libvirt was killed while it "
            "switched disks: do not start or stop the VM before you know which file it writes to."
        )
    else:
        remedy = f"{remedy} When it is closed there, run the task again."
    message = f"{who[0].upper()}{who[1:]} has {file} of {vm} open, although neither libvirt nor another image needs it."
    return KvmError("file_in_use", message, f"No file was deleted. {remedy}", file=file, pid=pid)
