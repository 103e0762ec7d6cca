//! One host thread of a guest: its kept files and what is remembered of it between ticks.
//!
//! May not: find threads (guest.rs does), read a clock.

use super::Rules;
use super::files::{self, Budget, RelPath};
use super::parse;
use super::perf::{PerfSensor, Progress, ThreadPerf};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use trimtab_policy::sample::{PerfEvents, ThreadRole, ThreadSample};

/// Share of the descriptor budget up to which `stat` files are kept open too; the rest is for `schedstat`.
const STAT_SHARE: f64 = 0.7;
/// Likewise for `io`, which is read of few guests.
const IO_SHARE: f64 = 0.5;

/// And for perf events, two to six a thread.
const PERF_SHARE: f64 = 0.9;

/// The perf events of a thread.
#[derive(Debug)]
enum Counted {
    /// Not to be opened: the thread comes and goes, or opening failed.
    Never,
    /// To be opened at the next sample.
    NotYet,
    /// Open.
    Open(Box<ThreadPerf>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Thread {
    pub(super) tid: i32,
    pub(super) role: ThreadRole,
    /// A kernel thread outside of the process: its files are at `/proc/TID`.
    pub(super) outside: bool,
    sched_stat: Option<OwnedFd>,
    stat: Option<OwnedFd>,
    io: Option<OwnedFd>,
    /// `slices` when `stat` was last read; absent if it never was.
    stat_slices: Option<u64>,
    last_cpu: Option<u32>,
    blkio_ns: Option<u64>,
    counted: Counted,
}

impl Thread {
    /// A thread whose files are opened at its first sample.
    pub(super) fn new(tid: i32, role: ThreadRole, outside: bool) -> Self {
        Self {
            tid,
            role,
            outside,
            sched_stat: None,
            stat: None,
            io: None,
            stat_slices: None,
            last_cpu: None,
            blkio_ns: None,
            counted: Counted::Never,
        }
    }

    /// Wants perf events for a thread that stays (a vCPU, an IOThread, the main thread, a vhost worker).
    pub(super) fn count_events(&mut self) {
        if matches!(self.counted, Counted::Never) {
            self.counted = Counted::NotYet;
        }
    }

    /// Descriptors held.
    pub(super) fn descriptors(&self) -> usize {
        let events = if let Counted::Open(perf) = &self.counted { perf.descriptors() } else { 0 };
        [&self.sched_stat, &self.stat, &self.io].into_iter().flatten().count() + events
    }

    /// Whether its files are opened for each read for want of descriptors.
    pub(super) fn is_reopened(&self) -> bool {
        self.sched_stat.is_none() && self.stat.is_none()
    }

    /// One reading. `dir` is where the thread's own directory lies. `None` when the thread has ended; what cannot be
    /// read for another reason (no descriptor left, no permission) is absent.
    pub(super) fn sample(
        &mut self,
        dir: BorrowedFd<'_>,
        with_io: bool,
        rules: &Rules,
        perf: &mut PerfSensor,
        budget: &mut Budget,
    ) -> Option<ThreadSample> {
        let mut files = Files { dir, tid: self.tid, budget };
        let mut sample = self.blank();
        if rules.has_sched_stat
            && let Some(seen) =
                files.read::<128, _>(&mut self.sched_stat, "schedstat", 1.0, parse::sched_stat)?
        {
            sample.run_ns = Some(seen.run_ns);
            sample.wait_ns = Some(seen.wait_ns);
            sample.slices = Some(seen.slices);
        }
        if self.stat_due(sample.slices, rules)
            && let Some(stat) = files.read::<1024, _>(&mut self.stat, "stat", STAT_SHARE, parse::stat)?
        {
            self.stat_slices = sample.slices;
            self.last_cpu = stat.processor;
            let ns = |ticks: u64| ticks.checked_mul(rules.tick_ns);
            self.blkio_ns = stat.blkio_ticks.filter(|_| rules.has_delay_accounting).and_then(ns);
            if !rules.has_sched_stat {
                sample.run_ns = stat.utime_ticks.checked_add(stat.stime_ticks).and_then(ns);
            }
        }
        (sample.last_cpu, sample.blkio_ns) = (self.last_cpu, self.blkio_ns);
        let parse_io = |text: &[u8]| Some(parse::io(text));
        if with_io && let Some(io) = files.read::<512, _>(&mut self.io, "io", IO_SHARE, parse_io)? {
            (sample.read_bytes, sample.write_bytes) = (io.read_bytes, io.write_bytes);
        }
        sample.perf = self.events((sample.run_ns, sample.slices), rules, perf, budget);
        Some(sample)
    }

    fn blank(&self) -> ThreadSample {
        ThreadSample {
            tid: self.tid,
            role: self.role,
            run_ns: None,
            wait_ns: None,
            slices: None,
            blkio_ns: None,
            last_cpu: None,
            read_bytes: None,
            write_bytes: None,
            perf: None,
        }
    }

    fn events(
        &mut self,
        progress: Progress,
        rules: &Rules,
        perf: &mut PerfSensor,
        budget: &mut Budget,
    ) -> Option<PerfEvents> {
        if matches!(self.counted, Counted::NotYet) {
            let opened = perf.open(self.tid, budget, PERF_SHARE);
            self.counted = opened.map_or(Counted::Never, |events| Counted::Open(Box::new(events)));
        }
        let Counted::Open(events) = &mut self.counted else { return None };
        events.read(progress, rules.with_software_events)
    }

    /// Whether `stat` has to be read at this tick (see guest.rs for the reasons).
    fn stat_due(&self, slices: Option<u64>, rules: &Rules) -> bool {
        let Some(slices) = slices else { return true };
        let Some(then) = self.stat_slices else { return true };
        let turn = rules.has_delay_accounting
            || rules.tick.wrapping_add(u64::from(self.tid.unsigned_abs())).is_multiple_of(rules.stat_ticks);
        turn && then != slices
    }
}

/// The files of one thread.
struct Files<'a> {
    dir: BorrowedFd<'a>,
    tid: i32,
    budget: &'a mut Budget,
}

impl Files<'_> {
    /// Reads at most `N` bytes of `name` through `kept`, opening (and keeping, if at most `share` of the budget is in use) it where
    /// needed.
    /// Outer `None`: the thread has ended. Inner `None`: unreadable or not in the documented form.
    fn read<const N: usize, T>(
        &mut self,
        kept: &mut Option<OwnedFd>,
        name: &str,
        share: f64,
        parse: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Option<Option<T>> {
        let mut buf = [0; N];
        if kept.is_none() {
            match files::open_at(self.dir, &RelPath::of(self.tid, name)) {
                Ok(file) => *kept = Some(file),
                Err(Errno::NOENT | Errno::SRCH) => return None,
                Err(_) => return Some(None),
            }
            if !self.budget.take(1, share) {
                let once = kept.take()?;
                return outcome(files::read_start(once.as_fd(), &mut buf)).map(|text| text.and_then(parse));
            }
        }
        outcome(files::read_start(kept.as_ref()?.as_fd(), &mut buf)).map(|text| text.and_then(parse))
    }
}

/// Outer `None`: the thread has ended.
fn outcome(read: Result<&[u8], Errno>) -> Option<Option<&[u8]>> {
    match read {
        Ok(text) => Some(Some(text)),
        Err(Errno::SRCH | Errno::NOENT) => None,
        Err(_) => Some(None),
    }
}
