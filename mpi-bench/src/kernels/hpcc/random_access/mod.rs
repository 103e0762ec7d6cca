//! RandomAccess: read-modify-write of random words of a table, in billions of updates a second. Two kernels from one type,
//! by the stream of random values (LFSR, LCG).
//!
//! Table of 2^floor(log2(M/8)) words on one rank, 2^floor(log2(P M/8)) over all; 4 updates an entry, fewer over MPI if those
//! would take longer than the time bound; at most 1024 values of look-ahead; replay, at most 1 % of the entries wrong.

mod exchange;
mod local;
mod sequence;

use std::marker::PhantomData;

use crate::error::Result;
use crate::kernel::{Check, Facts, Family, Kernel, Lap, Metric, Param, Reading, Spec, Variant};
use crate::memory::{Array, Pages};
use crate::setup::Setup;
use crate::team::Team;
use exchange::Layout;
pub(super) use sequence::{Lcg, Lfsr, Sequence};

/// HPCC's limit for the timed part over MPI.
const TIME_BOUND_S: f64 = 60.0;

/// Share of the updates with which the time of all is estimated.
const SAMPLE: u64 = 100;

/// Share of wrong entries that the rules allow.
const ERRORS_ALLOWED: f64 = 0.01;

/// Smallest table: one update for each of the 128 streams.
const LEAST_LOG_SIZE: u32 = 5;

/// The kernel with the stream `S`.
pub(super) struct RandomAccess<S> {
    layout: Layout,
    table: Array<u64>,
    over_mpi: bool,
    time_bound_s: f64,
    /// Updates of this rank: 4 an entry unless the time bound cuts them.
    updates: u64,
    updates_of_all: u64,
    seconds: f64,
    check_seconds: f64,
    wrong: u64,
    stream: PhantomData<S>,
}

/// The name in the registry.
pub(super) trait Named: Sequence {
    const NAME: &'static str;
    const SUMMARY: &'static str;
}

impl Named for Lfsr {
    const NAME: &'static str = "random-access";
    const SUMMARY: &'static str = "random memory updates, LFSR stream";
}

impl Named for Lcg {
    const NAME: &'static str = "random-access-lcg";
    const SUMMARY: &'static str = "random memory updates, LCG stream";
}

impl<S: Sequence> RandomAccess<S> {
    fn initialise(&mut self) {
        for (entry, index) in self.table.iter_mut().zip(self.layout.first()..) {
            *entry = index;
        }
    }

    fn update(&mut self, team: &Team, updates: u64) {
        if self.over_mpi {
            let rounds = team.max(exchange::rounds(updates) as f64) as u64;
            exchange::update::<S>(team, &self.layout, &mut self.table, updates, rounds);
        } else {
            local::update::<S>(&mut self.table, self.layout.log_size);
        }
    }

    fn wrong_share(&self) -> f64 {
        self.wrong as f64 / (1u64 << self.layout.log_size) as f64
    }

    /// Runs a hundredth of the updates and cuts their number if all would exceed the time bound.
    fn estimate(&mut self, team: &Team) {
        let all = 4 * self.table.len() as u64;
        let sample = (all / SAMPLE).max(1);
        team.barrier();
        let begin = mpi::time();
        self.update(team, sample);
        let per_update = team.max(mpi::time() - begin) / sample as f64;
        let fit = (self.time_bound_s / per_update) as u64;
        self.updates = all.min(fit.max(1));
        self.updates_of_all = team.sum_u64(self.updates);
    }
}

impl<S: Named> Kernel for RandomAccess<S> {
    const SPEC: Spec = Spec {
        name: S::NAME,
        family: Family::Hpcc,
        summary: S::SUMMARY,
        source: "HPCC 1.5.0 RandomAccess",
        variants: &[Variant::Single, Variant::Star, Variant::Mpi],
        min_ranks: 1,
        metrics: &[Metric::rate("gups", "GUP/s")],
        params: &[
            Param { name: "log_size", help: "log2 of the words of the (whole) table (default: from --size)" },
            Param { name: "time_bound_s", help: "limit of the timed part over MPI, seconds (default 60)" },
        ],
    };

    fn setup(setup: &Setup<'_>) -> Result<Self> {
        let over_mpi = setup.variant == Variant::Mpi;
        let ranks = setup.team.size() as u64;
        let words = setup.bytes_per_rank().saturating_mul(ranks) / 8;
        let log_size = setup.get::<u32>("log_size")?.unwrap_or(words.max(1).ilog2());
        if !(LEAST_LOG_SIZE..=40).contains(&log_size) || (1 << log_size) < ranks {
            let why = format!("must be {LEAST_LOG_SIZE} to 40, with at least one word a rank");
            return Err(setup.bad("log_size", log_size, why));
        }
        let time_bound_s = setup.get::<f64>("time_bound_s")?.unwrap_or(TIME_BOUND_S);
        if !(time_bound_s > 0.0 && time_bound_s.is_finite()) {
            return Err(setup.bad("time_bound_s", time_bound_s, "must be above 0 seconds"));
        }
        let layout = Layout::new(log_size, ranks, setup.team.rank() as u64);
        setup.need("log_size", log_size, 8 * layout.len() as u64)?;
        let table = Array::zeroed(layout.len(), Pages::Huge)?;
        let updates = 4 * layout.len() as u64;
        let updates_of_all = 4 << log_size;
        Ok(Self {
            layout,
            table,
            over_mpi,
            time_bound_s,
            updates,
            updates_of_all,
            seconds: f64::NAN,
            check_seconds: f64::NAN,
            wrong: 0,
            stream: PhantomData,
        })
    }

    fn params(&self) -> Facts {
        let mut params = Facts::from([
            ("table_words".to_owned(), (1u64 << self.layout.log_size).into()),
            ("updates".to_owned(), self.updates_of_all.into()),
        ]);
        if self.over_mpi {
            params.insert("time_bound_s".to_owned(), self.time_bound_s.into());
        }
        params
    }

    fn run(&mut self, team: &Team) -> Result<Lap> {
        if self.over_mpi {
            self.estimate(team);
        }
        self.initialise();
        team.barrier_in_step();
        let begin = mpi::time();
        self.update(team, self.updates);
        self.seconds = team.max(mpi::time() - begin);
        Ok(Lap(vec![self.seconds]))
    }

    fn verify(&mut self, team: &Team) -> Result<Check> {
        let begin = mpi::time();
        self.wrong = if self.over_mpi {
            let here = exchange::errors_after_replay::<S>(team, &self.layout, &mut self.table, self.updates);
            team.sum_u64(here)
        } else {
            local::errors_after_replay::<S>(&mut self.table, self.layout.log_size)
        };
        self.check_seconds = mpi::time() - begin;
        Ok(Check::at_most("share of wrong entries", self.wrong_share(), ERRORS_ALLOWED))
    }

    fn report(&self, lap: &Lap) -> Vec<Reading> {
        vec![Reading::new("gups", 1e-9 * self.updates_of_all as f64 / lap.0[0])]
    }

    fn facts(&self) -> Facts {
        Facts::from([
            ("time".to_owned(), self.seconds.into()),
            ("check_time".to_owned(), self.check_seconds.into()),
            ("errors".to_owned(), self.wrong.into()),
            ("errors_fraction".to_owned(), self.wrong_share().into()),
        ])
    }

    fn corrupt(&mut self, _team: &Team) {
        // One entry would be within the 1 % that the rules forgive.
        for entry in self.table.iter_mut().step_by(20) {
            *entry ^= 1;
        }
    }
}
