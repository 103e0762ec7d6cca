#!/bin/bash
# keeper.sh WORK [keep]: the one place where a testbed is taken down. Waits for the end of its standard input, which is the
# end of the process that owns the testbed, however it ended; then kills the hosts (a host's PID namespace dies with its
# init, every process in it too), removes their cgroups and WORK. Says what it could not remove and exits 1.
trap '' INT TERM HUP QUIT
WORK=$1; rc=0
while read -r _; do :; done
for f in "$WORK"/*/unshare.pid; do
  [ -s "$f" ] || continue; p=$(<"$f")
  if tr '\0' ' ' < "/proc/$p/cmdline" 2>/dev/null | grep -qF "$WORK"; then kill -KILL "$p" 2>/dev/null; fi
done
for f in "$WORK"/*/cgroups; do
  [ -e "$f" ] || continue
  while read -r g; do n=0
    until [ ! -d "$g" ] || find "$g" -depth -type d -exec rmdir {} + 2>/dev/null; do
      n=$((n+1)); [ $n -lt 400 ] || { echo "left: cgroup $g with processes $(find "$g" -name cgroup.procs -exec cat {} + 2>/dev/null | tr '\n' ' ')"; rc=1; break; }
      find "$g" -name cgroup.procs -exec cat {} + 2>/dev/null | xargs -r kill -KILL 2>/dev/null
      sleep .05
    done
  done < "$f"
done
cd /
if [ "${2:-}" = keep ]; then rm -f "$WORK/owner"; else rm -rf --one-file-system "$WORK" || { echo "left: $WORK"; rc=1; }; fi
exit $rc
