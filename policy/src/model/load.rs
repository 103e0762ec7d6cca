//! How much is wanted of each CPU: over-committed, idle or neither.
//!
//! Demand is run + wait of the guests' threads, each of them where a balancer would put it within its affinity, so that a pinned
//! burner crowds its own CPU and not one that others can leave. Guests of which nothing is known want all they can get.
//! May not: know of other processes, which show in `idle` alone.

use super::share::Mask;
use super::spread::spread;
use super::{Class, classes};
use crate::control::{State, Subject};
use crate::topology::CpuSet;
use crate::units::GuestId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A quarter of a CPU: more is not left over, nor wanted, by chance.
const MARGIN: f64 = 0.25;

/// What is known of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuLoad {
    /// Which.
    pub cpu: u32,
    /// CPUs that guests' threads want of it: 2.0 is two threads that are always runnable.
    pub demand: f64,
    /// Part of the time in which nothing ran on it, smoothed, 0..=1; absent if not known.
    pub idle: Option<f64>,
}

impl CpuLoad {
    /// Whether guests want clearly more of it than it has.
    pub fn is_over_committed(&self) -> bool {
        self.demand >= 1.0 + MARGIN
    }
    /// Whether a good part of it is left over.
    pub fn is_idle(&self) -> bool {
        self.idle.is_some_and(|idle| idle >= MARGIN)
    }
}

/// One CPU, and who wants it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuUse {
    /// All guests together.
    pub load: CpuLoad,
    /// Demand of each guest that wants something of it, the most first.
    pub guests: Vec<(GuestId, f64)>,
}

/// Every usable CPU, in order of number.
pub fn cpu_loads(state: &State) -> Vec<CpuLoad> {
    let mut demand: BTreeMap<u32, f64> = BTreeMap::new();
    demands(state, |cpu, _, wants| *demand.entry(cpu).or_default() += wants);
    let load = |cpu: u32| CpuLoad {
        cpu,
        demand: demand.get(&cpu).copied().unwrap_or_default(),
        idle: state.busy.get(&cpu).map(|busy| 1.0 - busy),
    };
    state.topology.cpus.iter().map(|c| load(c.cpu)).collect()
}

/// The same, with those who want them.
pub fn cpu_uses(state: &State) -> Vec<CpuUse> {
    let mut by_guest: BTreeMap<(u32, GuestId), f64> = BTreeMap::new();
    demands(state, |cpu, guest, wants| *by_guest.entry((cpu, guest)).or_default() += wants);
    let of = |load: CpuLoad| {
        let all = (load.cpu, GuestId([0; 16]))..=(load.cpu, GuestId([u8::MAX; 16]));
        let wants = by_guest.range(all).filter(|(_, wants)| **wants > 0.0);
        let mut guests: Vec<_> = wants.map(|(&(_, guest), &wants)| (guest, wants)).collect();
        guests.sort_by(|a, b| b.1.total_cmp(&a.1));
        CpuUse { load, guests }
    };
    cpu_loads(state).into_iter().map(of).collect()
}

/// Tells what each guest wants of each CPU, in as many parts as it has classes of threads.
fn demands(state: &State, mut tell: impl FnMut(u32, GuestId, f64)) {
    let cpus: Vec<u32> = state.topology.cpus.iter().map(|c| c.cpu).collect();
    let subjects: Vec<&Subject> = state.subjects.values().collect();
    let classes: Vec<Class> = classes(state, &subjects, &BTreeMap::new());
    let loads: Vec<(&Mask, f64)> = classes.iter().map(|c| (&c.on, c.present)).collect();
    let spread = spread(&cpus, &loads);
    for (class, parts) in classes.iter().zip(&spread.parts) {
        for &(g, f) in parts {
            for &cpu in &spread.groups[g] {
                tell(cpu, subjects[class.guest].id, class.present * f / spread.sizes[g]);
            }
        }
    }
}

/// The host in a sentence: which CPUs are over-committed and which are idle.
pub fn words(loads: &[CpuLoad]) -> String {
    let part = |keep: fn(&CpuLoad) -> bool, value: fn(&CpuLoad) -> f64| {
        let of: Vec<&CpuLoad> = loads.iter().filter(|l| keep(l)).collect();
        let set: CpuSet = of.iter().map(|l| l.cpu).collect();
        (!of.is_empty()).then(|| (set, of.iter().map(|l| value(l)).sum::<f64>() / of.len() as f64))
    };
    let crowded = part(CpuLoad::is_over_committed, |l| l.demand).map_or_else(
        || "no CPU is over-committed".to_owned(),
        |(set, demand)| format!("CPUs {set} are over-committed ({demand:.1} runnable threads each)"),
    );
    let idle = part(CpuLoad::is_idle, |l| l.idle.unwrap_or_default()).map_or_else(
        || "none is idle".to_owned(),
        |(set, idle)| format!("CPUs {set} are idle {:.0} % of the time", idle * 100.0),
    );
    format!("{crowded}, {idle}")
}
