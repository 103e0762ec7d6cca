//! Processes as the machine sees them, from /proc: finding them by namespace or parent, their CPU time, signals.

use super::{Error, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;

/// Clock ticks per second of utime/stime in /proc/PID/stat: USER_HZ, fixed at 100 in the kernel's ABI on x86-64.
const USER_HZ: f64 = 100.0;

/// Every process id.
pub(crate) fn pids() -> Vec<i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// Fields of /proc/PID/stat from number 3 (state) on: index 0 is the state.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.split_whitespace().map(str::to_owned).collect())
}

/// Start time in clock ticks since boot: with the pid it names a process for good.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    stat(pid)?.get(19)?.parse().ok()
}

/// State letter (`R`, `S`, `T`, `Z`, ...), or `None` when the process is gone.
pub fn state(pid: i32) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

/// Whether the process exists and is no zombie.
pub fn alive(pid: i32) -> bool {
    state(pid).is_some_and(|s| s != 'Z' && s != 'X')
}

/// CPU time (user and system, all threads, also ended ones), in seconds.
pub fn cpu_s(pid: i32) -> Option<f64> {
    let fields = stat(pid)?;
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / USER_HZ)
}

/// Time on a CPU of all present threads, in seconds, to the nanosecond (schedstat).
pub fn threads_cpu_s(pid: i32) -> Option<f64> {
    let mut total = 0u64;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        // A thread may end between the listing and the read.
        let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
        total += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(total as f64 / 1e9)
}

/// Resident set in KiB.
pub fn rss_kib(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

/// Bytes handed to write calls by all threads of the process (`wchar`).
pub fn written_bytes(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    text.lines().find_map(|l| l.strip_prefix("wchar: "))?.trim().parse().ok()
}

/// The command line, arguments separated by spaces.
pub fn command_line(pid: i32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned())
}

/// Short name.
pub fn comm(pid: i32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned())
}

/// Children of a process.
pub(crate) fn children(parent: i32) -> Vec<i32> {
    pids()
        .into_iter()
        .filter(|&pid| stat(pid).is_some_and(|f| f.get(1) == Some(&parent.to_string())))
        .collect()
}

/// A namespace of a process, e.g. `net:[4026531840]`.
pub fn namespace(pid: i32, kind: &str) -> Option<String> {
    Some(fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()?.to_string_lossy().into_owned())
}

/// Processes inside the PID namespace of `init`, seen from outside.
pub(crate) fn inside(init: i32) -> Vec<i32> {
    let Some(wanted) = namespace(init, "pid") else { return Vec::new() };
    pids().into_iter().filter(|&pid| namespace(pid, "pid").as_ref() == Some(&wanted)).collect()
}

/// Sends a signal.
pub fn signal(pid: i32, signal: Signal) -> Result<()> {
    let target = Pid::from_raw(pid).ok_or_else(|| Error::Guest(format!("{pid} is no process id")))?;
    kill_process(target, signal).map_err(|e| Error::io(format!("signal {signal:?} to {pid}"))(e.into()))
}

/// Idle time of these CPUs together since boot, waiting for I/O included, in seconds.
pub fn idle_s(cpus: &[u32]) -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let mut ticks = 0u64;
    for cpu in cpus {
        let name = format!("cpu{cpu} ");
        let fields: Vec<u64> = text
            .lines()
            .find_map(|l| l.strip_prefix(&name))?
            .split_whitespace()
            .filter_map(|f| f.parse().ok())
            .collect();
        ticks += fields.get(3)? + fields.get(4)?;
    }
    Some(ticks as f64 / USER_HZ)
}
