//! perf_event counters per thread: a hardware group where there is a PMU, a software group where there is none, nothing
//! where the kernel forbids both.
//!
//! Approach: probe once at start, on ourselves, hardware -> software -> off, and keep the reason of each step down as text.
//! A thread whose events cannot be opened goes without, alone. Kernel and guest mode are counted too (a vCPU spends its
//! time in guest mode, and a context switch happens in the kernel), which needs CAP_PERFMON or perf_event_paranoid <= 1,
//! and no more than that. Context switches and migrations are a group of their own, so that they stay exact when the
//! hardware group is multiplexed; they describe a guest rather than measure it, so they are read in two successive ticks
//! of every thirty only (two, because a rate needs two readings) and absent in the others. A read interrupts the CPU that a
//! running thread is on; a thread that has not run since is not read again.
//! May not: open events for every process or CPU, write perf settings.

mod events;
mod scale;

use super::files::Budget;
pub use events::{CpuModel, l2_misses};
pub use scale::Scaler;

use events::Group;
use std::fmt;
use std::io;
use std::path::Path;
use trimtab_policy::sample::PerfEvents;

/// How much perf gives on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// PMU counts and software counts.
    Hardware,
    /// Context switches and migrations only.
    Software,
    /// Nothing: schedstat has to do.
    Off,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hardware => "hardware",
            Self::Software => "software",
            Self::Off => "off",
        })
    }
}

/// What was found at start.
#[derive(Debug)]
pub(super) struct PerfSensor {
    level: Level,
    text: String,
    plan: events::Plan,
    paranoid: Option<i32>,
    /// Threads whose events the kernel refused, and why the last time.
    refused: (usize, String),
}

impl PerfSensor {
    /// Probes; `wanted` false leaves perf off.
    pub(super) fn probe(proc_root: &Path, wanted: bool) -> Self {
        let mut sensor = Self {
            level: Level::Off,
            text: "off: by configuration".to_owned(),
            plan: events::Plan::default(),
            paranoid: paranoid(proc_root),
            refused: (0, String::new()),
        };
        if wanted {
            let model = CpuModel::read(proc_root);
            (sensor.level, sensor.text) = probe_levels(
                |level| match level {
                    Level::Hardware => events::Plan::probe_hardware(&model).map(|plan| sensor.plan = plan),
                    Level::Software | Level::Off => Group::software(0).map(drop),
                },
                sensor.paranoid,
            );
        }
        if sensor.level == Level::Hardware {
            sensor.text = format!("{}: {}", sensor.text, sensor.plan);
        }
        sensor
    }

    /// For the daemon's view.
    pub(super) fn text(&self) -> String {
        match &self.refused {
            (0, _) => self.text.clone(),
            (n, why) => format!("{}; {n} threads without: {why}", self.text),
        }
    }

    /// Whether there is anything to open.
    pub(super) fn is_on(&self) -> bool {
        self.level != Level::Off
    }

    /// Opens the events of thread `tid`; `None` if the kernel refuses or the descriptors are used up to `share`. Where
    /// only the hardware group is refused, the thread has the software group.
    pub(super) fn open(&mut self, tid: i32, budget: &mut Budget, share: f64) -> Option<ThreadPerf> {
        let needed = events::SOFTWARE_EVENTS + self.plan.len();
        if !self.is_on() || !budget.take(needed, share) {
            return None;
        }
        let software = self.note(Group::software(tid))?;
        let hardware = if self.level == Level::Hardware { self.note(self.plan.open(tid)) } else { None };
        Some(ThreadPerf { software: Seen::new(software), hardware: hardware.map(Seen::new) })
    }

    /// Remembers a refusal; a thread that has ended meanwhile is none.
    fn note(&mut self, opened: io::Result<Group>) -> Option<Group> {
        opened
            .inspect_err(|error| {
                if error.raw_os_error() != Some(libc::ESRCH) {
                    self.refused = (self.refused.0 + 1, reason(error, self.paranoid));
                }
            })
            .ok()
    }
}

/// The events of one thread.
#[derive(Debug)]
pub(super) struct ThreadPerf {
    software: Seen,
    hardware: Option<Seen>,
}

impl ThreadPerf {
    /// Counts since opening; absent where a group is not due, could not be read, or did not get onto the PMU since the
    /// last reading. `progress` is what the scheduler says of the thread.
    pub(super) fn read(&mut self, progress: Progress, with_software: bool) -> Option<PerfEvents> {
        let hardware = self.hardware.as_mut().map(|group| group.read(progress));
        let software = with_software.then(|| self.software.read(progress));
        match (hardware, software) {
            (Some(hardware), Some(software)) => Some(PerfEvents {
                context_switches: software.context_switches,
                cpu_migrations: software.cpu_migrations,
                ..hardware
            }),
            (one, other) => one.or(other),
        }
    }

    /// Descriptors held.
    pub(super) fn descriptors(&self) -> usize {
        self.software.group.len() + self.hardware.as_ref().map_or(0, |seen| seen.group.len())
    }
}

/// Run time and times scheduled in, if known. As long as neither moves, a thread's counters stand still too.
pub(super) type Progress = (Option<u64>, Option<u64>);

/// A group and its last reading.
#[derive(Debug)]
struct Seen {
    group: Group,
    counts: PerfEvents,
    at: Progress,
}

impl Seen {
    fn new(group: Group) -> Self {
        Self { group, counts: PerfEvents::default(), at: (None, None) }
    }
    fn read(&mut self, progress: Progress) -> PerfEvents {
        let known = progress.0.is_some() && progress.1.is_some();
        if !known || self.at != progress {
            self.counts = PerfEvents::default();
            self.group.read_into(&mut self.counts);
            self.at = progress;
        }
        self.counts
    }
}

/// Tries the levels from the best down; the text says what is in use and, if it is not the best, why.
pub fn probe_levels(mut open: impl FnMut(Level) -> io::Result<()>, paranoid: Option<i32>) -> (Level, String) {
    let hardware = match open(Level::Hardware) {
        Ok(()) => return (Level::Hardware, Level::Hardware.to_string()),
        Err(error) => error,
    };
    match open(Level::Software) {
        Ok(()) => (Level::Software, format!("{}: {}", Level::Software, reason(&hardware, paranoid))),
        Err(error) => (Level::Off, format!("{}: {}", Level::Off, reason(&error, paranoid))),
    }
}

/// Why perf_event_open failed, with the errno's name.
fn reason(error: &io::Error, paranoid: Option<i32>) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) => "no PMU (ENOENT)".to_owned(),
        Some(libc::ENODEV) => "no PMU (ENODEV)".to_owned(),
        Some(libc::EOPNOTSUPP) => "no PMU (EOPNOTSUPP)".to_owned(),
        Some(libc::ENOSYS) => "no perf_event in this kernel (ENOSYS)".to_owned(),
        Some(code @ (libc::EACCES | libc::EPERM)) => {
            let name = if code == libc::EACCES { "EACCES" } else { "EPERM" };
            paranoid.map_or_else(
                || format!("not permitted ({name})"),
                |value| format!("perf_event_paranoid={value} ({name})"),
            )
        }
        _ => error.to_string(),
    }
}

fn paranoid(proc_root: &Path) -> Option<i32> {
    let text = std::fs::read_to_string(proc_root.join("sys/kernel/perf_event_paranoid")).ok()?;
    text.trim().parse().ok()
}
