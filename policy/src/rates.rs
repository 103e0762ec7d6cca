//! Rates from two samples.
//!
//! Problem: counters go backwards (restart, reset), threads come and go, statistics come late, ticks get lost. Approach:
//! a rate exists only where both ends of the interval carry the same counter of the same thread, disk or CPU and it did
//! not go backwards; everything else is absent. Units: run and wait in CPUs (seconds per second), bytes/s, operations/s.
//! May not: judge what a rate means (identify does).

use crate::sample::{
    BlockSample, CpuTimes, GuestSample, GuestState, NetSample, PerfEvents, Psi, PsiSet, Sample, ThreadRole,
    ThreadSample,
};
use crate::units::{GuestId, MonoNs, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A thread cannot run or wait longer than the interval; readings up to this factor above are jitter between the sensor's
/// reads and are cut to 1, anything beyond is a counter that is not what it claims, and absent.
const JITTER: f64 = 1.5;

/// Rates over one interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// End of the interval.
    pub at: MonoNs,
    /// End of the interval on the wall clock; for humans only.
    pub wall: UnixMs,
    /// Length in seconds; absent at the first sample, after a gap, or when the clock did not advance: then all is absent.
    pub dt_s: Option<f64>,
    /// The host.
    pub host: HostRates,
    /// Guests present at the end of the interval.
    pub guests: BTreeMap<GuestId, GuestRates>,
}

/// The host over one interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostRates {
    /// Busy share per usable CPU, 0..=1.
    pub cpus: BTreeMap<u32, f64>,
    /// Mean of `cpus`.
    pub busy: Option<f64>,
    /// Pressure on the whole host.
    pub pressure: Pressure,
    /// MemTotal and MemAvailable at the end of the interval, KiB.
    pub memory_kib: Option<(u64, u64)>,
}

/// One role of a guest (all its threads of that role together).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoleRates {
    /// Which.
    pub role: ThreadRole,
    /// Time on a CPU, in CPUs.
    pub run: f64,
    /// Time runnable without a CPU, in CPUs.
    pub wait: f64,
    /// Times scheduled in per second, where known.
    pub slices_per_s: Option<f64>,
    /// Host CPU that a thread of this role last ran on.
    pub last_cpu: Option<u32>,
}

/// All disks of a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DiskRates {
    /// Bytes read per second.
    pub read_bps: f64,
    /// Bytes written per second.
    pub write_bps: f64,
    /// Requests (reads, writes, flushes) per second.
    pub ops_per_s: f64,
    /// Mean number of requests in flight (sum of latencies per second), where libvirt tells latencies.
    pub in_flight: Option<f64>,
}

/// One guest over one interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GuestRates {
    /// Present name.
    pub name: String,
    /// Roles with known run and wait, in order of role.
    pub roles: Vec<RoleRates>,
    /// Sum of run over `roles`; absent when a vCPU's counters are missing, since the sum would be too small.
    pub run: Option<f64>,
    /// Sum of wait over `roles`; absent as `run`.
    pub wait: Option<f64>,
    /// Disks; absent when the statistics are not of this tick.
    pub disk: Option<DiskRates>,
    /// Bytes received and sent per second; absent when the statistics are not of this tick or there is no interface.
    pub net_bps: Option<(f64, f64)>,
    /// perf events per second.
    pub perf: PerfEvents,
    /// Time that its threads were blocked on block I/O, in seconds a second, where the kernel accounts for it.
    pub block_delay: Option<f64>,
    /// Bytes that its threads caused to be read from and written to storage per second, where that is sensed.
    pub storage_bps: Option<(f64, f64)>,
    /// Present balloon size, KiB; absent when the statistics are not of this tick.
    pub balloon_kib: Option<u64>,
    /// Pressure in its own cgroup (v2).
    pub pressure: Pressure,
}

