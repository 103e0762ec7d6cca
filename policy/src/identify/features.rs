//! Short history of rates, and features as means over its newest window.
//!
//! A point enters only where rates exist, so that a mean is never diluted by absent ticks. The window may be cut at the
//! moment of the last change to a knob, because what was measured before it describes another host.
//! May not: judge.

use crate::rates::{GuestRates, Rates, by_role};
use crate::sample::ThreadRole;
use crate::units::{GuestId, MonoNs};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Points kept per guest at most, whatever the tick: bounds memory at 200 guests.
const POINTS_MAX: usize = 64;

/// Run and wait of one role in CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoleLoad {
    /// Which.
    pub role: ThreadRole,
    /// On a CPU.
    pub run: f64,
    /// Runnable, without one.
    pub wait: f64,
}

impl RoleLoad {
    /// CPU that it would use if it never had to wait: what it does in the time in which it does not. Waiting alone is no wish:
    /// on a full host the timers of a halted guest wait a hundred times as long as they run.
    pub fn wanted(&self) -> f64 {
        let runnable = self.run + self.wait;
        // Several threads of one role may wait for more than a CPU together; nothing is known of each then.
        if self.wait < 1.0 { (self.run / (1.0 - self.wait)).min(runnable) } else { runnable }
    }
}

/// What is kept of one tick of one guest.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// End of the interval.
    pub at: MonoNs,
    /// Loads in order of role.
    pub roles: Vec<RoleLoad>,
    /// Sum of run.
    pub run: f64,
    /// Sum of run of the vCPUs.
    pub vcpu_run: f64,
    /// Bytes per second to and from disks, if known at this tick.
    pub disk_bps: Option<f64>,
    /// Disk requests per second, likewise.
    pub ops_per_s: Option<f64>,
    /// Disk requests in flight, likewise.
    pub in_flight: Option<f64>,
    /// Instructions per second, likewise.
    pub instructions_per_s: Option<f64>,
}

impl Point {
    fn of(at: MonoNs, rates: &GuestRates) -> Option<Self> {
        Some(Self {
            at,
            run: rates.run?,
            vcpu_run: rates.vcpus().map(|r| r.run).sum(),
            roles: rates.roles.iter().map(|r| RoleLoad { role: r.role, run: r.run, wait: r.wait }).collect(),
            disk_bps: rates.disk.map(|d| d.read_bps + d.write_bps),
            ops_per_s: rates.disk.map(|d| d.ops_per_s),
            in_flight: rates.disk.and_then(|d| d.in_flight),
            instructions_per_s: rates.perf.instructions,
        })
    }
}

/// Means over a window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Features {
    /// Points that the means are over.
    pub points: usize,
    /// Loads in order of role.
    pub roles: Vec<RoleLoad>,
    /// Total run, CPUs.
    pub run: f64,
    /// Total wait, CPUs.
    pub wait: f64,
    /// Bytes per second to and from disks, where known.
    pub disk_bps: Option<f64>,
    /// Disk requests per second, where known.
    pub ops_per_s: Option<f64>,
    /// Disk requests in flight, where known.
    pub in_flight: Option<f64>,
}

impl Features {
    /// Run and wait of the vCPUs.
    pub fn vcpu(&self) -> (f64, f64) {
        self.sum(|r| !r.role.is_service())
    }
    /// Run and wait of the service threads.
    pub fn service(&self) -> (f64, f64) {
        self.sum(|r| r.role.is_service())
    }
    /// Largest run + wait of one vCPU.
    pub fn busiest_vcpu(&self) -> f64 {
        self.roles.iter().filter(|r| !r.role.is_service()).map(|r| r.run + r.wait).fold(0.0, f64::max)
    }
    fn sum(&self, keep: impl Fn(&RoleLoad) -> bool) -> (f64, f64) {
        self.roles.iter().filter(|r| keep(r)).fold((0.0, 0.0), |(run, wait), r| (run + r.run, wait + r.wait))
    }

    fn mean(points: &[&Point]) -> Option<Self> {
        if points.is_empty() {
            return None;
        }
        let n = points.len();
        let mut roles: Vec<RoleLoad> = Vec::new();
        for load in points.iter().flat_map(|p| &p.roles) {
            let new = || RoleLoad { role: load.role, run: 0.0, wait: 0.0 };
            let sum = by_role(&mut roles, load.role, |r| r.role, new);
            sum.run += load.run / n as f64;
            sum.wait += load.wait / n as f64;
        }
        let known = |f: fn(&Point) -> Option<f64>| {
            let (mut sum, mut values) = (0.0, 0_u32);
            for value in points.iter().filter_map(|p| f(p)) {
                (sum, values) = (sum + value, values + 1);
            }
            (values > 0).then(|| sum / f64::from(values))
        };
        Some(Self {
            points: n,
            run: roles.iter().map(|r| r.run).sum(),
            wait: roles.iter().map(|r| r.wait).sum(),
            roles,
            disk_bps: known(|p| p.disk_bps),
            ops_per_s: known(|p| p.ops_per_s),
            in_flight: known(|p| p.in_flight),
        })
    }
}

/// History of all guests.
#[derive(Clone, Debug, Default)]
pub struct History {
    guests: BTreeMap<GuestId, VecDeque<Point>>,
}

impl History {
    /// Appends the points of these rates and forgets guests that are gone and points older than `keep_ms`.
    pub fn push(&mut self, rates: &Rates, keep_ms: u64) {
        self.guests.retain(|id, _| rates.guests.contains_key(id));
        for (&id, guest) in &rates.guests {
            let points = self.guests.entry(id).or_default();
            points.extend(Point::of(rates.at, guest));
            while points.len() > POINTS_MAX
                || points.front().is_some_and(|p| rates.at.since(p.at) > keep_ms.saturating_mul(1_000_000))
            {
                points.pop_front();
            }
        }
    }

    /// Forgets one guest's points (restart) so that no mean spans two lives.
    pub fn forget(&mut self, id: GuestId) {
        self.guests.remove(&id);
    }

    /// Forgets everything (gap in the samples).
    pub fn clear(&mut self) {
        self.guests.clear();
    }

    /// Points of one guest that ended after `after` and not later than `until`, oldest first.
    pub fn points(&self, id: GuestId, after: MonoNs, until: MonoNs) -> impl Iterator<Item = &Point> {
        self.guests.get(&id).into_iter().flat_map(move |points| {
            let (from, to) =
                (points.partition_point(|p| p.at <= after), points.partition_point(|p| p.at <= until));
            points.range(from..to.max(from))
        })
    }

    /// Means over the last `window_ms` before `now`, but of nothing that ended at or before `since`.
    pub fn features(&self, id: GuestId, now: MonoNs, window_ms: u64, since: MonoNs) -> Option<Features> {
        let start = MonoNs(now.0.saturating_sub(window_ms.saturating_mul(1_000_000))).max(since);
        let points: Vec<&Point> = self.points(id, start, now).collect();
        Features::mean(&points)
    }
}
