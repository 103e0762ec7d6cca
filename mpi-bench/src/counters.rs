//! What the machine did to a rank meanwhile: perf events, context switches, faults, stolen time. Read, never written.
//! A counter that the kernel or the hypervisor does not offer is absent, never 0.

use std::time::Instant;

use perf_event::events::{Cache, CacheId, CacheOp, CacheResult, Hardware, Raw, Software};
use perf_event::{Builder, CountAndTime, Counter};
use serde::Serialize;

use crate::host;

/// Deltas over one kernel run, of one rank. Steal is of the rank's whole node.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Delta {
    /// Wall-clock seconds from set-up to report.
    pub seconds: f64,
    /// CPU time of the process, user and system.
    pub cpu_seconds: f64,
    /// Context switches that the rank asked for (it waited).
    pub voluntary_context_switches: i64,
    /// Context switches that were forced on it (something else ran).
    pub involuntary_context_switches: i64,
    /// Page faults served without I/O.
    pub minor_faults: i64,
    /// Page faults that needed I/O.
    pub major_faults: i64,
    /// Largest resident size so far, KiB.
    pub max_rss_kib: i64,
    /// Time that the hypervisor took from the node's CPUs, in ticks of 1/100 s; absent outside Linux's /proc/stat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_steal_ticks: Option<u64>,
    /// perf: moves between CPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_migrations: Option<u64>,
    /// perf: CPU cycles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cycles: Option<u64>,
    /// perf: retired instructions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<u64>,
    /// perf: L1 data cache read misses, that is, L2 accesses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l1d_misses: Option<u64>,
    /// perf: L2 misses; absent on a CPU whose event for it is not known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l2_misses: Option<u64>,
    /// perf: last-level cache misses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llc_misses: Option<u64>,
}

/// Counters that run.
pub struct Counters {
    begin: Instant,
    usage: libc::rusage,
    steal: Option<u64>,
    migrations: Option<Counter>,
    cycles: Option<Counter>,
    instructions: Option<Counter>,
    l1d: Option<Counter>,
    l2: Option<Counter>,
    llc: Option<Counter>,
}

impl Counters {
    /// Starts every counter that there is.
    #[must_use]
    pub fn start() -> Self {
        let l1d = Cache { which: CacheId::L1D, operation: CacheOp::READ, result: CacheResult::MISS };
        Self {
            begin: Instant::now(),
            usage: usage(),
            steal: host::steal_ticks(),
            // A process is moved by the kernel: without the kernel's part there are never any.
            migrations: counter(Builder::new(Software::CPU_MIGRATIONS).include_kernel()),
            cycles: counter(&Builder::new(Hardware::CPU_CYCLES)),
            instructions: counter(&Builder::new(Hardware::INSTRUCTIONS)),
            l1d: counter(&Builder::new(l1d)),
            l2: l2_event().and_then(|code| counter(&Builder::new(Raw::new(code)))),
            llc: counter(&Builder::new(Hardware::CACHE_MISSES)),
        }
    }

    /// What has happened since the start.
    #[must_use]
    pub fn delta(mut self) -> Delta {
        let now = usage();
        let cpu = |u: &libc::rusage| {
            (u.ru_utime.tv_sec + u.ru_stime.tv_sec) as f64
                + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) as f64 * 1e-6
        };
        let read =
            |c: &mut Option<Counter>| c.as_mut().and_then(|c| c.read_count_and_time().ok()).and_then(scaled);
        Delta {
            seconds: self.begin.elapsed().as_secs_f64(),
            cpu_seconds: cpu(&now) - cpu(&self.usage),
            voluntary_context_switches: now.ru_nvcsw - self.usage.ru_nvcsw,
            involuntary_context_switches: now.ru_nivcsw - self.usage.ru_nivcsw,
            minor_faults: now.ru_minflt - self.usage.ru_minflt,
            major_faults: now.ru_majflt - self.usage.ru_majflt,
            max_rss_kib: now.ru_maxrss,
            node_steal_ticks: host::steal_ticks()
                .zip(self.steal)
                .map(|(end, begin)| end.saturating_sub(begin)),
            cpu_migrations: read(&mut self.migrations),
            cycles: read(&mut self.cycles),
            instructions: read(&mut self.instructions),
            l1d_misses: read(&mut self.l1d),
            l2_misses: read(&mut self.l2),
            llc_misses: read(&mut self.llc),
        }
    }
}

/// The count for the whole time. The kernel lets more events than the CPU has counters take turns, and says for how long each was
/// counted. One whose turn never came has no count.
fn scaled(seen: CountAndTime) -> Option<u64> {
    match seen.time_running {
        0 => None,
        running if running >= seen.time_enabled => Some(seen.count),
        running => Some((seen.count as f64 * seen.time_enabled as f64 / running as f64) as u64),
    }
}

/// A running counter, or nothing where the event is not available (no PMU in a guest, perf_event_paranoid).
fn counter(builder: &Builder<'_>) -> Option<Counter> {
    let mut counter = builder.build().ok()?;
    counter.enable().ok()?;
    Some(counter)
}

/// perf has no common name for L2 misses: Intel's L2_RQSTS.MISS (Haswell and later), AMD's L2CacheReqStat (fills that missed,
/// Zen and later), the Arm architecture's L2D_CACHE_REFILL. By the manufacturers' manuals.
fn l2_event() -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    {
        let leaf = std::arch::x86_64::__cpuid(0);
        let modern = is_x86_feature_detected!("avx2");
        // Four letters of the vendor are enough to tell them apart: Genu-ineI-ntel, Auth-enti-cAMD.
        match &leaf.ebx.to_le_bytes() {
            b"Genu" if modern => Some(0x3f24),
            b"Auth" if modern => Some(0x0964),
            _ => None,
        }
    }
    #[cfg(target_arch = "aarch64")]
    return Some(0x17);
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    None
}

fn usage() -> libc::rusage {
    // SAFETY: rusage is plain data, all zeroes is valid, and getrusage only writes it. It cannot fail for RUSAGE_SELF.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    }
}

#[cfg(test)]
mod tests {
    use perf_event::CountAndTime;

    use super::{Counters, scaled};

    /// Moves this thread between two CPUs; the counter may not be there (perf_event_paranoid).
    #[test]
    fn a_move_between_cpus_is_counted() {
        let counters = Counters::start();
        let moved = [0, 1, 0, 1].iter().filter(|&&cpu| runs_on(cpu)).count();
        let counted = counters.delta().cpu_migrations;
        assert!(moved < 4 || counted.is_none_or(|moves| moves >= 3), "{counted:?}");
    }

    /// Binds this thread to a CPU, if it may run there.
    fn runs_on(cpu: usize) -> bool {
        // SAFETY: a CPU set is plain data; the calls only write and read it.
        unsafe {
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cpu, &mut one);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const one) == 0
        }
    }

    #[test]
    fn a_count_covers_the_whole_time_or_is_absent() {
        let of =
            |count, time_enabled, time_running| scaled(CountAndTime { count, time_enabled, time_running });
        assert_eq!(of(0, 100, 0), None, "its turn never came");
        assert_eq!(of(7, 100, 100), Some(7));
        assert_eq!(of(7, 100, 25), Some(28));
        assert_eq!(of(0, 100, 25), Some(0));
    }
}
