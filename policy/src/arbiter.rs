//! Safety rails: when anything may be decided at all, and which proposal is taken.
//!
//! One trial at a time per host: knobs of different guests act on the same CPUs, so two trials at once could not be told
//! apart. Rails: a bottleneck must persist (hold), decisions rest after each other (cool-down), are few a minute (budget),
//! rest longer and longer while nothing helps (patience), a recipe that failed rests (back-off), nothing frozen is touched, and
//! the expected gain is worth it. What would push somebody below a floor is not even proposed. May not: turn anything.

use crate::control::{Proposal, State};
use crate::knowledge::{Knowledge, backoff_ms};
use crate::objective::{Score, Term};
use crate::units::MonoNs;
use std::collections::VecDeque;

/// A failed trial is followed by another one after the cool-down alone if that one promises at least this much, ...
const PROMISING_GAIN: f64 = 0.05;
/// ... but after so many failures in a row under one profile the promise is not believed any more.
const IMPATIENT_FAILURES: u32 = 3;
/// CPU that must be gained towards the floors for a plan to count as a cure, and how long somebody must have been clearly
/// below: the noise of a window must not pass for an illness.
const CURE_MIN: f64 = 0.02;
const ILL_MS: u64 = 15_000;

/// The arbiter's memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arbiter {
    decided: VecDeque<MonoNs>,
    ready_at: MonoNs,
    failed_at: MonoNs,
    failures: u32,
    profile: String,
    trouble_since: Option<MonoNs>,
    below_since: Option<MonoNs>,
}

fn after(at: MonoNs, ms: u64) -> MonoNs {
    MonoNs(at.0.saturating_add(ms.saturating_mul(1_000_000)))
}

/// How far above its floor the plan leaves the one closest to it, relative. Who is below already has nothing to lose by what
/// brings it nearer.
fn room(p: &Proposal, now: &Score) -> f64 {
    let was_below = |t: &&Term| now.term(t.party.guest).is_some_and(Term::is_below);
    let at_risk = p.prediction.score.terms.iter().filter(|t| t.floor > 0.0 && !was_below(t));
    at_risk.map(|t| t.party.run / t.floor).fold(f64::INFINITY, f64::min)
}

/// Of offers (gain, room), the index of the one with the most room among those that promise less than `worth` short of the best.
fn gentlest(offers: &[(f64, f64)], worth: f64) -> Option<usize> {
    let best = offers.iter().map(|o| o.0).max_by(f64::total_cmp)?;
    let about = offers.iter().enumerate().filter(|(_, o)| o.0 > best - worth);
    let order = |a: &(f64, f64), b: &(f64, f64)| a.1.total_cmp(&b.1).then(a.0.total_cmp(&b.0));
    about.max_by(|(_, a), (_, b)| order(a, b)).map(|(n, _)| n)
}

impl Arbiter {
    /// Tells whether something is wrong at this tick.
    pub(crate) fn trouble(&mut self, now: MonoNs, is: bool) {
        self.trouble_since = if is { self.trouble_since.or(Some(now)) } else { None };
    }

    /// Tells whether somebody is clearly below a floor at this tick.
    pub(crate) fn below(&mut self, now: MonoNs, is: bool) {
        self.below_since = if is { self.below_since.or(Some(now)) } else { None };
    }

    /// Whether a proposal brings guests back towards floors that they have been below for long.
    pub(crate) fn cures(&self, p: &Proposal, score: &Score, now: MonoNs) -> bool {
        let ill = self.below_since.is_some_and(|t| now >= after(t, ILL_MS));
        let missing: f64 = score.terms.iter().map(Term::missing).sum();
        ill && missing - p.prediction.missing() >= CURE_MIN && p.expected >= -0.02
    }

    /// Whether a decision may be made now, whatever it is.
    pub(crate) fn may_decide(&mut self, now: MonoNs, state_config: &crate::config::ArbiterConfig) -> bool {
        while self.decided.front().is_some_and(|&t| now.since(t) >= 60_000_000_000) {
            self.decided.pop_front();
        }
        let held = self.trouble_since.is_some_and(|t| now >= after(t, state_config.hold_ms));
        held && now >= self.ready_at && self.decided.len() < state_config.decisions_per_min as usize
    }

