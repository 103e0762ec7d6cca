//! One kernel in one variant: who takes part, and the phases set up, warm up, laps, verification.
//! Every phase ends with the ranks agreeing on its outcome, so that one rank's failure stops all of them.

use serde::{Deserialize, Serialize};

use super::{Item, Options, free_bytes_per_rank, rows, setup_for};
use crate::error::{Error, Result};
use crate::kernel::{Check, Facts, Reading, Variant};
use crate::registry::Job;
use crate::result::Outcome;
use crate::team::Team;
use crate::watchdog;

/// One kernel in one variant.
pub(super) struct Run<'a> {
    pub(super) world: &'a Team,
    pub(super) item: &'a Item,
    pub(super) variant: Variant,
    /// The rank that runs [`Variant::Single`].
    pub(super) single_rank: i32,
    pub(super) options: &'a Options,
}

/// What one rank hands to rank 0 after a lap.
#[derive(Debug, Serialize, Deserialize)]
struct Handed {
    readings: Vec<Reading>,
    check: Check,
}

/// A rank that takes part, with the kernel it has set up.
struct Active<'a> {
    team: &'a Team,
    job: Box<dyn Job>,
}

impl Run<'_> {
    /// Runs all phases. The outcome is complete on rank 0; `verified` is right on every rank.
    pub(super) fn execute(&self) -> Result<Outcome> {
        let solo = match self.variant {
            Variant::Star => Team::solo_in_step_with(self.world),
            Variant::Single | Variant::Mpi => Team::solo(),
        };
        let team = match self.variant {
            Variant::Mpi => Some(self.world),
            Variant::Star => Some(&solo),
            Variant::Single => (self.world.rank() == self.single_rank).then_some(&solo),
        };
        let mut active = self.set_up(team)?;
        for _ in 0..self.options.warmup {
            self.phase("a warm-up lap");
            self.timed(&mut active)?;
        }
        let mut laps: Vec<Vec<Reading>> = Vec::new();
        let mut checks: Vec<Check> = Vec::new();
        loop {
            self.phase("a lap");
            let readings = self.timed(&mut active)?;
            self.phase("a verification");
            let check = self.verify(&mut active)?;
            let (lap, check) = self.collect(readings, check)?;
            laps.push(lap);
            checks.push(check);
            if self.enough(&laps, &checks) {
                break;
            }
        }
        self.phase("a report");
        let (params, facts) = self.describe(active.as_ref())?;
        let mut outcome = rows::outcome(self.item.entry.spec, self.variant, &params, facts, &laps, &checks);
        if outcome.verified {
            outcome.rendered = (self.item.entry.render)(&outcome.rows);
            outcome.charts = (self.item.entry.charts)(&outcome.rows);
        }
        Ok(outcome)
    }

    fn phase(&self, what: &str) {
        let name = format!("{what} of {} ({})", self.item.entry.spec.name, self.variant.name());
        watchdog::phase(&name, self.options.timeout);
    }

    fn set_up<'t>(&self, team: Option<&'t Team>) -> Result<Option<Active<'t>>>
    where
        Self: 't,
    {
        self.phase("the set-up");
        let free = free_bytes_per_rank(self.world)?;
        let job = team.map(|team| {
            let job = self.item.entry.setup(&setup_for(self, team, free))?;
            Ok(Active { team, job })
        });
        self.world.agree(job.transpose())
    }

    /// One lap; the idle ranks of a Single run sleep until it is over.
    fn timed(&self, active: &mut Option<Active<'_>>) -> Result<Vec<Reading>> {
        self.world.idle_barrier();
        let lap = active.as_mut().map(|a| a.job.run(a.team)).transpose();
        if self.variant == Variant::Single {
            self.world.idle_barrier();
        }
        let lap = self.world.agree(lap)?;
        Ok(match (lap, active) {
            (Some(lap), Some(a)) if a.team.is_root() => a.job.report(&lap),
            _ => Vec::new(),
        })
    }

    fn verify(&self, active: &mut Option<Active<'_>>) -> Result<Option<Check>> {
        if let (true, Some(a)) = (corruption_wanted(), active.as_mut()) {
            a.job.corrupt(a.team);
        }
        let check = active.as_mut().map(|a| a.job.verify(a.team)).transpose();
        if self.variant == Variant::Single {
            self.world.idle_barrier();
        }
        self.world.agree(check)
    }

    /// Brings readings and checks of all ranks together; the same answer on every rank.
    fn collect(&self, readings: Vec<Reading>, check: Option<Check>) -> Result<(Vec<Reading>, Check)> {
        let mine = match check {
            Some(check) => serde_json::to_vec(&Handed { readings, check }),
            None => Ok(Vec::new()),
        };
        let mine = mine.map_err(|e| Error::Environment(format!("lap of {}: {e}", self.item.entry.spec.name)));
        let all = self.world.gather_bytes(&self.world.agree(mine)?);
        let handed: Vec<Handed> = all.iter().filter_map(|bytes| serde_json::from_slice(bytes).ok()).collect();
        let (readings, checks): (Vec<_>, Vec<_>) = handed.into_iter().map(|h| (h.readings, h.check)).unzip();
        Ok((rows::join_ranks(self.item.entry.spec, readings), rows::join_checks(&checks)))
    }

    /// Rank 0 decides: a failed lap ends it, else the rule for repetition.
    fn enough(&self, laps: &[Vec<Reading>], checks: &[Check]) -> bool {
        let failed = checks.iter().any(|c| !c.passed);
        let enough = failed || self.options.repeat.satisfied(laps);
        self.world.share_bytes(vec![u8::from(enough)]) == [1]
    }

    /// Parameters and facts of the lowest rank that takes part.
    fn describe(&self, active: Option<&Active<'_>>) -> Result<(Facts, Facts)> {
        let mine = active.map(|a| serde_json::to_vec(&(a.job.params(), a.job.facts())));
        let mine = mine.transpose().map_err(|e| Error::Environment(format!("facts: {e}")));
        let all = self.world.gather_bytes(&self.world.agree(mine)?.unwrap_or_default());
        Ok(all.iter().find_map(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default())
    }
}

/// True in a binary built with `fault-injection` when `TRIMTAB_BENCH_CORRUPT` is set.
#[must_use]
pub fn corruption_wanted() -> bool {
    cfg!(feature = "fault-injection") && std::env::var_os("TRIMTAB_BENCH_CORRUPT").is_some()
}
