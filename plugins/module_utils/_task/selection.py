# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VMs a task means: names, UUIDs, shell globs and ``!pattern``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.allowed_texts import check_patterns
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VmId


@dataclass(frozen=True)
class Selection:
    """The VMs that are meant, each once, and the names and UUIDs that no VM of this host has."""

    vm_ids: tuple[VmId, ...]
    missing: tuple[str, ...] = ()


def select(vm_ids: Sequence[VmId], patterns: Sequence[str], missing: str = "fail") -> Selection:
    """Return the domains that the patterns name, in the order of ``domains``.

    Patterns with ``!`` leave out; where there are no others, they leave out of all. A glob or ``!pattern`` that matches
    nothing is no error: other hosts may have what it means. A name or UUID that is not here is one, unless ``missing``
    is ``skip``. Raises ``vm_not_found`` for it, and ``bad_request`` for no pattern at all or an empty one, which
    is what an empty variable of a play becomes, and would mean every VM behind a ``!``.
    """
    check_patterns(patterns)
    if not patterns:
        raise KvmError("bad_request", "vms is an empty list.", "Nothing was changed. To mean every VM, give '*'.")
    empty = next((pattern for pattern in patterns if not pattern.strip("! ")), None)
    if empty is not None:
        message = f"vms has the entry {empty!r}, which cannot be the name of a VM."
        raise KvmError(
            "bad_request", message, "Nothing was changed. Look for an empty variable. To mean every VM, give '*'."
        )
    patterns = [pattern if _named(vm_ids, pattern) else pattern.strip() for pattern in patterns]  # of "web*, !db*"
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    unwanted = [name for pattern in patterns if pattern.startswith("!") for name in (pattern[1:], pattern[1:].strip())]
    absent = tuple(dict.fromkeys(one for one in wanted if not is_glob(one) and not _named(vm_ids, one)))
    if absent and missing == "fail":
        raise _not_found(absent, vm_ids)
    meant = {vm_id for pattern in wanted for vm_id in _meant(vm_ids, pattern)} if wanted else set(vm_ids)
    # What is left out is left out in both meanings of a name with glob characters: too few VMs are easily told from too many.
    out = {vm_id for pattern in unwanted for vm_id in vm_ids if matches(vm_id, pattern)}
    return Selection(tuple(vm_id for vm_id in vm_ids if vm_id in meant - out), absent)


def is_glob(pattern: str) -> bool:
    """Whether a pattern may mean any number of VMs, none too."""
    return any(character in pattern for character in "*?[")


def matches(vm_id: VmId, pattern: str) -> bool:
    """Whether a name, UUID or glob means this domain."""
    return _is_named(vm_id, pattern) or fnmatchcase(vm_id.name, pattern)


def _meant(vm_ids: Sequence[VmId], pattern: str) -> Sequence[VmId]:
    """Return what a pattern means: a VM whose very name it is as it is written, except that ``*`` is always every VM."""
    named = [] if pattern == "*" else _named(vm_ids, pattern)
    return named or [vm_id for vm_id in vm_ids if matches(vm_id, pattern)]


def _named(vm_ids: Sequence[VmId], name: str) -> Sequence[VmId]:
    return [vm_id for vm_id in vm_ids if _is_named(vm_id, name)]


def _is_named(vm_id: VmId, name: str) -> bool:
    return name == vm_id.name or name.lower() == vm_id.uuid.lower()


def _not_found(names: Sequence[str], vm_ids: Sequence[VmId]) -> KvmError:
    known = ", ".join(vm_id.name for vm_id in vm_ids[:20]) or "none"
    more = f" and {len(vm_ids) - 20} more" if len(vm_ids) > 20 else ""
    return KvmError(
        "vm_not_found",
        f"No VM on this host matches {', '.join(map(repr, names))}.",
        f"Nothing was changed. The VMs here: {known}{more}. Correct vms, or give missing: skip if another "
        "host may have it.",
        pattern=names[0],
        names=list(names),
    )
