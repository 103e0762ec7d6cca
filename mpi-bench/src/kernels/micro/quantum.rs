//! Fixed work quantum: the same piece of work over and over on every rank; what a piece takes beyond the quickest is noise
//! (operating system, hypervisor, neighbours). As in the ASCI Q study.

use super::per_rank::{self, BINS, Noise, bin, current_cpu};
use crate::error::Result;
use crate::kernel::{Check, Facts, Family, Kernel, Lap, Param, Reading, Spec, Variant};
use crate::result::Row;
use crate::setup::{Setup, Size};
use crate::svg::Chart;
use crate::team::Team;

/// Length of a quantum aimed at, seconds: long against the clock, short against a scheduler's tick.
const QUANTUM_S: f64 = 200e-6;
const QUANTA: usize = 20_000;
const QUANTA_QUICK: usize = 2_000;

/// A quantum this much longer than the quickest was interrupted.
const INTERRUPTED: f64 = 1.02;

/// The kernel.
pub(super) struct FixedQuantum {
    quanta: usize,
    steps: u64,
    expected: u64,
    seconds: Vec<f64>,
    wrong: u64,
}

/// The work: a chain that cannot be shortened.
fn chain(steps: u64) -> u64 {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..steps {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    state
}

impl FixedQuantum {
    fn noise(&self) -> Noise {
        let quickest = self.seconds.iter().copied().fold(f64::INFINITY, f64::min);
        let total: f64 = self.seconds.iter().sum();
        let mut histogram = [0; BINS];
        let (mut longest, mut interruptions) = (0.0, 0u32);
        for excess in
            self.seconds.iter().map(|s| s - quickest).filter(|e| *e > quickest * (INTERRUPTED - 1.0))
        {
            histogram[bin(excess)] += 1;
            longest = f64::max(longest, excess);
            interruptions += 1;
        }
        Noise {
            percent: 100.0 * (total / (quickest * self.seconds.len() as f64) - 1.0),
            longest_s: longest,
            per_second: f64::from(interruptions) / total,
            cpu: current_cpu(),
            histogram,
        }
    }
}

impl Kernel for FixedQuantum {
    const SPEC: Spec = Spec {
        name: "noise-quantum",
        family: Family::Micro,
        summary: "fixed work quantum on every rank: time beyond the quickest quantum",
        source: "fixed-work-quantum benchmark, ASCI Q study",
        variants: &[Variant::Mpi],
        min_ranks: 1,
        metrics: per_rank::METRICS,
        params: &[Param {
            name: "quanta",
            help: "quanta on each rank (default 20000 of 200 us, quick 2000)",
        }],
    };

    fn setup(setup: &Setup<'_>) -> Result<Self> {
        let default = if setup.size() == Size::Quick { QUANTA_QUICK } else { QUANTA };
        let quanta = setup.get::<usize>("quanta")?.unwrap_or(default);
        if quanta < 2 {
            return Err(setup.bad("quanta", quanta, "must be at least 2"));
        }
        setup.need("quanta", quanta, (quanta as u64).saturating_mul(size_of::<f64>() as u64))?;
        // The same work on every rank: as long as the quickest needs for the aim.
        let probe = 20_000;
        let timed = (0..20).map(|_| {
            let begin = mpi::time();
            std::hint::black_box(chain(std::hint::black_box(probe)));
            mpi::time() - begin
        });
        let quickest = setup.team.min(timed.fold(f64::INFINITY, f64::min));
        let steps = (QUANTUM_S / quickest * probe as f64).max(1.0) as u64;
        Ok(Self { quanta, steps, expected: chain(steps), seconds: Vec::with_capacity(quanta), wrong: 0 })
    }

    fn params(&self) -> Facts {
        Facts::from([
            ("quanta".to_owned(), self.quanta.into()),
            ("quantum_us".to_owned(), (QUANTUM_S * 1e6).into()),
        ])
    }

    fn run(&mut self, team: &Team) -> Result<Lap> {
        self.seconds.clear();
        self.wrong = 0;
        team.barrier();
        for _ in 0..self.quanta {
            let begin = mpi::time();
            let result = chain(std::hint::black_box(self.steps));
            self.seconds.push(mpi::time() - begin);
            self.wrong += u64::from(result != self.expected);
        }
        Ok(self.noise().gather(team))
    }

    fn verify(&mut self, team: &Team) -> Result<Check> {
        let backwards = self.seconds.iter().filter(|s| s.is_nan() || **s <= 0.0).count() as u64;
        Ok(Check::exact("quanta", team.sum_u64(self.wrong + backwards)))
    }

    fn report(&self, lap: &Lap) -> Vec<Reading> {
        per_rank::readings(lap)
    }

    fn corrupt(&mut self, _team: &Team) {
        self.seconds[0] = -self.seconds[0];
    }

    fn charts(rows: &[Row]) -> Vec<Chart> {
        per_rank::charts(rows)
    }
}
