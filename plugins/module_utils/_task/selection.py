# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VMs and snapshots a task means: names, UUIDs, shell globs and ``!pattern``."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import DomainId


def select(domains: Sequence[DomainId], patterns: Sequence[str]) -> list[DomainId]:
    """Return the domains that the patterns name, each once, in the order of ``domains``.

    Patterns with ``!`` leave out; where there are no others, they leave out of all.
    Raises ``bad_request`` for no pattern at all, and ``vm_not_found`` when a pattern that is not a ``!pattern``
    matches nothing, or nothing is left.
    """
    if not patterns:
        raise KvmError("bad_request", "vms is an empty list.", "Nothing was changed. Give '*' to mean every VM.")
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    for pattern in wanted:
        if not any(matches(domain, pattern) for domain in domains):
            raise _not_found(pattern, domains)
    chosen = [
        domain
        for domain in domains
        if (not wanted or any(matches(domain, pattern) for pattern in wanted))
        and not any(matches(domain, pattern) for pattern in unwanted)
    ]
    if not chosen:
        raise _not_found(", ".join(patterns), domains)
    return chosen


def matches(domain: DomainId, pattern: str) -> bool:
    """Whether a name, UUID or glob means this domain; a VM whose very name is the pattern is meant by it."""
    return pattern in (domain.name, domain.uuid) or pattern.lower() == domain.uuid or fnmatchcase(domain.name, pattern)


def _not_found(pattern: str, domains: Sequence[DomainId]) -> KvmError:
    known = ", ".join(domain.name for domain in domains[:20]) or "none"
    more = f" and {len(domains) - 20} more" if len(domains) > 20 else ""
    return KvmError(
        "vm_not_found",
        f"No VM on this host matches {pattern!r}.",
        f"Nothing was changed. The VMs here: {known}{more}.",
        pattern=pattern,
    )
