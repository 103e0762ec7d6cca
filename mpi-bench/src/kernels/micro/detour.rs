//! Selfish detour: every rank does nothing but read the clock; a gap between two readings that is far longer than the quickest
//! was somebody else's. Finds the short interruptions that a quantum averages out.

use super::per_rank::{self, BINS, Noise, bin, current_cpu};
use crate::error::Result;
use crate::kernel::{Check, Facts, Family, Kernel, Lap, Param, Reading, Spec, Variant};
use crate::result::Row;
use crate::setup::{Setup, Size};
use crate::svg::Chart;
use crate::team::Team;

const SECONDS: f64 = 5.0;
const SECONDS_QUICK: f64 = 0.5;

/// A gap of so many quickest loops is a detour (the original's default is 9).
const THRESHOLD: f64 = 9.0;

/// The kernel.
pub(super) struct Detour {
    seconds: f64,
    /// Time in gaps, time in loops, and by the clock from first to last reading.
    gaps_s: f64,
    loops_s: f64,
    elapsed_s: f64,
    backwards: u64,
}

impl Kernel for Detour {
    const SPEC: Spec = Spec {
        name: "noise-detour",
        family: Family::Micro,
        summary: "selfish detour on every rank: gaps between clock readings",
        source: "selfish-detour benchmark (netgauge)",
        variants: &[Variant::Mpi],
        min_ranks: 1,
        metrics: per_rank::METRICS,
        params: &[Param { name: "seconds", help: "time on each rank (default 5, quick 0.5)" }],
    };

    fn setup(setup: &Setup<'_>) -> Result<Self> {
        let default = if setup.size() == Size::Quick { SECONDS_QUICK } else { SECONDS };
        let seconds = setup.get::<f64>("seconds")?.unwrap_or(default);
        if !(seconds > 0.0 && seconds <= 3600.0) {
            return Err(setup.bad("seconds", seconds, "must be above 0 and at most 3600"));
        }
        Ok(Self { seconds, gaps_s: 0.0, loops_s: 0.0, elapsed_s: 0.0, backwards: 0 })
    }

    fn params(&self) -> Facts {
        Facts::from([("seconds".to_owned(), self.seconds.into())])
    }

    fn run(&mut self, team: &Team) -> Result<Lap> {
        let quickest = quickest_loop();
        let threshold = quickest * THRESHOLD;
        let mut histogram = [0; BINS];
        let (mut longest, mut interruptions) = (0.0, 0u32);
        (self.gaps_s, self.loops_s, self.backwards) = (0.0, 0.0, 0);
        team.barrier();
        let begin = mpi::time();
        let mut last = begin;
        while last - begin < self.seconds {
            let now = mpi::time();
            let gap = now - last;
            if gap > threshold {
                histogram[bin(gap)] += 1;
                longest = f64::max(longest, gap);
                interruptions += 1;
                self.gaps_s += gap;
            } else {
                self.loops_s += gap;
                self.backwards += u64::from(gap < 0.0);
            }
            last = now;
        }
        self.elapsed_s = last - begin;
        let noise = Noise {
            percent: 100.0 * self.gaps_s / self.elapsed_s,
            longest_s: longest,
            per_second: f64::from(interruptions) / self.elapsed_s,
            cpu: current_cpu(),
            histogram,
        };
        Ok(noise.gather(team))
    }

    fn verify(&mut self, team: &Team) -> Result<Check> {
        // Gaps and loops must add up to the clock's own difference, up to the rounding of some 10^8 additions.
        let off = (self.gaps_s + self.loops_s - self.elapsed_s).abs() / self.elapsed_s;
        let off = if self.backwards == 0 { off } else { f64::NAN };
        Ok(Check::at_most("time not accounted for", team.max(off), 1e-6))
    }

    fn report(&self, lap: &Lap) -> Vec<Reading> {
        per_rank::readings(lap)
    }

    fn corrupt(&mut self, _team: &Team) {
        self.gaps_s += 1e-3;
    }

    fn charts(rows: &[Row]) -> Vec<Chart> {
        per_rank::charts(rows)
    }
}

/// The shortest of many consecutive clock readings that is not 0, or the clock's tick.
fn quickest_loop() -> f64 {
    let mut quickest = f64::INFINITY;
    let mut last = mpi::time();
    for _ in 0..100_000 {
        let now = mpi::time();
        if now > last {
            quickest = quickest.min(now - last);
        }
        last = now;
    }
    quickest.max(mpi::time_resolution())
}
