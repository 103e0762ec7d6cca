//! What the sensors saw at one instant: raw, cumulative counters under the kernel's and libvirt's own names.
//!
//! `Option` means "this kernel, libvirt or guest does not have it" (absent, never 0). Rates are computed elsewhere from
//! two samples. May not: hold anything derived.

use crate::knob::{Knob, KnobValue, PriorityDomain};
use crate::topology::Topology;
use crate::units::{GuestId, MonoNs, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Everything seen at one tick.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When, on the monotonic clock.
    pub at: MonoNs,
    /// When, on the wall clock; for the journal only.
    pub wall: UnixMs,
    /// The host.
    pub host: HostSample,
    /// The guests that run or are paused, by identity.
    pub guests: BTreeMap<GuestId, GuestSample>,
}

/// The host at one instant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostSample {
    /// Usable CPUs and NUMA shape; replaced when CPUs go off- or online.
    pub topology: Arc<Topology>,
    /// How guests' CPU priority can be turned here.
    pub priority: PriorityDomain,
    /// Time per online CPU since boot, from /proc/stat.
    pub cpus: BTreeMap<u32, CpuTimes>,
    /// `/proc/pressure/cpu`, `io`, `memory`.
    pub psi: PsiSet,
    /// MemTotal, KiB.
    pub mem_total_kib: Option<u64>,
    /// MemAvailable, KiB.
    pub mem_available_kib: Option<u64>,
}

/// `/proc/stat` times of one CPU since boot, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuTimes {
    /// user + nice (the kernel counts guest time in user too).
    pub user_ns: u64,
    /// system.
    pub system_ns: u64,
    /// idle.
    pub idle_ns: u64,
    /// iowait (idle with an I/O outstanding).
    pub iowait_ns: u64,
    /// irq + softirq.
    pub irq_ns: u64,
    /// Stolen by the hypervisor below, where this host is itself a guest.
    pub steal_ns: u64,
}

/// Pressure stall information of one resource: total stalled time since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Psi {
    /// At least one task stalled, microseconds.
    pub some_us: u64,
    /// All tasks stalled, microseconds; absent for system-wide cpu on older kernels.
    pub full_us: Option<u64>,
}

/// PSI of the three resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PsiSet {
    /// cpu
    pub cpu: Option<Psi>,
    /// io
    pub io: Option<Psi>,
    /// memory
    pub memory: Option<Psi>,
}

/// libvirt's domain state, as far as control needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestState {
    /// Running.
    #[default]
    Running,
    /// Paused by an admin or by an I/O error: left alone.
    Paused,
    /// Any other state (in shutdown, crashed, ...): left alone.
    Other,
}

/// What the admin wrote into the guest's libvirt metadata (namespace `urn:trimtab:guest:1`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GuestMeta {
    /// Relative weight; 1024 unless told.
    pub weight: u32,
    /// The gang (MPI job) that the guest belongs to.
    pub job: Option<String>,
    /// The guest is left alone altogether.
    pub excluded: bool,
    /// Knob families that must not be turned for this guest.
    pub excluded_knobs: BTreeSet<crate::knob::Family>,
}

impl Default for GuestMeta {
    fn default() -> Self {
        Self { weight: 1024, job: None, excluded: false, excluded_knobs: BTreeSet::new() }
    }
}

/// What a host thread of a guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThreadRole {
    /// vCPU number n.
    Vcpu(u32),
    /// libvirt's "emulator": qemu's main thread and every helper thread that is not one of the others.
    Emulator,
    /// IOThread number n (libvirt's id).
    Iothread(u32),
    /// In-kernel vhost worker of this guest.
    Vhost,
}

impl ThreadRole {
    /// Whether the thread does I/O on behalf of the guest rather than running its code.
    pub fn is_service(self) -> bool {
        !matches!(self, Self::Vcpu(_))
    }
}

