#!/bin/bash
# PID 1 of a systemd host, started inside fresh namespaces: a throw-away overlay over the machine's own root, then a real
# systemd with dbus, journald, libvirtd and whatever WORK/HOST/{units,overlay} adds. Arguments: WORK HOST.
set -eu
WORK=$1; H=$2; D=$WORK/$H; M=$D/up
. "$WORK/scripts/cgroups.sh"
hostname "$H"
mount -t tmpfs -o mode=755 up "$M"; mkdir -p "$M/r"
over() { # an overlay of directory $1 at $1 of the new root
  local k; k=$(printf %s "$1" | cksum | cut -d' ' -f1); mkdir -p "$M/$k"/{u,w}
  mount -t overlay overlay -o "lowerdir=$1,upperdir=$M/$k/u,workdir=$M/$k/w" "$M/r$1"
}
over /
R=$M/r
while read -r dev mp _; do case $dev:$mp in     # further disks of the machine (/usr, /var, /home on their own)
    /dev/*:/boot*|/dev/*:/) ;;
    /dev/*) [ ! -d "$mp" ] || [ ! -d "$R$mp" ] || over "$mp" || :;;
  esac; done < /proc/self/mounts
mount -t proc proc "$R/proc"; mount -t sysfs sysfs "$R/sys"
mount --bind "$D/run" "$R/run"                   # the bus is reachable from outside: D/run/dbus/system_bus_socket
mount -t tmpfs -o mode=1777 tmp "$R/tmp"
while read -r dir; do mkdir -p "$R$dir"; mount --bind "$dir" "$R$dir"; done < "$D/binds"
mount -t tmpfs -o mode=755 dev "$R/dev"; mkdir -p "$R"/dev/{pts,shm,net}
for d in null zero full random urandom tty net/tun kvm; do [ ! -e "/dev/$d" ] || { touch "$R/dev/$d"; mount --bind "/dev/$d" "$R/dev/$d"; }; done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$R/dev/pts"; ln -s pts/ptmx "$R/dev/ptmx"; mount -t tmpfs shm "$R/dev/shm"
ln -s /proc/self/fd "$R/dev/fd"; for n in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${n%:*}" "$R/dev/${n#*:}"; done
: > "$R/dev/console"
mount_cgroups "$R/sys/fs/cgroup" xattr
E=$R/etc/systemd/system
rm -rf "$E"/*.wants; cp "$D/machine-id" "$R/etc/machine-id"; echo "$H" > "$R/etc/hostname"; cp "$WORK/hosts" "$R/etc/hosts"
for u in systemd-udevd.service systemd-udev-trigger.service systemd-udevd-control.socket systemd-udevd-kernel.socket \
  systemd-remount-fs.service dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
  sys-fs-fuse-connections.mount sys-kernel-config.mount modprobe@.service kmod-static-nodes.service \
  proc-sys-fs-binfmt_misc.automount systemd-timesyncd.service apt-daily.timer systemd-sysctl.service \
  systemd-modules-load.service systemd-random-seed.service systemd-pstore.service systemd-networkd.service \
  systemd-networkd.socket systemd-resolved.service systemd-firstboot.service ldconfig.service; do ln -sf /dev/null "$E/$u"; done
printf '[Unit]\nRequires=basic.target dbus.service systemd-journald.service\nAfter=basic.target dbus.service\n' > "$E/testbed.target"
mkdir -p "$R"/var/{lib,cache,log}/libvirt "$R/etc/libvirt" "$D"/run/{guests,ram} "$E/testbed.target.wants"
mount --bind "$D/lib" "$R/var/lib/libvirt"; mount --bind "$D/cache" "$R/var/cache/libvirt"
mount --bind "$D/log" "$R/var/log/libvirt"; mount --bind "$D/etc" "$R/etc/libvirt"
cp "$D"/bus-policy/* "$R/etc/dbus-1/system.d/" 2>/dev/null || :
cp "$D/bus-services/org.libvirt.service" "$R/usr/share/dbus-1/system-services/"
printf '%s\n' '[Unit]' 'After=dbus.service systemd-machined.service' 'Wants=systemd-machined.service' \
  '[Service]' 'Type=notify' 'ExecStart=/usr/sbin/libvirtd --listen' 'KillMode=process' 'Delegate=yes' 'Restart=always' 'RestartSec=100ms' > "$E/libvirtd.service"
ln -s ../libvirtd.service "$E/testbed.target.wants/"
for u in libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd-tcp.socket libvirtd-tls.socket virtlogd.socket \
  virtlogd.service virtlockd.socket libvirt-guests.service; do ln -sf /dev/null "$E/$u"; done
mount -t tmpfs -o mode=755 ram "$R/run/ram"
cp -a "$D/overlay/." "$R/"
cp "$D"/units/* "$E/" 2>/dev/null || :
: > "$R/run/tb-mounts-ready"
until [ -e "$R/run/tb-net-ready" ]; do sleep .02; done
cd "$R"; mkdir -p mnt/.old; pivot_root . mnt/.old; umount -l /mnt/.old
exec /lib/systemd/systemd --system --unit=testbed.target --log-target=console --log-level=info --show-status=no
