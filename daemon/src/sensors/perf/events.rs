//! Which events are opened, as groups on one thread.
//!
//! May not: decide whether perf is used at all (mod.rs probes).

use super::scale::Scaler;
use perf_event::events::{Cache, CacheId, CacheOp, CacheResult, Event, Hardware, Raw, Software};
use perf_event::{Builder, Counter, ReadFormat};
use std::fmt;
use std::io;
use std::path::Path;
use trimtab_policy::sample::PerfEvents;

/// Context switches and migrations.
pub(super) const SOFTWARE_EVENTS: usize = 2;
/// Largest group: instructions, cycles, LLC misses, L2 misses.
const MAX_EVENTS: usize = 4;

/// Last-level-cache read misses.
const LLC_MISSES: Cache = Cache { which: CacheId::LL, operation: CacheOp::READ, result: CacheResult::MISS };

/// What a counter of a group counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Instructions,
    Cycles,
    LlcMisses,
    L2Misses,
    ContextSwitches,
    CpuMigrations,
}

impl What {
    fn slot(self, counts: &mut PerfEvents) -> &mut Option<f64> {
        match self {
            Self::Instructions => &mut counts.instructions,
            Self::Cycles => &mut counts.cycles,
            Self::LlcMisses => &mut counts.llc_misses,
            Self::L2Misses => &mut counts.l2_misses,
            Self::ContextSwitches => &mut counts.context_switches,
            Self::CpuMigrations => &mut counts.cpu_migrations,
        }
    }
}

/// The hardware group that this machine's PMU takes, found by trying.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    what: Vec<What>,
    l2: Option<u64>,
}

