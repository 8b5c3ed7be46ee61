# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VMs a task means: names, UUIDs, shell globs and ``!pattern``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.texts import check_patterns
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import DomainId


@dataclass(frozen=True)
class Selection:
    """The VMs that are meant, each once, and the names and UUIDs that no VM of this host has."""

    domains: tuple[DomainId, ...]
    missing: tuple[str, ...] = ()


def select(domains: Sequence[DomainId], patterns: Sequence[str], missing: str = "fail") -> Selection:
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
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    absent = tuple(dict.fromkeys(one for one in wanted if not is_glob(one) and not _named(domains, one)))
    if absent and missing == "fail":
        raise _not_found(absent, domains)
    meant = {domain for pattern in wanted for domain in _meant(domains, pattern)} if wanted else set(domains)
    # What is left out is left out in both meanings of a name with glob characters: too few VMs are easily told from too many.
    out = {domain for pattern in unwanted for domain in domains if matches(domain, pattern)}
    return Selection(tuple(domain for domain in domains if domain in meant - out), absent)


def is_glob(pattern: str) -> bool:
    """Whether a pattern may mean any number of VMs, none too."""
    return any(character in pattern for character in "*?[")


def matches(domain: DomainId, pattern: str) -> bool:
    """Whether a name, UUID or glob means this domain."""
    return _is_named(domain, pattern) or fnmatchcase(domain.name, pattern)


def _meant(domains: Sequence[DomainId], pattern: str) -> Sequence[DomainId]:
    """Return what a pattern means: a VM whose very name it is as it is written, except that ``*`` is always every VM."""
    named = [] if pattern == "*" else _named(domains, pattern)
    return named or [domain for domain in domains if matches(domain, pattern)]


def _named(domains: Sequence[DomainId], name: str) -> Sequence[DomainId]:
    return [domain for domain in domains if _is_named(domain, name)]


def _is_named(domain: DomainId, name: str) -> bool:
    return name == domain.name or name.lower() == domain.uuid.lower()


def _not_found(names: Sequence[str], domains: Sequence[DomainId]) -> KvmError:
    known = ", ".join(domain.name for domain in domains[:20]) or "none"
    more = f" and {len(domains) - 20} more" if len(domains) > 20 else ""
    return KvmError(
        "vm_not_found",
        f"No VM on this host matches {', '.join(map(repr, names))}.",
        f"Nothing was changed. The VMs here: {known}{more}. Correct vms, or give missing: skip if another "
        "host may have it.",
        pattern=names[0],
        names=list(names),
    )
