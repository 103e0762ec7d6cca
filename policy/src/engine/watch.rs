//! A young kept decision stays under watch: a window of six seconds can miss what one of fifteen sees.
//!
//! If a guest turns out to be below its floor through it, it is reverted without further trial. The watch ends when it is
//! old, when the load changes (then the model plans anew), when a later decision is kept, or when Trimtab may not turn anything
//! of its own accord any more (pause, stop, a mode other than `enforce`). May not: judge gains.

use super::Engine;
use super::measure::{Before, Floor, concerns};
use crate::decision::{Change, Decision, Effect, Verdict};
use crate::units::{GuestId, MonoNs};
use std::collections::BTreeMap;

/// Length of the window that is judged, and how long the watch lasts.
const WINDOW_MS: u64 = 15_000;
const LASTS_MS: u64 = 60_000;

/// A kept decision and what was before it.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub(super) decision: Decision,
    pub(super) before: BTreeMap<GuestId, Before>,
    pub(super) capacity: f64,
    pub(super) since: MonoNs,
    /// When a guest of it was last silent: what it did or did not do until then may be a hang's doing.
    pub(super) silent_at: MonoNs,
}

impl Engine {
    /// One tick of the watch.
    pub(super) fn step_watch(&mut self) {
        let Some(watch) = &self.watch else { return };
        let silent = self.fell_silent(watch.since, |id| concerns(&watch.before, &watch.decision, id));
        let Some(watch) = &mut self.watch else { return };
        if silent {
            watch.silent_at = self.now;
        }
        let age_ms = self.now.since(watch.since) / 1_000_000;
        if age_ms > LASTS_MS || self.profile != watch.decision.profile {
            self.watch = None;
            return;
        }
        // A trial on top disturbs, and so does a guest that hangs: the window begins anew after it.
        let start = MonoNs(self.now.0.saturating_sub(WINDOW_MS * 1_000_000));
        if self.trial.is_some() || start < watch.since.max(watch.silent_at).max(self.stable_since) {
            return;
        }
        let Some(watch) = &self.watch else { return };
        let harm = match self.floor(&watch.before, watch.capacity, start) {
            Floor::Kept | Floor::Doubtful(_) => return,
            Floor::Broken(harm) | Floor::Starving(harm) => harm,
        };
        let Some(Watch { mut decision, .. }) = self.watch.take() else { return };
        let ours = |e: &Self, c: &Change| e.ledger.held(c.guest, c.knob).is_some_and(|o| o.ours == c.to);
        for c in decision.changes.clone().into_iter().rev() {
            if ours(self, &c) {
                self.put_back(Some(decision.id), c.guest, c.knob, c.from);
            }
        }
        decision.verdict = Verdict::Reverted;
        decision.outcome =
            format!("reverted after {} s: {harm}; before that, {}", age_ms / 1000, decision.outcome);
        let now = (self.now, self.wall);
        let config = &self.config.arbiter;
        let lesson = self.knowledge.learn(&decision.profile, &decision.recipe, false, None, now, config);
        self.arbiter.closed(self.now, &decision.profile, Some(true), self.config.arbiter.cool_down_ms);
        self.effects.push(Effect::Learn(lesson));
        self.kept.remove(&decision.id);
        self.reverting.push(decision);
        self.finish_closing();
    }
}