/// Share of the interval in which some task waited for a resource (PSI some), 0..=1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// For a CPU.
    pub cpu: Option<f64>,
    /// For I/O.
    pub io: Option<f64>,
    /// For memory.
    pub memory: Option<f64>,
}

impl GuestRates {
    /// Run and wait of the vCPUs, summed.
    pub fn vcpus(&self) -> impl Iterator<Item = &RoleRates> {
        self.roles.iter().filter(|r| !r.role.is_service())
    }
    /// Roles that serve the guest's I/O.
    pub fn services(&self) -> impl Iterator<Item = &RoleRates> {
        self.roles.iter().filter(|r| r.role.is_service())
    }
}

/// Bulk statistics of the last tick that had them, since rates of late statistics span more than one tick.
#[derive(Clone, Debug)]
struct Fresh {
    at: MonoNs,
    pid: Option<i32>,
    blocks: Vec<BlockSample>,
    nets: Vec<NetSample>,
}

/// Remembers what is needed of former samples to make rates of the next.
#[derive(Clone, Debug, Default)]
pub struct Differ {
    previous: Option<Sample>,
    fresh: BTreeMap<GuestId, Fresh>,
}

impl Differ {
    /// Rates from the previous sample to this one, which becomes the previous.
    ///
    /// Longer intervals than `gap_max_ms` give no rates: load on both sides of a stall is not the same load.
    pub fn next(&mut self, mut sample: Sample, gap_max_ms: u64) -> Rates {
        let dt_s = self.previous.as_ref().and_then(|p| {
            let dt_ns = sample.at.since(p.at);
            (dt_ns > 0 && dt_ns <= gap_max_ms.saturating_mul(1_000_000)).then_some(dt_ns as f64 / 1e9)
        });
        let mut rates = Rates { at: sample.at, wall: sample.wall, dt_s, ..Rates::default() };
        let previous = self.previous.take();
        if let (Some(dt_s), Some(begin)) = (dt_s, &previous) {
            rates.host = host_rates(begin, &sample, dt_s);
        }
        for (&id, guest) in &mut sample.guests {
            let begin = previous.as_ref().and_then(|p| p.guests.get(&id)).filter(|b| b.pid == guest.pid);
            let mut of_guest = match (dt_s, begin) {
                (Some(dt_s), Some(begin)) => guest_rates(begin, guest, dt_s),
                _ => GuestRates { name: guest.name.clone(), ..GuestRates::default() },
            };
            self.bulk(id, guest, gap_max_ms, &mut of_guest);
            rates.guests.insert(id, of_guest);
        }
        self.fresh.retain(|id, _| sample.guests.contains_key(id));
        self.previous = Some(sample);
        rates
    }

    /// The sample that the last rates ended at, without its statistics of disks and interfaces.
    pub fn last(&self) -> Option<&Sample> {
        self.previous.as_ref()
    }

    /// Disk and network rates between the last two ticks that had bulk statistics.
    fn bulk(&mut self, id: GuestId, guest: &mut GuestSample, gap_max_ms: u64, rates: &mut GuestRates) {
        let Some(at) = guest.stats_at else { return };
        rates.balloon_kib = guest.balloon_kib;
        let (blocks, nets) = (std::mem::take(&mut guest.blocks), std::mem::take(&mut guest.nets));
        let now = Fresh { at, pid: guest.pid, blocks, nets };
        if let Some(begin) = self.fresh.get(&id).filter(|begin| begin.pid == now.pid) {
            let dt_ns = at.since(begin.at);
            if dt_ns > 0 && dt_ns <= gap_max_ms.saturating_mul(1_000_000) {
                let dt_s = dt_ns as f64 / 1e9;
                rates.disk = disk_rates(&begin.blocks, &now.blocks, dt_s);
                rates.net_bps = net_rates(&begin.nets, &now.nets, dt_s);
            }
        }
        self.fresh.insert(id, now);
    }
}

/// Increase of a counter per second; absent if it is at either end or went backwards.
fn per_s(begin: Option<u64>, end: Option<u64>, dt_s: f64) -> Option<f64> {
    end?.checked_sub(begin?).map(|delta| delta as f64 / dt_s)
}

