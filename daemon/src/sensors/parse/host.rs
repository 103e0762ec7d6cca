//! `/proc/stat`, `/proc/meminfo` (and a NUMA node's), pressure files. May not: do I/O.

use super::{fields, lines, number, whole_number};
use trimtab_policy::sample::{CpuTimes, Psi};

/// Calls `each` for every `cpuN` line of `/proc/stat`, with times in ns. Lines that are cut off or out of range are
/// skipped. Returns whether the text went on past the CPU lines, i.e. none is missing because the buffer was too small.
pub fn host_stat(text: &[u8], tick_ns: u64, mut each: impl FnMut(u32, CpuTimes)) -> bool {
    for line in lines(text) {
        let Some(rest) = line.strip_prefix(b"cpu") else { return !line.is_empty() };
        if let Some((cpu, times)) = cpu_line(rest, tick_ns) {
            each(cpu, times);
        }
    }
    false
}

/// One line after its `cpu`; `None` for the line of totals.
fn cpu_line(rest: &[u8], tick_ns: u64) -> Option<(u32, CpuTimes)> {
    let (cpu, rest) = number(rest)?;
    let mut ns = [0u64; 8];
    let mut values = fields(rest);
    for slot in &mut ns {
        *slot = whole_number(values.next()?)?.checked_mul(tick_ns)?;
    }
    let [user, nice, system_ns, idle_ns, iowait_ns, irq, softirq, steal_ns] = ns;
    let times = CpuTimes {
        user_ns: user.checked_add(nice)?,
        system_ns,
        idle_ns,
        iowait_ns,
        irq_ns: irq.checked_add(softirq)?,
        steal_ns,
    };
    Some((u32::try_from(cpu).ok()?, times))
}

/// Memory of the host or of a NUMA node, KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemInfo {
    /// `MemTotal`.
    pub total_kib: Option<u64>,
    /// `MemFree`.
    pub free_kib: Option<u64>,
    /// `MemAvailable` (not in a node's file).
    pub available_kib: Option<u64>,
}

/// Parses `/proc/meminfo` or `/sys/devices/system/node/nodeN/meminfo` (whose lines begin with `Node N `).
pub fn mem_info(text: &[u8]) -> MemInfo {
    let mut info = MemInfo::default();
    for line in lines(text) {
        let mut words = fields(line).skip_while(|word| !word.ends_with(b":"));
        let (Some(key), Some(value)) = (words.next(), words.next()) else { continue };
        let slot = match key {
            b"MemTotal:" => &mut info.total_kib,
            b"MemFree:" => &mut info.free_kib,
            b"MemAvailable:" => &mut info.available_kib,
            _ => continue,
        };
        if words.next() == Some(b"kB") {
            *slot = whole_number(value);
        }
    }
    info
}

/// Parses a pressure file; `None` without a `some` line (pressure accounting switched off reads as an error or empty).
pub fn psi(text: &[u8]) -> Option<Psi> {
    let total = |line: &[u8]| fields(line).find_map(|field| whole_number(field.strip_prefix(b"total=")?));
    let mut some_us = None;
    let mut full_us = None;
    for line in lines(text) {
        if line.starts_with(b"some ") {
            some_us = total(line);
        } else if line.starts_with(b"full ") {
            full_us = total(line);
        }
    }
    Some(Psi { some_us: some_us?, full_us })
}
