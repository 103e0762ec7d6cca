//! What every OSU kernel has in common, as one [`Kernel`]: for each message size the timed loop, then, outside of it, one
//! exchange of known data that is compared. No kernel of its own.

use crate::error::Result;
use crate::kernel::{Check, Facts, Family, Kernel, Lap, Metric, Param, Reading, Spec, Variant};
use crate::result::Row;
use crate::setup::Setup;
use crate::team::Team;

use super::plan::{Counts, Needs, Plan};
use super::text;

/// Tag of data messages.
pub(super) const DATA: i32 = 1;

/// One kind of communication.
pub(super) trait Bench: Sized + 'static {
    /// What the registry shows.
    const SPEC: Spec;
    /// First comment line of OSU's text.
    const TITLE: &'static str;
    /// Further comment lines.
    const NOTES: &'static [&'static str];
    /// Sizes, counts, memory.
    const NEEDS: Needs;

    /// Buffers for the sizes of the plan. Collective over the team.
    fn new(team: &Team, plan: &Plan) -> Result<Self>;

    /// The timed loop for one size: seconds that [`Bench::figures`] understands, right on rank 0. Collective over the team.
    fn time(&mut self, team: &Team, bytes: usize, counts: Counts) -> Vec<f64>;

    /// The same communication once, with known data. Collective over the team.
    fn exchange(&mut self, team: &Team, bytes: usize);

    /// Received elements of the last exchange, on this rank, that are not what they must be.
    fn wrong(&self, team: &Team, bytes: usize) -> u64;

    /// Damages what the last exchange received.
    fn damage(&mut self);

    /// Figures of one size, one per metric of the spec: microseconds, unless the kernel says otherwise.
    fn figures(&self, _bytes: usize, _counts: Counts, seconds: &[f64]) -> Vec<f64> {
        seconds.iter().map(|s| 1e6 * s).collect()
    }

    /// Parameters beyond those of the plan.
    fn facts(&self) -> Facts {
        Facts::new()
    }
}

/// The spec of an OSU kernel: all run on all ranks together and need two.
pub(super) const fn spec(
    name: &'static str,
    summary: &'static str,
    source: &'static str,
    metrics: &'static [Metric],
    params: &'static [Param],
) -> Spec {
    let (family, variants) = (Family::Osu, &[Variant::Mpi]);
    Spec { name, family, summary, source, variants, min_ranks: 2, metrics, params }
}

/// The metric of the latency tests.
pub(super) const LATENCY_METRIC: &[Metric] = &[Metric::cost("latency", "us")];
/// The metric of the bandwidth tests.
pub(super) const BANDWIDTH_METRIC: &[Metric] = &[Metric::rate("bandwidth", "MB/s")];

/// A kernel for a kind of communication.
pub(super) struct Osu<B> {
    plan: Plan,
    bench: B,
    wrong: u64,
}

impl<B: Bench> Kernel for Osu<B> {
    const SPEC: Spec = B::SPEC;

    fn setup(setup: &Setup<'_>) -> Result<Self> {
        let plan = setup.team.agree(Plan::new(setup, B::NEEDS))?;
        let bench = B::new(setup.team, &plan)?;
        Ok(Self { plan, bench, wrong: 0 })
    }

    fn params(&self) -> Facts {
        let mut facts = self.plan.facts();
        facts.extend(self.bench.facts());
        facts
    }

    fn run(&mut self, team: &Team) -> Result<Lap> {
        self.wrong = 0;
        let mut lap = Vec::new();
        for &bytes in &self.plan.sizes {
            team.barrier();
            lap.extend(self.bench.time(team, bytes, self.plan.counts(bytes)));
            // Ranks that have no part in it leave their core to those that have.
            team.idle_barrier();
            self.bench.exchange(team, bytes);
            self.wrong += self.bench.wrong(team, bytes);
        }
        Ok(Lap(lap))
    }

    fn verify(&mut self, team: &Team) -> Result<Check> {
        // The last exchange once more: its data are what may have been damaged since.
        let wrong = self.wrong + self.bench.wrong(team, self.plan.largest());
        Ok(Check::exact("received elements", team.sum_u64(wrong)))
    }

    fn report(&self, lap: &Lap) -> Vec<Reading> {
        let times = lap.0.chunks(lap.0.len() / self.plan.sizes.len());
        let mut readings = Vec::new();
        for (&bytes, seconds) in self.plan.sizes.iter().zip(times) {
            let figures = self.bench.figures(bytes, self.plan.counts(bytes), seconds);
            readings.extend(B::SPEC.metrics.iter().zip(figures).map(|(metric, value)| {
                let reading = Reading::new(metric.name, value);
                let reading = reading.with("iterations", self.plan.counts(bytes).iterations);
                if bytes == 0 { reading } else { reading.with("bytes", bytes) }
            }));
        }
        readings
    }

    fn corrupt(&mut self, _team: &Team) {
        self.bench.damage();
    }

    fn render(rows: &[Row]) -> Option<String> {
        text::table(B::TITLE, B::NOTES, rows)
    }
}