/// Increase of a scaled counter per second; absent as in `per_s` or if not finite.
fn per_s_f(begin: Option<f64>, end: Option<f64>, dt_s: f64) -> Option<f64> {
    let rate = (end? - begin?) / dt_s;
    (rate.is_finite() && rate >= 0.0).then_some(rate)
}

/// A nanosecond counter of one thread as share of the interval.
fn share(begin: Option<u64>, end: Option<u64>, dt_s: f64) -> Option<f64> {
    per_s(begin, end, dt_s).map(|ns| ns / 1e9).filter(|&s| s <= JITTER).map(|s| s.min(1.0))
}

fn pressure(begin: &PsiSet, end: &PsiSet, dt_s: f64) -> Pressure {
    let of = |begin: Option<Psi>, end: Option<Psi>| {
        per_s(begin.map(|p| p.some_us), end.map(|p| p.some_us), dt_s).map(|us| (us / 1e6).min(1.0))
    };
    Pressure { cpu: of(begin.cpu, end.cpu), io: of(begin.io, end.io), memory: of(begin.memory, end.memory) }
}

fn host_rates(begin: &Sample, end: &Sample, dt_s: f64) -> HostRates {
    let mut cpus = BTreeMap::new();
    for cpu in end.host.topology.cpus.iter().map(|c| c.cpu) {
        let ends = begin.host.cpus.get(&cpu).zip(end.host.cpus.get(&cpu));
        if let Some(busy) = ends.and_then(|(b, e)| busy(b, e, dt_s)) {
            cpus.insert(cpu, busy);
        }
    }
    let mean = (!cpus.is_empty()).then(|| cpus.values().sum::<f64>() / cpus.len() as f64);
    HostRates {
        busy: mean,
        cpus,
        pressure: pressure(&begin.host.psi, &end.host.psi, dt_s),
        memory_kib: end.host.mem_total_kib.zip(end.host.mem_available_kib),
    }
}

/// Busy share from the busy counters alone: the kernel's idle and iowait counters are known to run backwards.
fn busy(begin: &CpuTimes, end: &CpuTimes, dt_s: f64) -> Option<f64> {
    let pairs = [
        (begin.user_ns, end.user_ns),
        (begin.system_ns, end.system_ns),
        (begin.irq_ns, end.irq_ns),
        (begin.steal_ns, end.steal_ns),
    ];
    let mut ns = 0u64;
    for (b, e) in pairs {
        ns = ns.saturating_add(e.checked_sub(b)?);
    }
    let share = ns as f64 / 1e9 / dt_s;
    (share <= JITTER).then_some(share.min(1.0))
}

fn guest_rates(begin: &GuestSample, end: &GuestSample, dt_s: f64) -> GuestRates {
    let mut roles: Vec<RoleRates> = Vec::with_capacity(end.threads.len());
    let mut vcpus_seen = 0u32;
    let mut others = Others::default();
    let mut before = begin.threads.iter().peekable();
    for thread in &end.threads {
        while before.peek().is_some_and(|b| b.tid < thread.tid) {
            before.next();
        }
        let Some(b) = before.peek().filter(|b| b.tid == thread.tid && b.role == thread.role) else {
            continue;
        };
        others.add(b, thread, dt_s);
        let (Some(run), Some(wait)) =
            (share(b.run_ns, thread.run_ns, dt_s), share(b.wait_ns, thread.wait_ns, dt_s))
        else {
            continue;
        };
        if !thread.role.is_service() {
            vcpus_seen += 1;
        }
        let slices = per_s(b.slices, thread.slices, dt_s);
        let new = || RoleRates { role: thread.role, run: 0.0, wait: 0.0, slices_per_s: None, last_cpu: None };
        let role = by_role(&mut roles, thread.role, |r| r.role, new);
        role.run += run;
        role.wait += wait;
        role.slices_per_s = sum(role.slices_per_s, slices);
        role.last_cpu = thread.last_cpu.or(role.last_cpu);
    }
    let wanted = end.threads.iter().filter(|t| !t.role.is_service()).count() as u32;
    let complete = vcpus_seen > 0 && vcpus_seen == wanted && end.state == GuestState::Running;
    let total = |f: fn(&RoleRates) -> f64| complete.then(|| roles.iter().map(f).sum());
    GuestRates {
        name: end.name.clone(),
        run: total(|r| r.run),
        wait: total(|r| r.wait),
        roles,
        perf: others.perf(wanted),
        block_delay: others.block_delay,
        storage_bps: others.read.zip(others.written),
        pressure: pressure(&begin.psi, &end.psi, dt_s),
        ..GuestRates::default()
    }
}

