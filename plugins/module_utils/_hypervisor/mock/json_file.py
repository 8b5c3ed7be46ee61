# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mock's state file: read whole, checked against what may stand in it, replaced whole.

Only ``vms`` must be there, and of a VM its name and its disks (`LEAST`). All that may stand in it::

    {
      "vms": [
        {
          "name": "web01",            # required, the only one of that name
          "uuid": "…",                # made from the name and the path of this file by default
          "state": "running",         # paused, shutoff, crashed, pmsuspended
          "persistent": true,         # false: a transient domain
          "memory_mib": 1024,
          "agent": "running",         # none (default); silent: connected, but it answers nothing; thaws_early: as
                                      # Windows does after ten seconds; stuck: it freezes and never answers again
          "cpu": {"mode": "host-passthrough", "invtsc": true, "migratable": false, "tsc_frequency": 2400000000},
          "firmware": "efi",          # bios by default
          "tpm": true,                # what it keeps is in /var/lib/libvirt/swtpm/UUID/tpm2/tpm2-00.permall
          "host_devices": ["pci"],    # the types of assigned host devices
          "filesystems": [{"type": "virtiofs", "target": "share"}],   # or 9p
          "disks": [                  # required
            {
              "target": "vda",        # required
              "source": "/vm/web01.qcow2",    # a path, or null: an empty drive
              "format": "qcow2",
              "device": "disk",       # cdrom, floppy, lun
              "type": "file",         # block, network, …
              "readonly": false, "shareable": false, "transient": false,
              "snapshot": "",           # no, manual: the definition keeps it out of snapshots
              "block_job": false      # true: a merge, copy or backup runs
            }
          ],
          "managed_save": false,      # true: its memory is saved for its next start
          "snapshots": [],            # as they are written here, with the keys of the module's `snapshot`. A disk's `base`
                                      # is by default what its `file` is backed by; of one whose kind is internal, the
                                      # image in which it is, by default the lowest of the disk's chain
          "current": null,            # the snapshot the present is based on
          "overlays": [],             # files that snapshots or reverts made and no snapshot names any more
          "former": [],               # images that held the state of a snapshot that was removed
          "operation": null,          # {"kind": "take, revert or remove", "snapshot": "s1", "started_at": "2026-…"}: what
                                      # a run began and, unless one is at work on the VM, did not end
          "slow_seconds": 0           # how long taking, reverting or removing a snapshot of this VM takes
        }
      ],
      "files": {                      # images; those of the disks need no entry, null means that one is gone
        "/vm/web01.qcow2": {"format": "qcow2", "size": 5368709120, "virtual_size": 21474836480, "backing_file": null,
                            "changed": "2026-11-23T…"}      # when others wrote to it; left out, nobody did
      },
      "directories": {                # where a disk's image lies is there and has plenty of room, unless this differs
        "/vm": {"total": 107374182400, "free": 53687091200, "filesystem": "the same text: the same file system"},
        "/backup": {"read_only": true},
        "/gone": {"missing": true}
      }
    }

(JSON has no comments: leave them out.) Many threads and processes may use one file at once. Locks lie beside it in
``FILE.locks``.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.json_format import complete
from ansible_collections.limiquantix.kvm.plugins.module_utils._rules.refusals import vm_gone
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.vm import VmId

LEAST = '{"vms": [{"name": "web01", "disks": [{"target": "vda", "source": "/vm/web01.qcow2"}]}]}'


def find_vm(state: Mapping[str, Any], domain: VmId) -> dict[str, Any]:
    """Return a VM of a state. Raises ``vm_not_found``."""
    found: list[dict[str, Any]] = [vm for vm in state["vms"] if vm["uuid"] == domain.uuid]
    if found:
        return found[0]
    raise vm_gone(domain.name)


class StateFile:
    """One state file that threads and processes share: readers see a whole state, changes follow one another."""

    def __init__(self, path: str) -> None:
        self._path = os.path.realpath(path)

    @property
    def lock_directory(self) -> str:
        """Where the locks lie: beside the file, since a lock on a file that is replaced would hold nobody."""
        return self._path + ".locks"

    def read(self) -> dict[str, Any]:
        """Return the state with every default filled in. Raises ``connection_failed``, ``bad_request``."""
        try:
            with open(self._path, encoding="utf-8") as file:
                state = json.load(file)
        except OSError as error:
            remedy = f"Write for example {LEAST} into it, or give another mock_path."
            raise _unreachable(self._path, error, remedy) from error
        except ValueError as error:
            raise _malformed(self._path, f"it is not valid JSON: {error}") from error
        try:
            return complete(state, self._path)
        except ValueError as error:
            raise _malformed(self._path, str(error)) from error

    @contextmanager
    def change(self) -> Iterator[dict[str, Any]]:
        """Give the state to be changed in place; it is written when the block ends without an error."""
        try:
            os.makedirs(self.lock_directory, mode=0o700, exist_ok=True)
            descriptor = os.open(os.path.join(self.lock_directory, "state"), os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise _unreachable(self._path, error, "Make its directory writable.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            state = self.read()
            yield state
            self._write(state)
        finally:
            os.close(descriptor)

    def _write(self, state: Mapping[str, Any]) -> None:
        new = self._path + ".new"
        try:
            with open(new, "w", encoding="utf-8") as file:
                json.dump(state, file, indent=2)
                file.write("\n")
            os.chmod(new, os.stat(self._path).st_mode & 0o777)
            os.replace(new, self._path)
        except OSError as error:
            raise _unreachable(self._path, error, "Make it writable.") from error


def _unreachable(path: str, error: OSError, remedy: str) -> KvmError:
    return KvmError(
        "permission_denied" if isinstance(error, PermissionError) else "connection_failed",
        f"Cannot use the mock's state file {path}: {error.strerror}.",
        remedy,
        path=path,
    )


def _malformed(path: str, reason: str) -> KvmError:
    remedy = "Nothing was changed. Correct it: plugins/module_utils/_hypervisor/mock/json_file.py describes the format."
    return KvmError("bad_request", f"The mock's state file {path} cannot be used: {reason}.", remedy, path=path)
