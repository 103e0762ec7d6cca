//! The open trial: start, step, judge. States are drawn in the engine's head. May not: pick what to try.

use super::Engine;
use super::measure::{Before, Floor, concerns};
use crate::control::{Plan, Proposal};
use crate::decision::{Decision, Effect, Verdict};
use crate::knob::Family;
use crate::rates::Rates;
use crate::trial::{Judgement, Rule, could_tell, judge, look_due};
use crate::units::{GuestId, MonoNs};
use std::collections::BTreeMap;

/// Ticks in a row that another profile must be seen before the load counts as changed.
const OTHER_PROFILE_TICKS: u32 = 2;

/// Where a trial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Changes go out one by one.
    Applying,
    /// All are made; samples from `OpenTrial::from` on count.
    Measuring,
    /// The verdict is reverted; changes go back.
    Closing,
}

/// A trial under way.
#[derive(Clone, Debug)]
pub(super) struct OpenTrial {
    pub(super) decision: Decision,
    pub(super) opened: MonoNs,
    pub(super) undoes: bool,
    /// Whether it shall bring guests back to their floors, which then counts more than the objective.
    cures: bool,
    pub(super) phase: Phase,
    /// Changes made so far.
    pub(super) applied: usize,
    /// Samples of intervals that began at or after this count.
    pub(super) from: MonoNs,
    pub(super) before: BTreeMap<GuestId, Before>,
    /// Capacity before, in CPUs.
    pub(super) capacity: f64,
    /// Objective per tick before.
    samples: Vec<f64>,
    other_profile: u32,
    /// How often was judged already.
    looks: u64,
    /// Whether the end says that the recipe failed; `None` if it says nothing about it.
    pub(super) failed: Option<bool>,
    /// Gain measured so far and its standard error.
    pub(super) gain: Option<(f64, f64)>,
}

impl OpenTrial {
    /// Whether the trial turns a knob of this guest or counts on its load.
    pub(super) fn concerns(&self, guest: GuestId) -> bool {
        concerns(&self.before, &self.decision, guest)
    }
    /// Whether the trial turns a knob of this family of this guest.
    pub(super) fn turns(&self, guest: GuestId, family: Family) -> bool {
        self.decision.changes.iter().any(|c| c.guest == guest && c.knob.family() == family)
    }
}

impl Engine {
    /// Begins a trial; `false` if the time before could not be measured.
    pub(super) fn start_trial(&mut self, proposal: Proposal) -> bool {
        let start = MonoNs(self.now.0.saturating_sub(self.config.trial.before_max_ms * 1_000_000));
        let start = start.max(self.stable_since).max(self.profile_since);
        let before = self.measure_before(start);
        let samples = self.objective_samples(&before, start, self.now);
        let needed = self.config.trial.before_ms / 1_000;
        if samples.len() < 2 || (self.now.since(start) / 1_000_000_000) < needed {
            return false;
        }
        let capacity = self.capacity_since(start);
        let cures = self.arbiter.cures(&proposal, &self.score, self.now);
        if !cures && !proposal.plan.undoes && !self.worth_measuring(&samples, proposal.expected) {
            return false;
        }
        let Proposal { plan, expected, why, .. } = proposal;
        let undoes = plan.undoes;
        let decision = self.decision(plan, why, expected);
        self.effects.push(Effect::Record(decision.clone()));
        for change in &decision.changes {
            let guest = self.guests.get(&change.guest);
            let (name, pid) = guest.map_or((change.guest_name.as_str(), None), |k| (k.name.as_str(), k.pid));
            let saved = self.ledger.prepare((change.guest, name, pid), change.knob, &change.from, &change.to);
            self.effects.push(Effect::SaveOriginal(saved));
        }
        self.arbiter.decided(self.now);
        if let Some(first) = decision.changes.first() {
            self.hands.forward(decision.id, first.clone());
        }
        self.trial = Some(OpenTrial {
            decision,
            opened: self.now,
            undoes,
            cures,
            phase: Phase::Applying,
            applied: 0,
            from: self.now,
            before,
            capacity,
            samples,
            other_profile: 0,
            looks: 0,
            failed: None,
            gain: None,
        });
        true
    }