/// Sums over the threads of a guest besides run and wait.
#[derive(Default)]
struct Others {
    /// Instructions, cycles, last-level and second-level misses of vCPUs, and of how many.
    hardware: [(f64, u32); 4],
    context_switches: Option<f64>,
    cpu_migrations: Option<f64>,
    block_delay: Option<f64>,
    read: Option<f64>,
    written: Option<f64>,
}

impl Others {
    fn add(&mut self, begin: &ThreadSample, end: &ThreadSample, dt_s: f64) {
        self.block_delay = sum(self.block_delay, share(begin.blkio_ns, end.blkio_ns, dt_s));
        self.read = sum(self.read, per_s(begin.read_bytes, end.read_bytes, dt_s));
        self.written = sum(self.written, per_s(begin.write_bytes, end.write_bytes, dt_s));
        let (Some(b), Some(e)) = (begin.perf, end.perf) else { return };
        self.context_switches =
            sum(self.context_switches, per_s_f(b.context_switches, e.context_switches, dt_s));
        self.cpu_migrations = sum(self.cpu_migrations, per_s_f(b.cpu_migrations, e.cpu_migrations, dt_s));
        if end.role.is_service() {
            return;
        }
        let counts = |p: PerfEvents| [p.instructions, p.cycles, p.llc_misses, p.l2_misses];
        for ((total, threads), (b, e)) in self.hardware.iter_mut().zip(counts(b).into_iter().zip(counts(e))) {
            if let Some(rate) = per_s_f(b, e, dt_s) {
                *total += rate;
                *threads += 1;
            }
        }
    }

    /// Of a guest of so many vCPUs.
    fn perf(&self, vcpus: u32) -> PerfEvents {
        let [instructions, cycles, llc_misses, l2_misses] =
            self.hardware.map(|(total, threads)| (threads > 0 && threads == vcpus).then_some(total));
        let (context_switches, cpu_migrations) = (self.context_switches, self.cpu_migrations);
        PerfEvents { instructions, cycles, llc_misses, l2_misses, context_switches, cpu_migrations }
    }
}

/// The entry of one role in a list in order of role, made if it is not there. A guest has few roles: a list is quicker than a
/// map, and is what is wanted in the end.
pub(crate) fn by_role<T>(
    all: &mut Vec<T>,
    role: ThreadRole,
    of: impl Fn(&T) -> ThreadRole,
    new: impl FnOnce() -> T,
) -> &mut T {
    let at = all.binary_search_by_key(&role, of).unwrap_or_else(|at| {
        all.insert(at, new());
        at
    });
    &mut all[at]
}

fn sum(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}

