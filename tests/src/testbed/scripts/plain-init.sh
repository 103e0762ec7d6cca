#!/bin/bash
# PID 1 of a plain host, started inside fresh namespaces: private mounts, then dbus-daemon and libvirtd; libvirt-dbus and
# polkitd are started by the bus on first use, as on a real host. Arguments: WORK HOST. Writes nothing outside WORK.
set -eu
WORK=$1; H=$2; D=$WORK/$H
. "$WORK/scripts/cgroups.sh"
hostname "$H"
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount_cgroups /sys/fs/cgroup
mount --bind "$D/run" /run
mount --bind "$D/lib" /var/lib/libvirt
mount --bind "$D/cache" /var/cache/libvirt
mount --bind "$D/log" /var/log/libvirt
mount --bind "$D/etc" /etc/libvirt
mount --bind "$D/bus-policy" /etc/dbus-1/system.d
mount --bind "$D/bus-services" /usr/share/dbus-1/system-services
[ ! -e /etc/machine-id ] || mount --bind "$D/machine-id" /etc/machine-id
mount --bind "$WORK/hosts" /etc/hosts
mkdir -p /run/dbus /run/lock /run/guests /run/ram
mount -t tmpfs -o mode=755 ram /run/ram                   # disks in memory
: > /run/tb-mounts-ready
until [ -e /run/tb-net-ready ]; do sleep .02; done
trap '' HUP
"$WORK/scripts/daemon.sh" start dbus-daemon
"$WORK/scripts/daemon.sh" start libvirtd
while :; do sleep 3600 & wait $! || :; done     # bash as PID 1 reaps orphans (qemu daemonises)
