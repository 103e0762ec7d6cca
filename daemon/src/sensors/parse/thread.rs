//! `/proc/PID/task/TID/{schedstat,stat,io,comm,cgroup}`. May not: do I/O.

use super::{fields, lines, number, whole_number};
use trimtab_policy::sample::ThreadRole;

/// `schedstat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedStat {
    /// Time on a CPU, ns.
    pub run_ns: u64,
    /// Time runnable but waiting, ns.
    pub wait_ns: u64,
    /// Times scheduled in.
    pub slices: u64,
}

/// Parses `schedstat`: three numbers.
pub fn sched_stat(text: &[u8]) -> Option<SchedStat> {
    let (run_ns, rest) = number(text)?;
    let (wait_ns, rest) = number(rest.strip_prefix(b" ")?)?;
    let (slices, rest) = number(rest.strip_prefix(b" ")?)?;
    rest.trim_ascii().is_empty().then_some(SchedStat { run_ns, wait_ns, slices })
}

/// The fields of `stat` that are used; times in USER_HZ ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Field 14, user time.
    pub utime_ticks: u64,
    /// Field 15, system time.
    pub stime_ticks: u64,
    /// Field 39, CPU last run on.
    pub processor: Option<u32>,
    /// Field 42, time blocked on block I/O; always 0 when delay accounting is off.
    pub blkio_ticks: Option<u64>,
}

/// Parses `stat`. The comm in field 2 may hold spaces and parentheses: fields are counted from the *last* `)`.
pub fn stat(text: &[u8]) -> Option<Stat> {
    let end = text.iter().rposition(|&byte| byte == b')')?;
    // The first field after the comm is number 3.
    let mut rest = fields(&text[end + 1..]);
    let utime_ticks = whole_number(rest.nth(14 - 3)?)?;
    let stime_ticks = whole_number(rest.next()?)?;
    let processor = rest.nth(39 - 16).and_then(whole_number).and_then(|cpu| u32::try_from(cpu).ok());
    let blkio_ticks = rest.nth(42 - 40).and_then(whole_number);
    Some(Stat { utime_ticks, stime_ticks, processor, blkio_ticks })
}

/// Storage traffic from `io`, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// `read_bytes`.
    pub read_bytes: Option<u64>,
    /// `write_bytes`.
    pub write_bytes: Option<u64>,
}

/// Parses `io`; lines that it does not know are skipped.
pub fn io(text: &[u8]) -> Io {
    let mut io = Io::default();
    for line in lines(text) {
        if let Some(value) = line.strip_prefix(b"read_bytes:") {
            io.read_bytes = whole_number(value);
        } else if let Some(value) = line.strip_prefix(b"write_bytes:") {
            io.write_bytes = whole_number(value);
        }
    }
    io
}

/// What a thread's name says about its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The name is one that qemu or the kernel gives to this role alone.
    Known(ThreadRole),
    /// One of qemu's thread pool: it belongs to whoever started it, which only its cgroup tells.
    Worker,
    /// A name that says nothing.
    Unknown,
}

/// Reads the role from a comm: "CPU 0/KVM", "CPU 12/TCG", "ALL CPUs/TCG" (one thread for all vCPUs), "IO iothread1",
/// "worker", "vhost-4711".
pub fn comm_role(comm: &[u8]) -> Role {
    let comm = comm.trim_ascii_end();
    if let Some((vcpu, rest)) = comm.strip_prefix(b"CPU ").and_then(number)
        && rest.starts_with(b"/")
    {
        return small(vcpu).map_or(Role::Unknown, |n| Role::Known(ThreadRole::Vcpu(n)));
    }
    if comm.starts_with(b"ALL CPUs/") {
        return Role::Known(ThreadRole::Vcpu(0));
    }
    if let Some(id) = comm.strip_prefix(b"IO iothread").and_then(whole_number) {
        return small(id).map_or(Role::Unknown, |n| Role::Known(ThreadRole::Iothread(n)));
    }
    if vhost_owner(comm).is_some() {
        return Role::Known(ThreadRole::Vhost);
    }
    if comm == b"worker" { Role::Worker } else { Role::Unknown }
}

/// The pid in "vhost-4711": the thread of qemu that owns the vhost device.
pub fn vhost_owner(comm: &[u8]) -> Option<i32> {
    comm.trim_ascii_end()
        .strip_prefix(b"vhost-")
        .and_then(whole_number)
        .and_then(|pid| i32::try_from(pid).ok())
}

/// Reads the role from a thread's `cgroup` file: libvirt puts each thread it knows into `vcpuN`, `iothreadN` or
/// `emulator` below the guest's own group (on v1 only in the cpu, cpuacct and cpuset hierarchies).
pub fn group_role(cgroup: &[u8]) -> Option<ThreadRole> {
    lines(cgroup).find_map(|line| {
        let leaf = &line[line.iter().rposition(|&byte| byte == b'/')? + 1..];
        if leaf == b"emulator" {
            return Some(ThreadRole::Emulator);
        }
        let numbered = |name: &[u8]| leaf.strip_prefix(name).and_then(whole_number).and_then(small);
        numbered(b"vcpu").map(ThreadRole::Vcpu).or_else(|| numbered(b"iothread").map(ThreadRole::Iothread))
    })
}

/// Thread numbers of a guest are small; anything else is not one.
fn small(n: u64) -> Option<u32> {
    u32::try_from(n).ok().filter(|&n| n <= 65_535)
}
