#!/bin/sh
# Makes a fresh Debian tree into a hypervisor of the lab. mmdebstrap calls it with the tree's folder.
set -eu
root=$1

# Every start gets an identity of its own.
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id"

# mmdebstrap copies these two from the building machine; a host would then bear that machine's name, whatever nspawn says,
# and libvirt would wait some 20 s for a look-up of that name at every start of a VM.
rm -f "$root/etc/hostname" "$root/etc/resolv.conf"

# The hosts cannot write the machine's cgroups: "Failed to create v1 controller cpu … Read-only file system" otherwise.
echo 'cgroup_controllers = []' >>"$root/etc/libvirt/qemu.conf"

# Tests open many sessions over one connection; sshd's ten would refuse some of them.
printf 'MaxSessions 100\nMaxStartups 100\nUseDNS no\n' >"$root/etc/ssh/sshd_config.d/lab.conf"

# Timers and clean-ups of a long-lived machine would wake up in the middle of a measurement; libvirt-guests would save
# every guest to disk when a host is told to stop.
units=$root/etc/systemd/system
if [ -d "$units" ]; then
    for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
        fstrim.timer logrotate.timer libvirt-guests.service getty@tty1.service console-getty.service; do
        ln -sf /dev/null "$units/$unit"
    done
fi

# It would set the rights of /dev/kvm, which is the machine's and every host's at once, back to one group's (11 and 12).
mkdir -p "$root/etc/tmpfiles.d"
ln -sf /dev/null "$root/etc/tmpfiles.d/static-nodes-permissions.conf"

# The guests' serial ports are written here, by virtlogd.
mkdir -p "$root/var/log/lab"
