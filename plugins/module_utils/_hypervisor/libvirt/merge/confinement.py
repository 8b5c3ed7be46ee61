# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether AppArmor lets a running VM's layers be merged: foreseen by the plan, and made so where the task allows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.disks.layer_forest import Forest
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.merge.apparmor import (
    Unexpected,
    check_form,
    denials,
    profile_of,
    take_out,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.libvirt.vm_handle import VmHandle
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.layer_steps import Merge, Step
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError

_WAYS = (
    "Do one of three things: shut the VM off and run the task again; or run it with apparmor: adjust, which takes these lines "
    "out of the profile of this VM alone; or update libvirt to 12.1 or newer, then shut the VM off and start it."
)

_WAYS_BESIDE = (
    "Shut the VM off and run the task again, or update libvirt to 12.1 or newer, then shut the VM off and start it."
)
# Of a task that merges several layers, an earlier one may be done.
_NOT_BEGUN = "This merge was not begun."


def below_the_tops(forest: Forest, found: Iterable[Step]) -> tuple[str, ...]:
    """Return the images to which a running VM's QEMU writes in these steps and does not write now, by real paths."""
    if not forest.running:
        return ()
    tops = set(forest.tops.values())
    below = {file for top in tops for file in forest.chain(top)} - tops
    written = [file for step in found if isinstance(step, Merge) for file in (step.base, *step.above)]
    return tuple(dict.fromkeys(file for file in written if file in below))


def foresee(handle: VmHandle, images: Sequence[str]) -> tuple[str, ...]:
    """Return notes on what will be taken out of the VM's profile. Raises ``apparmor_denied`` where a merge would be forbidden.

    A profile that cannot be read says nothing: then the merge itself will.
    """
    profile = profile_of(handle.xml()) if images else None
    try:
        lines = denials(profile, images) if profile else ()
    except OSError:
        return ()
    if not profile or not lines:
        return ()
    if not handle.may_adjust:
        why = f"its profile {profile} has {' and '.join(lines)}"
        raise _denied(handle.name, profile, lines, why, f"Nothing was changed. {_WAYS}")
    try:
        check_form(profile)
    except Unexpected as error:
        raise _unexpected(handle.name, profile, lines, error, "Nothing was changed.") from error
    return tuple(f"{line} goes from {profile} before the merge" for line in lines)


def allow(handle: VmHandle, images: Sequence[str]) -> None:
    """Take the denials of these images out of the VM's profile where the task allows that. Raises ``apparmor_denied``."""
    profile = profile_of(handle.xml()) if handle.may_adjust else None
    if not profile:
        return
    try:
        lines = denials(profile, images)
    except OSError:
        return
    if not lines:
        return
    try:
        take_out(profile, images)
    except Unexpected as error:
        raise _unexpected(handle.name, profile, lines, error, _NOT_BEGUN) from error


def denied(handle: VmHandle, images: Sequence[str], found: KvmError) -> KvmError:
    """Return the error of a merge that libvirt did not begin: what it said, or ``apparmor_denied`` where that is why."""
    xml: Any = handle.xml()
    confined = any(label.get("model") == "apparmor" for label in xml.iterfind("seclabel"))
    if "Permission denied" not in found.message or not confined:
        return found
    profile = profile_of(xml)
    try:
        lines = denials(profile, images) if profile else ()
    except OSError:
        lines = ()
    if not lines and handle.version >= _FIXED:
        return found
    why = f"libvirt says: {found.details.get('libvirt_message')}"
    ways = _WAYS_BESIDE if handle.may_adjust else _WAYS  # it has been adjusted already
    return _denied(handle.name, profile, lines, why, f"{_NOT_BEGUN} {ways}", **found.details)


_FIXED = 12_001_000  # libvirt denies nothing any more


def _denied(vm: str, profile: Any, lines: Sequence[str], why: str, remedy: str, **more: Any) -> KvmError:
    return KvmError(
        "apparmor_denied",
        f"AppArmor on this host forbids the QEMU of {vm} to write to the images below the active one, so no layer can be merged "
        f"while the VM runs: {why}.",
        remedy,
        profile=profile,
        lines=list(lines),
        **more,
    )


def _unexpected(vm: str, profile: str, lines: Sequence[str], error: Unexpected, done: str) -> KvmError:
    why = f"its profile {profile} has {' and '.join(lines)}, and this collection does not change it: {error}"
    return _denied(vm, profile, lines, why, f"{done} {_WAYS_BESIDE}")
