#!/bin/bash
# Inside a plain host: daemon.sh start|stop NAME. Returns when the daemon serves, or is gone.
set -u
pids() { for p in /proc/[0-9]*; do read -r c < "$p/comm" && [ "$c" = "$1" ] && echo "${p#/proc/}"; done 2>/dev/null; }
within() { local n=$(($1 * 20)); shift; until "$@" >/dev/null 2>&1; do sleep .05; n=$((n-1)); [ $n -gt 0 ] || return 1; done; }
until_ok() { within 15 "$@" || { echo "time-out: $*" >&2; exit 1; }; }
gone() { local p; for p in $(pids "$1"); do grep -q '^State:.Z' "/proc/$p/status" || return 1; done; }
bus() { busctl --timeout=10 call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus "$@"; }
case $1:$2 in
  start:dbus-daemon)
    rm -f /run/dbus/system_bus_socket
    setsid dbus-daemon --system --nofork --nopidfile </dev/null >>/var/log/libvirt/dbus-daemon.out 2>&1 &
    until_ok test -S /run/dbus/system_bus_socket;;
  start:libvirtd)
    rm -f /run/libvirt/libvirt-sock
    setsid libvirtd --listen </dev/null >>/var/log/libvirt/libvirtd.out 2>&1 &
    until_ok test -S /run/libvirt/libvirt-sock;;
  start:libvirt-dbus)
    [ ! -e /usr/share/dbus-1/system-services/off.org.libvirt ] ||
      mv /usr/share/dbus-1/system-services/{off.org.libvirt,org.libvirt.service}
    bus ReloadConfig >/dev/null; until_ok bus StartServiceByName su org.libvirt 0;;
  stop:*)
    # without this the bus would start libvirt-dbus again at once
    [ "$2" != libvirt-dbus ] || { mv /usr/share/dbus-1/system-services/{org.libvirt.service,off.org.libvirt}; bus ReloadConfig >/dev/null; }
    for p in $(pids "$2"); do kill -TERM "$p"; done
    # As an init does: libvirtd 11.3 now and then does not end by a SIGTERM alone, or not within 15 s.
    within 8 gone "$2" || for p in $(pids "$2"); do kill -KILL "$p"; done
    until_ok gone "$2";;
  *) echo "daemon.sh: $*?" >&2; exit 2;;
esac
