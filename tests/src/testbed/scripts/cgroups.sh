# Sourced by both init scripts: mounts the cgroup hierarchies afresh, rooted at this host's own groups (cgroup namespace).
mount_cgroups() { # DIR [options of name=systemd]
  if [ "$(grep -vc '^0::' /proc/self/cgroup)" = 0 ]; then      # pure cgroup v2
    mount -t cgroup2 cgroup2 "$1"
    mkdir -p "$1/init.scope"; echo 0 > "$1/init.scope/cgroup.procs"     # no process may stay in the root (v2 rule)
    return
  fi
  mount -t tmpfs -o mode=755 cgroup "$1"
  while IFS=: read -r _ ctl _; do case $ctl in
      "") mkdir -p "$1/unified"; mount -t cgroup2 cgroup2 "$1/unified";;
      name=*) mkdir -p "$1/${ctl#name=}"; mount -t cgroup -o "none,$ctl${2:+,$2}" cgroup "$1/${ctl#name=}";;
      *) mkdir -p "$1/$ctl"; mount -t cgroup -o "$ctl" cgroup "$1/$ctl";;
    esac; done < /proc/self/cgroup
}