/// Counters of one host thread of a guest since the thread began. Worker threads of qemu's pool that came and went are
/// folded by the sensor into one `Emulator` entry per tid; a tid that vanishes simply vanishes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThreadSample {
    /// Host thread id.
    pub tid: i32,
    /// What it does.
    pub role: ThreadRole,
    /// Time on a CPU (schedstat field 1), ns.
    pub run_ns: Option<u64>,
    /// Time runnable but waiting for a CPU (schedstat field 2), ns.
    pub wait_ns: Option<u64>,
    /// Times scheduled in (schedstat field 3).
    pub slices: Option<u64>,
    /// Time blocked on block I/O (stat delayacct_blkio_ticks), ns.
    pub blkio_ns: Option<u64>,
    /// Host CPU it last ran on.
    pub last_cpu: Option<u32>,
    /// Bytes that this thread caused to be read from / written to storage (io read_bytes / write_bytes).
    pub read_bytes: Option<u64>,
    /// See `read_bytes`.
    pub write_bytes: Option<u64>,
    /// perf counters, scaled for multiplexing.
    pub perf: Option<PerfEvents>,
}

/// One figure for each perf event, absent where the PMU or the kernel does not count it. In a [`ThreadSample`] the count since
/// the events were opened, scaled when multiplexed; in [`crate::rates::GuestRates`] events per second of the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PerfEvents {
    /// Retired instructions; of a guest this and the next three are those of all its vCPUs, and absent when those of one are
    /// missing, which would look like lost work.
    pub instructions: Option<f64>,
    /// Cycles.
    pub cycles: Option<f64>,
    /// Last-level-cache read misses.
    pub llc_misses: Option<f64>,
    /// L2 misses.
    pub l2_misses: Option<f64>,
    /// Context switches; of a guest those of all threads that are counted. The sensors read them rarely.
    pub context_switches: Option<f64>,
    /// Migrations between host CPUs, likewise.
    pub cpu_migrations: Option<f64>,
}

/// Counters of one virtual disk since the guest started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BlockSample {
    /// Target name, `vda`.
    pub name: String,
    /// Requests and bytes; times are the sums of request latencies in ns.
    pub rd_reqs: Option<u64>,
    /// Bytes read.
    pub rd_bytes: Option<u64>,
    /// Sum of read latencies, ns.
    pub rd_time_ns: Option<u64>,
    /// Write requests.
    pub wr_reqs: Option<u64>,
    /// Bytes written.
    pub wr_bytes: Option<u64>,
    /// Sum of write latencies, ns.
    pub wr_time_ns: Option<u64>,
    /// Flush requests.
    pub fl_reqs: Option<u64>,
}

/// Counters of one virtual network interface since the guest started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NetSample {
    /// Host-side name, `vnet0`.
    pub name: String,
    /// Bytes received by the guest.
    pub rx_bytes: Option<u64>,
    /// Packets received by the guest.
    pub rx_pkts: Option<u64>,
    /// Bytes sent by the guest.
    pub tx_bytes: Option<u64>,
    /// Packets sent by the guest.
    pub tx_pkts: Option<u64>,
}

/// One guest at one instant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GuestSample {
    /// Its present name (a label, not an identity).
    pub name: String,
    /// Running or not.
    pub state: GuestState,
    /// qemu's pid; a new one means a restart and new counters.
    pub pid: Option<i32>,
    /// The admin's wishes.
    pub meta: Arc<GuestMeta>,
    /// Number of vCPUs online; absent until libvirt has told.
    pub vcpus: Option<u32>,
    /// Its host threads, in ascending order of tid.
    pub threads: Vec<ThreadSample>,
    /// Its disks. Empty when this tick's bulk statistics came without them (busy domain): see `stats_at`.
    pub blocks: Vec<BlockSample>,
    /// Its interfaces.
    pub nets: Vec<NetSample>,
    /// Present balloon size, KiB.
    pub balloon_kib: Option<u64>,
    /// When libvirt gave `blocks`, `nets`, `balloon_kib`; absent if it gave none since the last sample. A loaded libvirt
    /// answers late, so this may be a good part of a tick before or after `Sample::at`.
    pub stats_at: Option<MonoNs>,
    /// A libvirt job (migration, backup) is active: no knob may be turned.
    pub job_active: bool,
    /// libvirt could not answer for this guest in time (hung qemu): no knob may be turned.
    pub unresponsive: bool,
    /// PSI of the guest's cgroup, where there is one (v2).
    pub psi: PsiSet,
    /// Knob values read back from libvirt at this tick; absent in the ticks between (read-backs are rarer than samples).
    pub knobs: Option<BTreeMap<Knob, KnobValue>>,
}
