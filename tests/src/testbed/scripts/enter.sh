#!/bin/sh
# enter.sh HOSTDIR INITPID CMD...: run CMD in all namespaces and in the cgroups of the host. nsenter alone leaves the cgroups:
# a libvirtd restarted that way would put its guests into the caller's groups.
d=$1 i=$2; shift 2
while read -r g; do echo $$ > "$g/cgroup.procs" || exit 125; done < "$d/join"
exec nsenter -t "$i" --all --wdns=/ -- "$@"
