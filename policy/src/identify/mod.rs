//! What each guest does and where it loses time, with the reason in words.
//!
//! Roles come from features with hysteresis, speeds from docs/algorithms/objective.md, bottlenecks from both. Every
//! verdict carries the numbers that led to it. May not: propose anything.

pub mod features;
pub mod profile;

use crate::config::IdentifyConfig;
use crate::sample::ThreadRole;
use features::{Features, RoleLoad};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a guest mainly does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Not enough is known: counters missing or too few ticks.
    #[default]
    Unknown,
    /// Wants next to nothing.
    Idle,
    /// Runs code.
    Cpu,
    /// Mostly waits for its own I/O, one stage after the other.
    Io,
    /// A vCPU runs all the time and there is I/O too.
    Mixed,
}

impl Role {
    /// Whether the guest wants something worth measuring.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Cpu | Self::Io | Self::Mixed)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Idle => "idle",
            Self::Cpu => "cpu",
            Self::Io => "io",
            Self::Mixed => "mixed",
        })
    }
}

/// Where a guest loses time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bottleneck {
    /// Not enough is known.
    #[default]
    Unknown,
    /// Nowhere worth naming.
    None,
    /// Its vCPUs wait for host CPUs that others use.
    Cpu,
    /// The threads that serve its I/O (and with them its vCPUs) wait for host CPUs.
    IoService,
    /// It waits though CPUs that it may not use are idle: its affinity is too narrow.
    PinnedIn,
}

impl fmt::Display for Bottleneck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::None => "none",
            Self::Cpu => "cpu",
            Self::IoService => "io-service",
            Self::PinnedIn => "pinned-in",
        })
    }
}

/// The role that the features show. `was` gives hysteresis: a threshold once crossed is left at half its height.
pub fn role(features: &Features, was: Role, config: &IdentifyConfig) -> Role {
    let ease = |active: bool| if active { 0.5 } else { 1.0 };
    let io_ease = ease(matches!(was, Role::Io | Role::Mixed));
    let unseen = features.ops_per_s.is_none() && features.disk_bps.is_none();
    let does_io = (unseen && matches!(was, Role::Io | Role::Mixed))
        || features.ops_per_s.is_some_and(|ops| ops >= config.io_min_ops_per_s * io_ease)
        || features.disk_bps.is_some_and(|bps| bps >= config.io_min_kib_per_s * 1024.0 * io_ease);
    // A vCPU that is always runnable does not wait for its I/O. With hysteresis around 0.9, since a contended writer's
    // vCPU comes close to it.
    let saturated = features.busiest_vcpu() >= if was == Role::Io { 0.97 } else { 0.90 };
    let wants: f64 = features.roles.iter().map(RoleLoad::wanted).sum();
    match (does_io, saturated) {
        (true, false) => Role::Io,
        (true, true) => Role::Mixed,
        // A vCPU that is always runnable wants all it can get, however little that is.
        (false, false) if wants < config.idle_cpu_pct / 100.0 * ease(was.is_active()) => Role::Idle,
        (false, _) => Role::Cpu,
    }
}

/// Estimated speed relative to running alone, 0.01..=1 (docs/algorithms/objective.md).
///
/// `cpus` is the number of host CPUs: more than all of them no guest could use alone either.
pub fn speed(features: &Features, role: Role, cpus: usize) -> Option<f64> {
    let speed = match role {
        Role::Unknown | Role::Idle => return None,
        Role::Cpu | Role::Mixed => {
            let (run, wait) = features.vcpu();
            let alone = (run + wait).min(cpus as f64);
            if alone <= 0.0 { 1.0 } else { run / alone }
        }
        // Serial stages: elapsed = run + wait + device, so the waits are what is lost, but never more than the time in
        // which nothing of the guest ran: helper threads also wait beside the path. With several requests in flight stages
        // overlap and a wait of one is hidden by the others.
        Role::Io => {
            let deep = features.in_flight.unwrap_or(1.0).max(1.0);
            1.0 - (features.wait / deep).min((1.0 - features.run / deep).max(0.0))
        }
    };
    Some(speed.clamp(0.01, 1.0))
}

