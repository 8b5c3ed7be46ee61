"""Starting and ending hosts: systemd-nspawn on an image that all hosts of a suite share, in a namespace of its own."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, Optional

from . import cgroups, machine, network, processes, ssh
from .commands import LabError, run
from .host_table import HOSTS, HostSpec
from .paths import ETC_HOSTS, PUBLIC_KEY, SOURCES, host_disks, host_run

ON_HOST = SOURCES / "on_host"
KVM = Path("/dev/kvm")
SECONDS_TO_ANSWER = 60


def machine_process(spec: HostSpec) -> Optional[int]:
    """The systemd-nspawn or the QEMU of this host, known by its arguments: a lab killed before it noted a number finds it too."""
    if spec.metal:
        return machine.process(spec)
    for pid in processes.everyone():
        words = processes.command_line(pid)
        if words[0].endswith("systemd-nspawn") and f"--network-namespace-path={_namespace_path(spec)}" in words:
            return pid
    return None


def _namespace_path(spec: HostSpec) -> str:
    return f"/run/netns/{network.namespace(spec)}"


def ensure(spec: HostSpec, image: Path, guest: Path) -> None:
    """A host that answers ssh: the one that runs already, or a new one in place of whatever is left of an old one."""
    pid = machine_process(spec)
    if pid is not None:
        if str(image) not in " ".join(processes.command_line(pid)):
            print(f"{spec.name} still runs an older image; `lab down` and `lab up` renew it", flush=True)
        if ssh.answers_within(spec, machine.SECONDS_TO_BOOT if spec.metal else 10):
            return
        print(f"{spec.name} runs but does not answer: starting it anew", flush=True)
    stop(spec)
    _start(spec, image, guest)
    wait_answer(spec)


def wait_answer(spec: HostSpec) -> None:
    seconds = machine.SECONDS_TO_BOOT if spec.metal else SECONDS_TO_ANSWER
    if not ssh.answers_within(spec, seconds):
        raise LabError(f"{spec.name} did not answer ssh within {seconds} s")


def _start(spec: HostSpec, image: Path, guest: Path) -> None:
    host_disks(spec.name).mkdir(parents=True, mode=0o711)
    _copy_scripts(spec)
    if spec.metal:
        machine.make(spec, image, guest)
        machine.power_on(spec, image)
        return
    network.attach(spec)
    with (host_run(spec.name) / "console.log").open("wb") as console:
        # A session of its own: neither the end of `lab up` nor a Ctrl-C at its terminal reaches the host.
        subprocess.Popen(
            cgroups.inside(spec.name, _nspawn(spec, image, guest)),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def cut_power(spec: HostSpec) -> None:
    """Of a host that is a machine: what its kernel had not written is gone."""
    ssh.disconnect(spec.name)
    machine.power_off(spec)


def power_on(spec: HostSpec, image: Path) -> None:
    """Boot it again, and wait until it answers."""
    machine.power_on(spec, image)
    wait_answer(spec)


def _nspawn(spec: HostSpec, image: Path, guest: Path) -> list[str]:
    command = ["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--capability=all"]
    # Hosts of a suite share one folder and forget everything when they end.
    command += [f"--directory={image}", "--volatile=overlay"]
    command += [f"--machine={spec.name}", f"--hostname={spec.name}"]
    command += [f"--network-namespace-path={_namespace_path(spec)}"]
    command += ["--resolv-conf=off", "--timezone=off", "--link-journal=no"]
    command += [f"--bind={host_disks(spec.name)}:/var/lib/libvirt/images"]
    command += [f"--bind-ro={host_run(spec.name) / 'scripts'}:/opt/lab", f"--bind-ro={guest}:/opt/guest"]
    command += [f"--bind-ro={PUBLIC_KEY}:/root/.ssh/authorized_keys", f"--bind-ro={ETC_HOSTS}:/etc/hosts"]
    return command + ([f"--bind={KVM}"] if KVM.exists() else [])


def open_kvm() -> None:
    """For QEMU's own user, whose number differs from host to host; a machine with udev has these rights anyway.

    When libvirtd (root) may use the device and QEMU's user may not, libvirt asks QEMU anew for its abilities at every
    definition and every start: 20 s each, with 7.0 and 9.0.
    """
    if KVM.exists():
        KVM.chmod(0o666)


def write_etc_hosts() -> None:
    """Without its own name there, every start of a VM waits seconds for a name look-up."""
    lines = ["127.0.0.1 localhost", *(f"{spec.address} {spec.name}" for spec in HOSTS)]
    ETC_HOSTS.write_text("\n".join(lines) + "\n")


def refresh_scripts(spec: HostSpec) -> None:
    """Bring the scripts on the host up to date."""
    _copy_scripts(spec)
    if spec.metal:
        machine.put_scripts(ssh.command(spec.name), host_run(spec.name) / "scripts")


def _copy_scripts(spec: HostSpec) -> None:
    """The host sees a copy: the checkout may change branches, which would pull a bind mount's folder from under it."""
    scripts = host_run(spec.name) / "scripts"
    scripts.mkdir(parents=True, exist_ok=True)
    for source in ON_HOST.glob("*.py"):
        new = scripts / f"{source.name}.new"
        shutil.copy(source, new)
        new.rename(scripts / source.name)


def stop(spec: HostSpec) -> None:
    """End the host at once and remove all that was its own; also half-started ones, also ones that never were."""
    ssh.disconnect(spec.name)
    pid = machine_process(spec)
    inside = network.processes_inside(spec)
    processes.kill(inside)
    if pid is not None and processes.wait_gone([pid], 5):
        # It had not yet joined its namespace, or hangs.
        processes.kill([pid])
    survivors = processes.wait_gone([*inside, *([pid] if pid else [])], 10)
    if survivors:
        raise LabError(f"{spec.name}: processes {survivors} do not end")
    cgroups.remove(spec.name)
    network.detach(spec)
    shutil.rmtree(host_run(spec.name), ignore_errors=True)
    shutil.rmtree(host_disks(spec.name), ignore_errors=True)
    _forget_propagation(spec)


def _forget_propagation(spec: HostSpec) -> None:
    """A systemd-nspawn that was killed leaves this folder."""
    folder = Path("/run/systemd/nspawn/propagate", spec.name)
    if folder.is_dir():
        folder.rmdir()


def on_host(spec: HostSpec, *arguments: str, timeout: float = 300) -> str:
    """Run on_host/provision.py there and return what it prints."""
    refresh_scripts(spec)
    only = [] if spec.vms is None else ["--only", shlex.quote(",".join(spec.vms))]  # ssh would lose an empty word
    provision = ["python3", "-B", "/opt/lab/provision.py", *only]
    return run([*ssh.command(spec.name), *provision, *arguments], timeout=timeout).stdout


def note_facts(spec: HostSpec, facts: str) -> None:
    """The mark of a usable host; whole or not there, as readers ask at any time."""
    file = host_run(spec.name) / "facts.json"
    file.with_suffix(".new").write_text(facts)
    file.with_suffix(".new").rename(file)


def facts_of(spec: HostSpec) -> Optional[dict[str, Any]]:
    """What provision.py said when the host was set up; None while it is not usable."""
    file = host_run(spec.name) / "facts.json"
    if machine_process(spec) is None or not file.exists():
        return None
    facts: dict[str, Any] = json.loads(file.read_text())
    return facts
