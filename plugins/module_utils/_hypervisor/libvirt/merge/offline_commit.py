# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merging layers that no QEMU has open, with qemu-img. Each call may be repeated until its overlay is deleted.

The overlay is left as it is (``-d``) and lies above the image it is written to, so that whoever reads through it sees the
same before, while and after it is merged, also where that is never finished.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Sequence
from typing import Callable

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.connect.libraries import (
    require_qemu_img,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.backing_chain import (
    adds_nothing,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.image_header import Image
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.any_format_backing import (
    UNREADABLE,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.host.open_files import writers
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.merge_refusals import (
    compare_timeout,
    merge_timeout,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.deadline import Pace
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

_PERCENT = re.compile(r"\(\s*([\d.]+)/100%\)")


def commit_image(vm: str, layers: Sequence[Image], base: str, pace: Pace, progress: Callable[[int], None]) -> None:
    """Write the data of layers, highest first, down into the image under them; ``progress`` is told the percentage now and then.

    Raises ``merge_failed``, ``missing_library`` or ``timeout``; what is read through the highest is as before then.
    """
    require_qemu_img(vm)  # looked for beforehand; this run may go on with another's work
    if _is_done(layers):
        return
    rate = ["-r", f"{pace.bandwidth}M"] if pace.bandwidth else []
    # Into the one right under it without being told: of a base that is named, QEMU compares the paths.
    into = ["-b", base] if len(layers) > 1 else []
    command = ["qemu-img", "commit", "-p", "-d", "-f", layers[0].format, *into, *rate, layers[0].file]
    # There is no AnsibleModule below main(), and so none of its run_command.
    # pylint: disable-next=ansible-bad-function
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.terminate()

        timer = threading.Timer(pace.deadline.remaining(), stop)
        timer.daemon = True
        timer.start()
        try:
            _follow(process, progress)
            said = process.stderr.read().decode(errors="replace") if process.stderr else ""
            status = process.wait()
        finally:
            timer.cancel()
    if late.is_set() and status:
        raise merge_timeout(vm, pace.deadline)
    if status:
        raise merge_failed(vm, said.strip() or f"qemu-img ended with status {status}")


def _is_done(layers: Sequence[Image]) -> bool:
    """Whether there is nothing to write down. Without a look, a process of qemu-img takes half of what a removal takes.

    It refuses what somebody has open for writing, and that is left to it.
    """
    try:
        files = {file for one in layers for file in (one.file, one.below) if file}
        return all(adds_nothing(one.file) for one in layers) and not writers(files)
    except UNREADABLE:
        return False


def _follow(process: subprocess.Popen[bytes], progress: Callable[[int], None]) -> None:
    if process.stdout is None:
        return
    while chunk := process.stdout.read1(256):  # type: ignore[attr-defined]
        found = _PERCENT.findall(chunk.decode(errors="replace"))
        if found:
            progress(int(float(found[-1])))


def rebase_unsafe(vm: str, overlay: str, backing: str, backing_format: str) -> None:
    """Note in an overlay that it is backed by another image, which must read the same. Raises ``merge_failed``."""
    require_qemu_img(vm)
    command = ["qemu-img", "rebase", "-u", "-f", "qcow2", "-F", backing_format, "-b", backing, overlay]
    # pylint: disable-next=ansible-bad-function
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise merge_failed(vm, done.stderr.strip())


def reads_the_same(vm: str, one: Image, other: Image, pace: Pace) -> bool:
    """Whether two images hold the same; they may be open. Raises ``merge_failed`` where that cannot be told, and ``timeout``."""
    require_qemu_img(vm)
    command = ["qemu-img", "compare", "-U", "-q", "-f", one.format, "-F", other.format, one.file, other.file]
    try:
        # pylint: disable-next=ansible-bad-function
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=pace.deadline.remaining())
    except subprocess.TimeoutExpired as error:
        raise compare_timeout(vm, one.file, other.file, pace.deadline) from error
    if done.returncode > 1:
        raise merge_failed(vm, done.stderr.strip())
    return done.returncode == 0


def merge_failed(vm: str, reason: str) -> KvmError:
    """Return the error of a merge that did not end well."""
    return KvmError(
        "merge_failed",
        f"A layer of {vm} could not be merged: {reason.rstrip('.')}.",
        "The VM and its other snapshots are as before, and no file was deleted. Remove the cause (is the "
        "disk full?) and run the task again: it continues.",
    )