/// What is known of one guest at one tick.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What it does.
    pub role: Role,
    /// Estimated speed relative to running alone, 0.01..=1; absent unless active.
    pub speed: Option<f64>,
    /// Where it loses time.
    pub bottleneck: Bottleneck,
    /// Means over the window.
    pub features: Features,
    /// Idle CPUs that its waiting threads may not use, in CPUs: a mean over these threads by how much each waits.
    pub idle_elsewhere: f64,
}

/// Idle CPUs outside the affinity of a guest's waiting threads from which on the affinity is what holds it back: a quarter of a
/// CPU is more than a busy host has left over by chance.
const IDLE_ELSEWHERE_MIN: f64 = 0.25;

/// Idle CPUs that are out of reach where a guest waits. A floating emulator is no help to a vCPU that is pinned, so each thread
/// counts by how much it waits, and only those that the guest's speed is told by.
fn idle_elsewhere(features: &Features, role: Role, idle_outside: impl Fn(ThreadRole) -> f64) -> f64 {
    let counts = |load: &&RoleLoad| role == Role::Io || !load.role.is_service();
    let waiting = features.roles.iter().filter(counts).filter(|load| load.wait > 0.0);
    let (idle, wait) = waiting.fold((0.0, 0.0), |(idle, wait), load| {
        (idle + load.wait * idle_outside(load.role), wait + load.wait)
    });
    if wait > 0.0 { idle / wait } else { 0.0 }
}

impl Finding {
    /// Judges a guest's features. `cpus` is the number of host CPUs, `idle_outside` the idle ones among them that threads of a
    /// role may not use, in CPUs.
    pub fn of(
        features: Features,
        was: Role,
        cpus: usize,
        idle_outside: impl Fn(ThreadRole) -> f64,
        config: &IdentifyConfig,
    ) -> Self {
        let role = role(&features, was, config);
        let speed = speed(&features, role, cpus);
        let waits = speed.is_some_and(|s| (1.0 - s) * 100.0 >= config.contention_pct);
        let idle_elsewhere = if waits { idle_elsewhere(&features, role, idle_outside) } else { 0.0 };
        let bottleneck = match speed {
            None if role == Role::Idle => Bottleneck::None,
            None => Bottleneck::Unknown,
            Some(_) if !waits => Bottleneck::None,
            Some(_) if idle_elsewhere >= IDLE_ELSEWHERE_MIN => Bottleneck::PinnedIn,
            Some(_) if role == Role::Io => Bottleneck::IoService,
            Some(_) => Bottleneck::Cpu,
        };
        Self { role, speed, bottleneck, features, idle_elsewhere }
    }

    /// The verdict's reason, the end of a sentence that begins with the guest.
    pub fn reason(&self) -> String {
        let Some(speed) = self.speed else {
            return if self.role == Role::Idle {
                "is idle".to_owned()
            } else {
                "is not known well enough yet".to_owned()
            };
        };
        let lost = (1.0 - speed) * 100.0;
        if self.bottleneck == Bottleneck::None {
            return format!("loses {lost:.0} % of its speed to waiting, not worth acting on");
        }
        let f = &self.features;
        let waits = format!(
            "loses {lost:.0} % of its speed to waiting for CPUs (vCPUs {:.2}, service threads {:.2} seconds a second, while it runs {:.2})",
            f.vcpu().1,
            f.service().1,
            f.run
        );
        match self.bottleneck {
            Bottleneck::IoService => {
                format!("{waits}; its I/O is serial, so that every wait delays the next request")
            }
            Bottleneck::PinnedIn => {
                format!("{waits} though {:.1} CPUs that it may not use there are idle", self.idle_elsewhere)
            }
            _ => waits,
        }
    }
}
