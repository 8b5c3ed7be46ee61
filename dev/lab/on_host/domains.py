"""The VMs of a hypervisor, one entry each, and their XML. Runs on the host, under the host's Python and libvirt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

IMAGES = Path("/var/lib/libvirt/images")
LOGS = Path("/var/log/lab")
# Files that /opt/guest has on the host; made by guest_image.py.
KERNEL = "/opt/guest/vmlinuz"
INITRAMFS = "/opt/guest/initramfs"
GUEST_DISK = Path("/opt/guest/data.qcow2")
FIRMWARE = "/opt/guest/halt.rom"

AGENT = """
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>"""
# Without a source of randomness the guest's programs wait seconds for the kernel to collect some.
GUEST_CPU = """
  <cpu mode='custom' match='exact' check='none'>
    <model>qemu64</model>
    <feature policy='require' name='rdrand'/>
  </cpu>"""
# Leaves out what costs an emulated processor most at boot: with rdrand, 5 s instead of 8.
QUICK_BOOT = "quiet nokaslr mitigations=off rodata=off audit=0"
# A processor that no KVM can migrate, so libvirt refuses its memory snapshot. arch-capabilities is off because KVM on
# some machines offers it without being able to give it.
INVTSC_CPU = """
  <cpu mode='host-passthrough' migratable='off'>
    <feature policy='require' name='invtsc'/>
    <feature policy='disable' name='arch-capabilities'/>
  </cpu>"""


@dataclass(frozen=True)
class Disk:
    target: str
    size: str = "64M"
    kind: str = "qcow2"  # qcow2, raw, cdrom (an image with media), or guest: a copy of the real guest's disk

    def path(self, vm: str) -> Path:
        """The first disk is named as virt-install names it."""
        suffix = {"raw": "raw", "cdrom": "iso"}.get(self.kind, "qcow2")
        return IMAGES / (f"{vm}.{suffix}" if self.target == "vda" else f"{vm}-{self.target}.{suffix}")

    def xml(self, vm: str) -> str:
        file = f"<source file='{self.path(vm)}'/>"
        if self.kind == "cdrom":
            return f"""
    <disk type='file' device='cdrom'>
      <driver name='qemu' type='raw'/>
      {file}
      <target dev='{self.target}' bus='sata'/>
      <readonly/>
    </disk>"""
        image_format = "raw" if self.kind == "raw" else "qcow2"
        return f"""
    <disk type='file' device='disk'>
      <driver name='qemu' type='{image_format}'/>
      {file}
      <target dev='{self.target}' bus='virtio'/>
      <serial>{vm}-{self.target}</serial>
    </disk>"""


@dataclass(frozen=True)
class Vm:
    name: str
    disks: tuple[Disk, ...] = (Disk("vda"),)
    guest: bool = False  # boots the real guest; otherwise there is no system in it, and its firmware halts at once
    agent: bool = False
    running: bool = True
    invtsc: bool = False
    memory_mib: int = 32
    pause_ms: int = (
        250  # the guest's, between two writes; at 5 ms it takes a quarter of a processor, at 100 ms still a 25th
    )
    host: str = ""  # the only host that has it; empty: every host

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"

    def xml(self) -> str:
        arguments = f"console=ttyS0 {QUICK_BOOT} pause_ms={self.pause_ms}"
        boot = f"<kernel>{KERNEL}</kernel><initrd>{INITRAMFS}</initrd><cmdline>{arguments}</cmdline>"
        nothing = f"<loader readonly='yes' type='rom'>{FIRMWARE}</loader>"
        return f"""
<domain type='{"kvm" if self.invtsc else "qemu"}'>
  <name>{self.name}</name>
  <memory unit='MiB'>{self.memory_mib}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    {boot if self.guest else nothing}
  </os>
  <features><acpi/></features>{self._cpu()}
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>{"".join(disk.xml(self.name) for disk in self.disks)}
    <serial type='file'>
      <source path='{self.log}'/>
      <target port='0'/>
    </serial>{AGENT if self.agent else ""}
    <memballoon model='none'/>
  </devices>
</domain>"""

    def _cpu(self) -> str:
        if self.invtsc:
            return INVTSC_CPU
        return GUEST_CPU if self.guest else ""


_GUEST_DISK = (Disk("vda", kind="guest"),)
_FILES_DISKS = (Disk("vda"), Disk("vdb"), Disk("vdc", kind="raw"), Disk("sda", kind="cdrom"))

VMS = (
    Vm("web01", _GUEST_DISK, guest=True, agent=True, memory_mib=192),
    Vm("db01", _GUEST_DISK, guest=True, memory_mib=192),
    Vm("off01", _GUEST_DISK, guest=True, running=False, memory_mib=192),
    Vm("files01", _FILES_DISKS),
    Vm("tsc01", invtsc=True),
    # Hosts are not alike: each has one that no other has.
    *(
        Vm(f"only-{host[3:]}", (Disk("vda", size="32M"),), running=False, memory_mib=16, host=host)
        for host in ("hv-bullseye", "hv-bookworm", "hv-trixie")
    ),
)


def fleet(count: int) -> list[Vm]:
    return [Vm(f"tiny{number:02}", (Disk("vda", size="32M"),), memory_mib=16) for number in range(1, count + 1)]