impl Plan {
    /// Tries instructions and cycles, then each further event; events that the PMU does not know are left out.
    ///
    /// # Errors
    /// The first two cannot be opened, or count nothing although we run (some hypervisors show a PMU that stands still).
    pub(super) fn probe_hardware(model: &CpuModel) -> io::Result<Self> {
        let mut plan = Self { what: vec![What::Instructions, What::Cycles], l2: l2_misses(model) };
        let mut group = plan.open(0)?;
        let mut counts = PerfEvents::default();
        std::hint::black_box((0..10_000u32).fold(0u32, |sum, n| std::hint::black_box(sum ^ n)));
        group.read_into(&mut counts);
        if counts.instructions.is_none_or(|n| n < 1.0) {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        drop(group);
        for what in [What::LlcMisses, What::L2Misses] {
            plan.what.push(what);
            if (what == What::L2Misses && plan.l2.is_none()) || plan.open(0).is_err() {
                plan.what.pop();
            }
        }
        Ok(plan)
    }

    /// Events, and so descriptors, per thread.
    pub(super) fn len(&self) -> usize {
        self.what.len()
    }

    /// Opens the group on thread `tid` (0: the caller).
    pub(super) fn open(&self, tid: i32) -> io::Result<Group> {
        Group::open(tid, &self.what, |what| match what {
            What::Cycles => builder(Hardware::CPU_CYCLES),
            What::LlcMisses => builder(LLC_MISSES),
            What::L2Misses => builder(Raw::new(self.l2.unwrap_or_default())),
            _ => builder(Hardware::INSTRUCTIONS),
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, what) in self.what.iter().enumerate() {
            let name = match what {
                What::Instructions => "instructions",
                What::Cycles => "cycles",
                What::LlcMisses => "LLC misses",
                What::L2Misses => "L2 misses",
                What::ContextSwitches => "context switches",
                What::CpuMigrations => "migrations",
            };
            write!(f, "{}{name}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Counters that are on the PMU together and read together.
#[derive(Debug)]
pub(super) struct Group {
    leader: Counter,
    /// Held because an event leaves its group when it is closed.
    _members: Vec<Counter>,
    what: Vec<What>,
    scaler: Scaler<MAX_EVENTS>,
}

impl Group {
    /// Context switches and migrations of thread `tid` (0: the caller).
    pub(super) fn software(tid: i32) -> io::Result<Self> {
        Self::open(tid, &[What::ContextSwitches, What::CpuMigrations], |what| match what {
            What::CpuMigrations => builder(Software::CPU_MIGRATIONS),
            _ => builder(Software::CONTEXT_SWITCHES),
        })
    }

    /// Opens the events, leader first, and starts them together.
    fn open(tid: i32, what: &[What], event: impl Fn(What) -> Builder<'static>) -> io::Result<Self> {
        let (&first, rest) = what.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut leader = event(first)
            .observe_pid(tid)
            .read_format(
                ReadFormat::GROUP
                    | ReadFormat::ID
                    | ReadFormat::TOTAL_TIME_ENABLED
                    | ReadFormat::TOTAL_TIME_RUNNING,
            )
            .build()?;
        let members = rest
            .iter()
            .map(|&what| event(what).observe_pid(tid).enabled(true).build_with_group(&mut leader))
            .collect::<io::Result<Vec<_>>>()?;
        leader.enable_group()?;
        Ok(Self { leader, _members: members, what: what.to_vec(), scaler: Scaler::default() })
    }

    /// Descriptors held.
    pub(super) fn len(&self) -> usize {
        self.what.len()
    }

    /// Fills in its counts; leaves them absent if it cannot.
    pub(super) fn read_into(&mut self, counts: &mut PerfEvents) {
        let Ok(data) = self.leader.read_group() else { return };
        let (Some(enabled), Some(running)) = (data.time_enabled(), data.time_running()) else { return };
        let mut raw = [0; MAX_EVENTS];
        // In the order of opening, the leader first.
        for (slot, entry) in raw.iter_mut().zip(data.iter()) {
            *slot = entry.value();
        }
        let ns = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let Some(scaled) = self.scaler.update(ns(enabled), ns(running), raw) else { return };
        for (what, value) in self.what.iter().zip(scaled) {
            *what.slot(counts) = Some(value);
        }
    }
}

/// Counting in user, kernel and guest mode, not yet started.
fn builder(event: impl Event) -> Builder<'static> {
    let mut builder = Builder::new(event);
    builder.exclude_kernel(false).exclude_hv(false);
    builder
}

/// Which CPU this is, as far as raw events depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuModel {
    /// `vendor_id` (x86).
    pub vendor: String,
    /// `cpu family`.
    pub family: u32,
    /// `model`.
    pub model: u32,
    /// A 64-bit ARM, whose PMU has architected event numbers.
    pub is_arm64: bool,
}

impl CpuModel {
    /// From `/proc/cpuinfo`; empty where it cannot be read.
    pub fn read(proc_root: &Path) -> Self {
        let text = std::fs::read_to_string(proc_root.join("cpuinfo")).unwrap_or_default();
        Self { is_arm64: cfg!(target_arch = "aarch64"), ..Self::parse(&text) }
    }
    /// From the text of the first processor.
    pub fn parse(text: &str) -> Self {
        let field = |name: &str| {
            let line =
                text.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
            Some(line.split_once(':')?.1.trim())
        };
        let number = |name: &str| field(name).and_then(|value| value.parse().ok()).unwrap_or(0);
        Self {
            vendor: field("vendor_id").unwrap_or_default().to_owned(),
            family: number("cpu family"),
            model: number("model"),
            is_arm64: false,
        }
    }
}

/// Raw event of L2 misses where its number is known: Intel L2_RQSTS.MISS (server and client cores since Haswell, no hybrid
/// ones), AMD l2_cache_req_stat.ic_dc_miss_in_l2 (Zen and later), Arm L2D_CACHE_REFILL.
pub fn l2_misses(model: &CpuModel) -> Option<u64> {
    const INTEL: [u32; 26] = [
        0x3c, 0x3f, 0x45, 0x46, 0x3d, 0x47, 0x4f, 0x56, 0x4e, 0x5e, 0x55, 0x8e, 0x9e, 0xa5, 0xa6, 0x7d, 0x7e,
        0x6a, 0x6c, 0x8c, 0x8d, 0xa7, 0x8f, 0xcf, 0xad, 0xae,
    ];
    match (model.vendor.as_str(), model.family) {
        ("GenuineIntel", 6) if INTEL.contains(&model.model) => Some(0x3f24),
        ("AuthenticAMD", 0x17 | 0x19 | 0x1a) | ("HygonGenuine", 0x18) => Some(0x0964),
        _ if model.is_arm64 => Some(0x17),
        _ => None,
    }
}
