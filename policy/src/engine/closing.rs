//! The end of a decision: kept, or undone and recorded as reverted once its knobs are back.
//!
//! May not: judge whether a change helped.

use super::Engine;
use super::trials::Phase;
use super::watch::Watch;
use crate::decision::{Decision, Effect, Verdict};
use crate::units::MonoNs;

impl Engine {
    pub(super) fn keep_trial(&mut self, words: &str) {
        let Some(trial) = self.trial.take() else { return };
        let mut decision = trial.decision;
        decision.verdict = Verdict::Kept;
        decision.outcome = format!("kept: {words}");
        decision.closed = Some(self.wall);
        let now = (self.now, self.wall);
        let config = &self.config.arbiter;
        let lesson = self.knowledge.learn(&decision.profile, &decision.recipe, true, trial.gain, now, config);
        self.watch = (!trial.undoes).then(|| Watch {
            decision: decision.clone(),
            before: trial.before,
            capacity: trial.capacity,
            since: self.now,
            silent_at: MonoNs(0),
        });
        self.arbiter.closed(self.now, &decision.profile, Some(false), config.cool_down_ms);
        for c in &decision.changes {
            self.effects.extend(self.ledger.settle(c.guest, c.knob));
        }
        self.effects.push(Effect::Learn(lesson));
        self.effects.push(Effect::Record(decision.clone()));
        self.kept.insert(decision.id, decision);
        self.kept.retain(|_, d| d.changes.iter().any(|c| self.ledger.held(c.guest, c.knob).is_some()));
    }

    /// A kept decision that a command undoes: recorded as reverted once its knobs are back, and not tried again at once.
    pub(super) fn undo_kept(&mut self, mut decision: Decision, how: &str) {
        self.kept.remove(&decision.id);
        self.veto(&decision);
        decision.verdict = Verdict::Reverted;
        decision.outcome = format!("{how} by command; before that, {}", decision.outcome);
        self.reverting.push(decision);
    }

    /// What the admin undid is not done again soon.
    pub(super) fn veto(&mut self, decision: &Decision) {
        if decision.recipe.is_empty() {
            return;
        }
        let now = (self.now, self.wall);
        let lesson = self.knowledge.veto(&decision.profile, &decision.recipe, now, &self.config.arbiter);
        self.effects.push(Effect::Learn(lesson));
    }

    /// Ends the open trial as reverted: what it changed goes back in reverse order, then the verdict is recorded.
    pub(super) fn close_trial(&mut self, why: &str, failed: Option<bool>) {
        let Some(trial) = &mut self.trial else { return };
        if trial.phase == Phase::Closing {
            return;
        }
        trial.phase = Phase::Closing;
        trial.failed = failed;
        trial.decision.outcome = format!("reverted: {why}");
        self.hands.drop_forward();
        // The change under way (or refused, which may have taken effect all the same) is among those to undo.
        let made = (trial.applied + 1).min(trial.decision.changes.len());
        let (id, mut changes) = (trial.decision.id, trial.decision.changes.clone());
        let never_made = changes.split_off(made);
        for change in changes.into_iter().rev() {
            self.put_back(Some(id), change.guest, change.knob, change.from);
        }
        for change in &never_made {
            self.effects.extend(self.ledger.cancel(change.guest, change.knob));
        }
        self.finish_closing();
    }

    /// Records the verdict once everything is undone that can be undone now.
    pub(super) fn finish_closing(&mut self) {
        self.finish_reverting();
        let Some(trial) = self.trial.as_ref().filter(|t| t.phase == Phase::Closing) else { return };
        if self.hands.works_on(&trial.decision, |g| self.is_awaited(g)) {
            return;
        }
        let Some(trial) = self.trial.take() else { return };
        let mut decision = trial.decision;
        decision.verdict = Verdict::Reverted;
        decision.closed = Some(self.wall);
        decision.outcome.push_str(&self.what_waits(&decision));
        let now = (self.now, self.wall);
        let config = &self.config.arbiter;
        if trial.failed == Some(true) {
            let lesson =
                self.knowledge.learn(&decision.profile, &decision.recipe, false, trial.gain, now, config);
            self.effects.push(Effect::Learn(lesson));
        }
        self.arbiter.closed(self.now, &decision.profile, trial.failed, config.cool_down_ms);
        self.effects.push(Effect::Record(decision));
    }

    /// Likewise for decisions that are reverted without a trial.
    fn finish_reverting(&mut self) {
        let (open, done): (Vec<_>, Vec<_>) = std::mem::take(&mut self.reverting)
            .into_iter()
            .partition(|d| self.hands.works_on(d, |g| self.is_awaited(g)));
        self.reverting = open;
        for mut decision in done {
            self.arbiter.rest(self.now, self.config.arbiter.cool_down_ms);
            decision.closed = Some(self.wall);
            decision.outcome.push_str(&self.what_waits(&decision));
            self.effects.push(Effect::Record(decision));
        }
    }

    /// What of a decision's changes could not be undone yet, as the end of its outcome.
    pub(super) fn what_waits(&self, decision: &Decision) -> String {
        match self.hands.waits_for(decision) {
            0 => String::new(),
            1 => "; 1 knob goes back as soon as its guest can be reached and libvirt does not refuse"
                .to_owned(),
            n => format!(
                "; {n} knobs go back as soon as their guests can be reached and libvirt does not refuse"
            ),
        }
    }
}
