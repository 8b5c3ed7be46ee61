# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What vm_snapshot does through an agent between Ansible handing over and taking back: a process of its own on the controller.

python -m bench.through_agent URL NAME     takes NAME of the fleet, and prints one JSON object. Imports are done before the clock
                                           starts; connections count.
"""

from __future__ import annotations

import json
import sys
import time

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor import open as _arguments
from ansible_collections.limiquantix.kvm.plugins.module_utils._task import outcome as _outcome
from ansible_collections.limiquantix.kvm.plugins.module_utils._task import run as _task
from ansible_collections.limiquantix.kvm.plugins.module_utils._task import take as _present
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.request import SnapshotRequest

THREADS = 4  # what the module's option parallel is by default


def main(url: str, name: str) -> None:
    params = {"backend": "qx_node", "url": url, "parallel": THREADS, "timeout": 600}
    _arguments.open_hypervisor(params).close()  # imports the backend
    request = SnapshotRequest(name=name)
    started = time.perf_counter()
    with _arguments.open_hypervisor(params) as hypervisor:
        vms = _task.run(hypervisor, ["tiny*"], _present.Present(request), _task.Limits(THREADS), check_mode=False)
    wording = _outcome.Wording(f"snapshot {name!r}", "taken", request.disk_only)
    result = _outcome.outcome(wording, vms, check_mode=False)
    seconds = time.perf_counter() - started
    if "failed" in result:
        raise SystemExit(result["msg"])
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
