#!/bin/busybox sh
# init of a testbed guest. Kernel command line: tb.load=idle|cpu:N|io|mem:MiB (',' between several), tb.ip=a.b.c.d/nn, tb.probe.
# Ticks once a second on ttyS0 without a single fork, so that an idle guest really idles; runs each line that comes in on
# ttyS1 as a shell command and answers with its output and 'TB-RC n'.
export PATH=/bin; /bin/busybox --install -s /bin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev; mount -t tmpfs t /tmp
for m in $(cat /mod/order); do insmod /mod/$m.ko || echo "insmod $m FAILED"; done
load=idle; ip=; probe=
for a in $(cat /proc/cmdline); do case $a in tb.load=*) load=${a#*=};; tb.ip=*) ip=${a#*=};; tb.probe) probe=1;; esac; done
[ -z "$ip" ] || { ip link set lo up; ip link set eth0 up; ip addr add $ip dev eth0; }
cat > /bin/work <<'W'
#!/bin/sh
# work cpu:2,io,mem:64: replaces the running load. Each load runs in a session of its own, killed as a whole.
for p in $(cat /tmp/work.pids 2>/dev/null); do kill -9 -$p 2>/dev/null; done; : > /tmp/work.pids
run() { setsid sh -c "$1" & echo $! >> /tmp/work.pids; }
for w in $(echo "$1" | tr , ' '); do case $w in
  idle) ;;
  cpu:*) i=0; while [ $i -lt ${w#*:} ]; do run 'while :; do :; done'; i=$((i+1)); done;;
  io) run 'while :; do dd if=/dev/zero of=/dev/vda bs=64k oflag=direct conv=notrunc 2>/dev/null; done';;
  mem:*) run 'while :; do dd if=/dev/urandom of=/tmp/m bs=1M count='${w#*:}' conv=notrunc 2>/dev/null; done';;
  *) echo "no such load: $w"; exit 1;;
esac; done; exit 0
W
chmod +x /bin/work
read up _ < /proc/uptime
echo "TB-BOOTED $up load=$load cpus=$(cat /sys/devices/system/cpu/online)"
[ -z "$probe" ] || poweroff -f
setsid work $load
(stty -F /dev/ttyS1 raw -echo 2>/dev/null && exec 0</dev/ttyS1 1>/dev/ttyS1 2>&1; while read -r l; do eval "$l"; echo "TB-RC $?"; done) &
mkfifo /tmp/never; exec 9<>/tmp/never
n=0 seen=
while :; do
  cur=    # no udev: bring a CPU online once, when it first appears (never one that is being unplugged)
  for c in /sys/devices/system/cpu/cpu[0-9]*; do c=${c##*/}; cur="$cur $c"
    case " $seen " in *" $c "*) ;; *) [ "$(cat /sys/devices/system/cpu/$c/online 2>/dev/null)" = 0 ] && echo 1 > /sys/devices/system/cpu/$c/online;; esac; done; seen=$cur
  n=$((n+1)); read up _ < /proc/uptime; read cpus < /sys/devices/system/cpu/online
  while read k v _; do case $k in MemTotal:) total=$v;; MemFree:) free=$v; break;; esac; done < /proc/meminfo
  echo "TB-TICK $n up=$up cpus=$cpus free=$free total=$total"
  read -t 1 x <&9
done