    /// Whether a trial that begins now could show what it is expected to bring, or cannot become any sharper by waiting.
    fn worth_measuring(&self, before: &[f64], expected: f64) -> bool {
        let trial = &self.config.trial;
        let ticks = |ms: u64| (ms / 1_000) as usize;
        before.len() >= ticks(trial.before_max_ms)
            || could_tell(before, expected, ticks(trial.after_max_ms), trial.confidence_pct / 100.0)
    }

    /// A new decision under the next number.
    pub(super) fn decision(&mut self, plan: Plan, why: String, expected: f64) -> Decision {
        let id = self.next_decision;
        self.next_decision += 1;
        Decision {
            id,
            time: self.wall,
            guest: plan.beneficiary,
            guest_name: self.name(plan.beneficiary),
            knob: plan.family,
            changes: plan.changes,
            why,
            profile: self.profile.clone(),
            recipe: plan.recipe,
            expected,
            before: None,
            after: None,
            verdict: Verdict::Pending,
            outcome: String::new(),
            closed: None,
        }
    }

    /// One tick of the open trial.
    pub(super) fn step_trial(&mut self, rates: &Rates) {
        let Some(trial) = &mut self.trial else { return };
        if trial.phase == Phase::Closing {
            return;
        }
        if rates.dt_s.is_none() {
            self.close_trial("the samples have a gap (suspended host or stalled daemon)", None);
            return;
        }
        let same = self.profile == trial.decision.profile;
        trial.other_profile = if same { 0 } else { trial.other_profile + 1 };
        if trial.other_profile >= OTHER_PROFILE_TICKS {
            let text = format!(
                "the load changed while measuring, from '{}' to '{}'",
                trial.decision.profile, self.profile
            );
            self.close_trial(&text, None);
        } else if trial.phase == Phase::Measuring {
            self.judge_trial();
        }
    }

    fn judge_trial(&mut self) {
        let Some(trial) = self.trial.as_ref().filter(|t| !self.awaits_answer(t)) else { return };
        let config = &self.config.trial;
        // Ticks do not fall exactly on the second: half a tick of patience would cost a whole one.
        let measured_ms = self.now.since(trial.from) / 1_000_000 + 250;
        let floor = self.floor(&trial.before, trial.capacity, trial.from);
        if let Floor::Starving(harm) = &floor {
            let harm = harm.clone();
            self.close_trial(&harm, Some(true));
            return;
        }
        let Some(last_look) = look_due(measured_ms, trial.looks, config) else { return };
        let rule = Rule {
            min_gain: self.config.arbiter.min_gain_pct / 100.0,
            confidence: config.confidence_pct / 100.0,
            last_look,
            undoes: trial.undoes,
            cured: floor == Floor::Kept && trial.cures && self.is_cured(trial),
        };
        let after = self.objective_samples(&trial.before, trial.from, self.now);
        let Some((judgement, evidence)) = judge(&trial.samples, &after, &rule) else {
            if rule.last_look {
                self.close_trial("nothing could be measured after the change", None);
            }
            return;
        };
        let words = self.evidence_words(trial, &evidence, measured_ms);
        let undoes = trial.undoes;
        let Some(trial) = &mut self.trial else { return };
        trial.looks += 1;
        (trial.decision.before, trial.decision.after) = (Some(evidence.before), Some(evidence.after));
        trial.gain = Some((evidence.gain, evidence.error()));
        match (floor, judgement) {
            (Floor::Broken(harm), _) if !undoes => self.close_trial(&format!("{harm}; {words}"), Some(true)),
            (Floor::Doubtful(harm), Judgement::Keep) if !undoes && rule.last_look => {
                self.close_trial(&format!("{harm}; {words}"), Some(true));
            }
            (Floor::Doubtful(_), Judgement::Keep) if !undoes => {}
            (_, Judgement::Keep) if rule.cured => {
                self.keep_trial(&format!("guests are back at their floors; {words}"));
            }
            (_, Judgement::Keep) => self.keep_trial(&words),
            (_, Judgement::Revert) => {
                self.close_trial(&format!("no gain beyond the noise: {words}"), Some(true));
            }
            (_, Judgement::Undecided) => {}
        }
    }
}
