# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM with a snapshot, and that nothing of it changes where a task is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

import pytest

from .field import agreed
from .field_vm import Entry, FieldVm
from .planted import Planted, planted

__all__ = ("planted",)

HOME = "/srv/ready"  # nothing of these VMs lies anywhere else

_RECORDS = "/var/lib/limiquantix-kvm"


@pytest.fixture(autouse=True)
def home(planted: Planted) -> Iterator[None]:
    planted.host.run(f"rm -rf {HOME}; mkdir -p {HOME}; chmod 755 {HOME}")
    yield
    planted.host.run(f"chmod -R u+rwX {HOME}; rm -rf {HOME}")


def well(entry: Entry) -> Entry:
    assert (entry["changed"], entry["error_code"]) == (True, None), entry["msg"]
    return entry


def seen(vm: FieldVm) -> dict[str, Any]:
    """Return all that a refusal must leave as it is."""
    return {
        "record": vm.host.run(f"cat {_RECORDS}/{vm.uuid}.json || echo none", check=False).stdout,
        "files": vm.host.run(f"find {HOME} -printf '%p %u %m %i\\n' | sort").stdout,
        "snapshots": vm.host.run(
            f"for s in $(virsh snapshot-list {vm.name} --name); do virsh snapshot-dumpxml {vm.name} $s; done"
        ).stdout,
        "definition": vm.xml(inactive=True),
        "state": vm.state,
        "process": vm.host.run(f"cat /run/libvirt/qemu/{vm.name}.pid", check=False).stdout,
    }


@contextmanager
def untouched(vm: FieldVm) -> Iterator[None]:
    before = seen(vm)
    yield
    after = seen(vm)
    assert after == before


def refused(vm: FieldVm, code: str, action: Callable[..., Entry], *words: Any, **options: Any) -> Entry:
    """Assert that check mode and a run refuse something alike and leave everything as it was; return what was said."""
    with untouched(vm):
        told, done = agreed(action, *words, **options)
        assert (done["error_code"], told["msg"]) == (code, done["msg"]), (told["msg"], done["msg"])
    return done


def snapshot(vm: FieldVm, **options: Any) -> FieldVm:
    """Return the VM with 1 in s1, which is taken with the options, and 42 in its present."""
    vm.write("vda", 1)
    well(vm.take("s1", **options))
    vm.write("vda", 42)
    return vm