fn disk_rates(begin: &[BlockSample], end: &[BlockSample], dt_s: f64) -> Option<DiskRates> {
    let mut total: Option<DiskRates> = None;
    for e in end {
        let Some(b) = begin.iter().find(|b| b.name == e.name) else { continue };
        let (read, write) = (per_s(b.rd_bytes, e.rd_bytes, dt_s), per_s(b.wr_bytes, e.wr_bytes, dt_s));
        if read.is_none() && write.is_none() {
            continue;
        }
        let ops = [(b.rd_reqs, e.rd_reqs), (b.wr_reqs, e.wr_reqs), (b.fl_reqs, e.fl_reqs)];
        let latency = sum(per_s(b.rd_time_ns, e.rd_time_ns, dt_s), per_s(b.wr_time_ns, e.wr_time_ns, dt_s));
        let t = total.get_or_insert_default();
        t.read_bps += read.unwrap_or_default();
        t.write_bps += write.unwrap_or_default();
        t.ops_per_s += ops.iter().filter_map(|&(b, e)| per_s(b, e, dt_s)).sum::<f64>();
        t.in_flight = sum(t.in_flight, latency.map(|ns| ns / 1e9));
    }
    total
}

fn net_rates(begin: &[NetSample], end: &[NetSample], dt_s: f64) -> Option<(f64, f64)> {
    let mut total: Option<(f64, f64)> = None;
    for e in end {
        let Some(b) = begin.iter().find(|b| b.name == e.name) else { continue };
        if let (Some(rx), Some(tx)) =
            (per_s(b.rx_bytes, e.rx_bytes, dt_s), per_s(b.tx_bytes, e.tx_bytes, dt_s))
        {
            let t = total.get_or_insert_default();
            t.0 += rx;
            t.1 += tx;
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Topology;
    use std::sync::Arc;

    const GUEST: GuestId = GuestId([1; 16]);

    fn thread(tid: i32, role: ThreadRole, counts: PerfEvents, k: u64) -> ThreadSample {
        ThreadSample {
            tid,
            role,
            run_ns: Some(k * 500_000_000),
            wait_ns: Some(k * 250_000_000),
            slices: Some(k * 100),
            blkio_ns: Some(k * 125_000_000),
            last_cpu: Some(0),
            read_bytes: Some(k * 10),
            write_bytes: None,
            perf: Some(counts),
        }
    }

    /// After `k` seconds: two vCPUs of which the second counts no cache misses, and the emulator.
    fn sample(k: u64) -> Sample {
        let x = k as f64;
        let counts = |misses: Option<f64>| PerfEvents {
            instructions: Some(1000.0 * x),
            llc_misses: misses,
            context_switches: Some(10.0 * x),
            ..PerfEvents::default()
        };
        let guest = GuestSample {
            pid: Some(7),
            threads: vec![
                thread(1, ThreadRole::Vcpu(0), counts(Some(x)), k),
                thread(2, ThreadRole::Vcpu(1), counts(None), k),
                thread(3, ThreadRole::Emulator, counts(Some(x)), k),
            ],
            psi: PsiSet { io: Some(Psi { some_us: k * 200_000, full_us: None }), ..PsiSet::default() },
            ..GuestSample::default()
        };
        let mut sample = Sample { at: MonoNs(k * 1_000_000_000), ..Sample::default() };
        sample.host.topology = Arc::new(Topology::flat(2));
        sample.guests.insert(GUEST, guest);
        sample
    }

    #[test]
    fn a_counter_is_a_sum_over_all_threads_that_it_is_promised_of_or_absent() {
        let mut differ = Differ::default();
        differ.next(sample(1), 5_000);
        let rates = differ.next(sample(2), 5_000);
        let guest = &rates.guests[&GUEST];
        assert_eq!(guest.perf.instructions, Some(2000.0), "of the vCPUs");
        assert_eq!(guest.perf.llc_misses, None, "one vCPU does not count them");
        assert_eq!((guest.perf.cycles, guest.perf.cpu_migrations), (None, None));
        assert_eq!(guest.perf.context_switches, Some(30.0), "of all threads");
        assert_eq!((guest.block_delay, guest.storage_bps), (Some(0.375), None), "written bytes are unknown");
        assert_eq!(guest.pressure, Pressure { io: Some(0.2), ..Pressure::default() });
        assert_eq!((guest.run, guest.wait), (Some(1.5), Some(0.75)));
    }
}
