"""Makes the VMs of a hypervisor as domains.py says: runs on the host, called by the lab over ssh.

provision.py ensure            what is missing is made, what is off and should run is started; prints facts as JSON
provision.py reset [VM…]       back to pristine, all files of the VMs made anew; without a VM the whole host: nothing that
                               tests made, VMs and files, stays
provision.py fleet COUNT       that many tiny running VMs; 0 removes them
provision.py state             the VMs and their states as JSON

With --only VM,VM before these words the host has no other VMs than those; with --only "" none.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional

import libvirt
from booted import find, go_on, keep_booted, wait_all_ready, wait_ready
from domains import GUEST_DISK, IMAGES, VMS, Vm, fleet

STATES = {
    libvirt.VIR_DOMAIN_RUNNING: "running",
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_SHUTOFF: "shut off",
}
UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM  # what a TPM keeps goes by itself
)
TPMS = Path("/var/lib/libvirt/swtpm")  # copies of what the TPMs of VMs keep, beside the VMs' directories
RECORDS = Path("/var/lib/limiquantix-kvm")  # of the collection under test, files named by a VM's UUID
# There once every guest of this host has been seen ready: later, only what was started just now is waited for, as a test
# may have stopped the agent, or the whole guest, on purpose.
ONCE_READY = Path("/run/lab-once-ready")


def ensure(connection: Any, vm: Vm) -> bool:
    """Whether it was started just now."""
    domain = find(connection, vm.name)
    if domain is None:
        # Files without a domain are what an interrupted run left.
        remove_files(vm.name, set())
        make_disks(vm)
        domain = connection.defineXML(vm.xml())
    if not vm.running or domain.isActive():
        return False
    domain.create()
    return True


def ensure_invtsc(connection: Any, vm: Vm) -> Optional[str]:
    """None when it runs; else why it cannot, and nothing of it is left. KVM may be absent, or there and unable."""
    if not Path("/dev/kvm").exists():
        return "no /dev/kvm"
    try:
        ensure(connection, vm)
    except libvirt.libvirtError as error:
        remove(connection, vm.name)
        return str(error).splitlines()[0]
    return None


def make_disks(vm: Vm) -> None:
    for disk in vm.disks:
        path = disk.path(vm.name)
        if disk.kind == "guest":
            shutil.copy(GUEST_DISK, path)
        elif disk.kind == "cdrom":
            path.write_bytes(b"\0" * (1 << 20))
        else:
            image_format = "raw" if disk.kind == "raw" else "qcow2"
            subprocess.run(["qemu-img", "create", "-q", "-f", image_format, path, disk.size], check=True)


def remove(connection: Any, name: str) -> None:
    """The VM, its snapshots, and every file that is theirs."""
    domain = find(connection, name)
    files: set[Path] = set()
    if domain is not None:
        files = named_files(domain)
        if domain.isActive():
            with suppress(libvirt.libvirtError):  # it has ended just now
                domain.destroy()
        # A transient domain is gone with that.
        if find(connection, name) is not None:
            domain.undefineFlags(UNDEFINE)
    remove_files(name, files)


def clear(connection: Any) -> None:
    for domain in connection.listAllDomains():
        remove(connection, domain.name())
    for path in [*IMAGES.iterdir(), *TPMS.glob("*.tpm.*"), RECORDS]:
        delete(path)


def named_files(domain: Any) -> set[Path]:
    """Tests may have put overlays and memory files anywhere; the VM's own description says where. And its record."""
    texts = [domain.XMLDesc()]
    if domain.isPersistent():
        texts.append(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    texts += [snapshot.getXMLDesc() for snapshot in domain.listAllSnapshots()]
    found = re.findall(r"<(?:source|memory)\b[^>]* file='([^']+)'", "".join(texts))
    return {Path(name) for name in found} | set(RECORDS.glob(f"{domain.UUIDString()}*"))


def remove_files(name: str, files: set[Path]) -> None:
    """Also those nobody names any more: overlays left by a test lie beside the disk, named after it."""
    lying = (*IMAGES.iterdir(), *TPMS.glob("*.tpm.*"))
    beside = {path for path in lying if re.match(rf"{re.escape(name)}[.-]", path.name)}
    for path in files | beside:
        delete(path)


def delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()


def version(number: int) -> str:
    return f"{number // 1000000}.{number // 1000 % 1000}.{number % 1000}"


def facts(connection: Any, without_invtsc: Optional[str]) -> dict[str, Any]:
    return {
        "libvirt": version(connection.getLibVersion()),
        "qemu": version(connection.getVersion()),
        "python": platform.python_version(),
        "without_invtsc": without_invtsc,
    }


def run_ensure(connection: Any, here: Sequence[Vm]) -> dict[str, Any]:
    without_invtsc = None
    started = []
    for vm in here:
        if vm.invtsc:
            without_invtsc = ensure_invtsc(connection, vm)
        elif ensure(connection, vm) or not ONCE_READY.exists():
            started.append(vm)
    wait_all_ready(connection, started)
    ONCE_READY.touch()
    return facts(connection, without_invtsc)


def run_reset(connection: Any, here: Sequence[Vm], names: list[str]) -> None:
    vms = [vm for vm in here if not names or vm.name in names]
    unknown = set(names) - {vm.name for vm in vms}
    if unknown:
        raise SystemExit(f"no VM {', '.join(sorted(unknown))}; there are {', '.join(vm.name for vm in here)}")
    if not names:
        clear(connection)
    for vm in vms:
        remove(connection, vm.name)
        if vm.invtsc:
            ensure_invtsc(connection, vm)
        elif not go_on(connection, vm):
            ensure(connection, vm)
            if vm.guest and vm.running:
                wait_ready(connection, vm)
                keep_booted(connection, vm)
    wait_all_ready(connection, vms)


def run_fleet(connection: Any, count: int) -> None:
    wanted = fleet(count)
    for domain in connection.listAllDomains():
        if re.fullmatch(r"tiny\d+", domain.name()) and domain.name() not in [vm.name for vm in wanted]:
            remove(connection, domain.name())
    for vm in wanted:
        ensure(connection, vm)


def states(connection: Any) -> dict[str, str]:
    domains = sorted(connection.listAllDomains(), key=lambda domain: domain.name())
    return {domain.name(): STATES.get(domain.state()[0], "other") for domain in domains}


def main(action: str, *arguments: str) -> None:
    here: Sequence[Vm] = [vm for vm in VMS if vm.host in {"", platform.node()}]
    if action == "--only":
        only, action, *rest = arguments
        arguments = tuple(rest)
        here = [vm for vm in here if vm.name in only.split(",")]
    libvirt.registerErrorHandler(lambda *_: None, None)
    connection = libvirt.open("qemu:///system")
    if action == "ensure":
        print(json.dumps(run_ensure(connection, here)))
    elif action == "reset":
        run_reset(connection, here, list(arguments))
    elif action == "fleet":
        run_fleet(connection, int(arguments[0]))
    elif action == "state":
        print(json.dumps(states(connection)))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