    /// Nothing before `ms` from now.
    pub(crate) fn rest(&mut self, now: MonoNs, ms: u64) {
        self.ready_at = self.ready_at.max(after(now, ms));
    }

    /// A decision was made.
    pub(crate) fn decided(&mut self, now: MonoNs) {
        self.decided.push_back(now);
    }

    /// A trial ended. `failed` is `None` if it says nothing about the recipe.
    pub(crate) fn closed(&mut self, now: MonoNs, profile: &str, failed: Option<bool>, cool_down_ms: u64) {
        self.rest(now, cool_down_ms);
        if self.profile != profile {
            self.failures = 0;
            profile.clone_into(&mut self.profile);
        }
        match failed {
            Some(true) => {
                self.failures = self.failures.saturating_add(1);
                self.failed_at = now;
            }
            Some(false) => self.failures = 0,
            None => {}
        }
    }

    /// The proposal to take, if any: the one that promises most, or a gentler one that promises about as much. What the model
    /// promises is far less exact than the least gain, and a floor that a trial breaks has cost somebody.
    pub(crate) fn pick(
        &self,
        mut proposals: Vec<Proposal>,
        state: &State,
        knowledge: &Knowledge,
        now: MonoNs,
    ) -> Option<Proposal> {
        proposals.retain(|p| self.objection(p, state, knowledge, now).is_none());
        let kind = |p: &Proposal| {
            (self.cures(p, &state.score, now), knowledge.is_proven(&state.profile, &p.plan.recipe))
        };
        let gain = |p: &Proposal| knowledge.rank(&state.profile, &p.plan.recipe, p.expected, now);
        let first = proposals.iter().map(kind).max()?;
        proposals.retain(|p| kind(p) == first);
        let offers: Vec<_> = proposals.iter().map(|p| (gain(p), room(p, &state.score))).collect();
        let taken = gentlest(&offers, state.config.arbiter.min_gain_pct / 100.0)?;
        Some(proposals.swap_remove(taken))
    }

    /// Why a proposal must not be tried, if it must not.
    pub(crate) fn objection(
        &self,
        p: &Proposal,
        state: &State,
        knowledge: &Knowledge,
        now: MonoNs,
    ) -> Option<String> {
        let config = &state.config.arbiter;
        if p.plan.changes.is_empty() || p.plan.changes.len() > config.changes_per_decision as usize {
            return Some(format!(
                "{} changes, at most {}",
                p.plan.changes.len(),
                config.changes_per_decision
            ));
        }
        for change in &p.plan.changes {
            let subject = state.subjects.get(&change.guest);
            if subject.is_none_or(|s| !s.may_turn(p.plan.family)) {
                return Some(format!("{} of {} must not be turned", change.knob, change.guest_name));
            }
        }
        if knowledge.rests(&state.profile, &p.plan.recipe, now).is_some() {
            return Some(format!("{} rests after failures", p.plan.recipe));
        }
        let min_gain = config.min_gain_pct / 100.0;
        let cures = self.cures(p, &state.score, now);
        if !cures && knowledge.rank(&state.profile, &p.plan.recipe, p.expected, now) < min_gain {
            return Some(format!("expected gain {:.1} % is not worth it", p.expected * 100.0));
        }
        if self.profile == state.profile && self.failures > 0 {
            let promising = p.expected >= PROMISING_GAIN && self.failures < IMPATIENT_FAILURES;
            let patience = backoff_ms(self.failures, config);
            if !promising && now < after(self.failed_at, patience) {
                return Some(format!("{} trials in a row did not help", self.failures));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_that_promise_about_the_same_the_gentler_is_taken() {
        let (most, gentler, little) = ((0.125, 1.04), (0.11, 1.17), (0.045, 1.3));
        assert_eq!(gentlest(&[most, gentler, little], 0.03), Some(1));
        assert_eq!(gentlest(&[(0.18, 1.04), gentler, little], 0.03), Some(0), "worth a trial of its own");
        assert_eq!(gentlest(&[(0.1, f64::INFINITY), (0.12, f64::INFINITY)], 0.03), Some(1));
        assert_eq!(gentlest(&[], 0.03), None);
    }
}
