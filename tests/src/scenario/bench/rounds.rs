//! Rounds of untouched and tuned, which both variants of the noisy neighbour have, and what is told of each round.

use super::{Bench, Bound, Sheet};
use crate::scenario::Result;
use crate::scenario::arms::{Patience, Solo, Tuned, under_trimtab};
use crate::scenario::objective::median;
use crate::scenario::rig::Window;
use std::time::Duration;

const ROUNDS: usize = 3;
/// Small gains take several trials of up to a minute each; a host runs for weeks.
const PATIENCE: Patience = Patience {
    tuning: Duration::from_secs(150),
    quiet: Duration::from_secs(45),
    // No trial takes longer.
    verdict: Duration::from_secs(40),
};
/// A measured window.
pub(super) const WINDOW: Duration = Duration::from_secs(12);

/// One round.
pub(super) struct Round {
    /// The mean of a window before and one after: drift of the machine cancels to first order.
    pub(super) untouched: Window,
    pub(super) tuned: Tuned,
}

/// All rounds, each with an empty memory.
pub(super) struct Rounds(pub(super) Vec<Round>);

fn harmed(case: &str) -> String {
    format!("{case}: nobody harmed beyond the noise, worst round")
}

fn part(case: &str) -> String {
    format!("{case}: part of the floor that the worst guest got")
}

fn nothing(case: &str) -> String {
    format!("{case}: rounds of {ROUNDS} with nothing kept")
}

fn in_force(case: &str, round: usize) -> String {
    format!("{case}, round {round}: kept decisions in force")
}

/// The rows that [`Rounds::fill`] fills.
pub(super) fn promise(mut sheet: Sheet, case: &str) -> Sheet {
    sheet = sheet.with(harmed(case), Bound::AtLeast(1.0), "1").with(part(case), Bound::Reported, "1").with(
        nothing(case),
        Bound::Reported,
        "rounds",
    );
    for round in 1..=ROUNDS {
        sheet = sheet.with(in_force(case, round), Bound::Reported, "1");
    }
    sheet
}

impl Rounds {
    pub(super) fn run(bench: &Bench) -> Result<Self> {
        (1..=ROUNDS).map(|round| Round::run(bench, round)).collect::<Result<_>>().map(Self)
    }

    /// The mean of all untouched windows.
    pub(super) fn untouched(&self) -> Option<Window> {
        let windows: Vec<Window> = self.0.iter().map(|round| round.untouched).collect();
        Window::mean(&windows)
    }

    /// A value of each round.
    pub(super) fn each(&self, value: impl Fn(&Round) -> f64) -> Vec<f64> {
        self.0.iter().map(value).collect()
    }

    /// What the guests got of their floors, and how much was in force: a round with nothing kept shows the luck of two untouched
    /// windows and no work of Trimtab.
    pub(super) fn fill(&self, sheet: &mut Sheet, case: &str, solo: &Solo, weights: [u32; 3]) {
        // A constraint holds in every round or not at all, hence the worst one.
        let fares = self.each(|r| solo.harmless(weights, &r.untouched, &r.tuned.window));
        sheet.fill(&harmed(case), fares.into_iter().min_by(f64::total_cmp));
        sheet.fill(&part(case), median(&self.each(|r| solo.floor(weights, &r.tuned.window))));
        let kept = self.each(|r| r.tuned.in_force.len() as f64);
        sheet.fill(&nothing(case), Some(kept.iter().filter(|&&n| n == 0.0).count() as f64));
        for (i, n) in kept.into_iter().enumerate() {
            sheet.fill(&in_force(case, i + 1), Some(n));
        }
    }
}

impl Round {
    fn run(bench: &Bench, round: usize) -> Result<Self> {
        bench.progress.step(format!("round {round}: untouched"));
        let before = bench.rig.measure(WINDOW)?;
        let tuned = under_trimtab(bench.rig, bench.progress, round, (PATIENCE, WINDOW))?;
        bench.progress.step(format!("round {round}: untouched again"));
        let after = bench.rig.measure(WINDOW)?;
        let untouched = Window::mean(&[before, after]).unwrap_or(before);
        let this = Self { untouched, tuned };
        this.tell(bench, round);
        Ok(this)
    }

    fn tell(&self, bench: &Bench, round: usize) {
        let (before, after) = (self.untouched.rates(), self.tuned.window.rates());
        let first =
            self.tuned.first_kept.map_or_else(|| "-".to_owned(), |t| format!("{:.0} s", t.as_secs_f64()));
        bench.progress.say(&format!(
            "  round {round}: writer {:.1} -> {:.1} MB/s, burners {:.2}+{:.2} -> {:.2}+{:.2} CPU, first kept after {first}",
            before[0], after[0], before[1], before[2], after[1], after[2],
        ));
        bench.progress.say(&format!("    in force: {}", self.tuned.in_force()));
        for d in self.tuned.decisions.iter().rev() {
            bench.progress.say(&format!("    #{} {} {} | {} | {}", d.id, d.verdict, d.to, d.why, d.outcome));
        }
    }
}
