#!/bin/sh
# Makes a hypervisor's tree, after customize.sh, into one that boots as a real machine. Nothing of libvirt's or of AppArmor's
# is loosened: that is what such a host is for.
set -eu
root=$1

# A machine of its own writes its control groups and owns its devices.
sed -i '/^cgroup_controllers/d' "$root/etc/libvirt/qemu.conf"
rm -f "$root/etc/tmpfiles.d/static-nodes-permissions.conf"

# All that it needs to find its disk and its network, and no more: unpacking costs an emulated processor seconds.
printf 'MODULES=list\nCOMPRESS=lz4\n' >"$root/etc/initramfs-tools/conf.d/lab"
printf '%s\n' virtio_pci virtio_blk virtio_net ext4 >>"$root/etc/initramfs-tools/modules"
chroot "$root" update-initramfs -u
rm -f "$root/usr/sbin/policy-rc.d"

# A session of systemd's for each command over ssh takes an emulated processor seconds.
echo 'UsePAM no' >>"$root/etc/ssh/sshd_config.d/lab.conf"
for unit in systemd-binfmt.service serial-getty@ttyS0.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

# On a busy machine nothing is given up for being slow.
mkdir -p "$root/etc/systemd/system.conf.d"
printf '[Manager]\nDefaultTimeoutStartSec=900\nDefaultDeviceTimeoutSec=900\n' >"$root/etc/systemd/system.conf.d/lab.conf"

# Its address is on the kernel's command line.
chroot "$root" systemctl --quiet enable systemd-networkd
ln -sf /dev/null "$root/etc/systemd/system/systemd-networkd-wait-online.service"

# What the lab gives it at its first boot: the key that may enter, the hosts' names, the guest's files. A second disk holds a
# tar file.
cat >"$root/etc/systemd/system/lab-given.service" <<'UNIT'
[Unit]
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target ssh.service
ConditionPathExists=!/var/lib/lab-given
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'tar -xf /dev/vdb -C / && sync && touch /var/lib/lab-given'
[Install]
WantedBy=sysinit.target
UNIT
chroot "$root" systemctl --quiet enable lab-given
