//! After a crash: what the last run had begun to put back goes on, and decisions that it left pending are reverted.
//!
//! Finishing such a trial is no option, since nobody measured while the daemon was away. A knob may be found as the decision
//! set it or as it was before; any other value is the admin's. A guest with a new pid has new knobs: nothing to undo.
//! May not: start trials.

use super::Engine;
use crate::decision::{Change, Decision, Original, Verdict};

/// A guest whose knobs cannot be read for so long is taken care of when it comes back; control of the others goes on.
const PATIENCE_MS: u64 = 30_000;

impl Engine {
    /// Takes over from the last run, once: before the first read-back is judged, and before a command, which would otherwise
    /// send knobs back that may not even have been turned.
    pub(super) fn take_over(&mut self) {
        let Some(mut pending) = self.pending.take() else { return };
        let going: Vec<Original> = self.ledger.originals().filter(|o| o.back_to.is_some()).cloned().collect();
        let goal = |c: &Change| {
            let it = going.iter().find(|o| o.guest == c.guest && o.knob == c.knob);
            it.and_then(|o| o.back_to.as_ref())
        };
        // The newest decision built on the older ones, so it is undone first.
        pending.sort_by_key(|d| std::cmp::Reverse(d.id));
        for mut decision in pending {
            for c in decision.changes.iter().rev().filter(|c| goal(c).is_none()) {
                self.ledger.expect(c);
                self.put_back(Some(decision.id), c.guest, c.knob, c.from.clone());
            }
            decision.verdict = Verdict::Reverted;
            "reverted: trimtabd stopped while measuring; what was still in force went back at the next start"
                .clone_into(&mut decision.outcome);
            self.reverting.push(decision);
        }
        let ledger = &self.ledger;
        let undone = |d: &Decision| {
            let mut held = d.changes.iter().filter(|c| ledger.held(c.guest, c.knob).is_some());
            held.all(|c| goal(c).is_some_and(|goal| *goal != c.to))
        };
        for (_, mut decision) in self.kept.extract_if(.., |_, d| undone(d)) {
            decision.verdict = Verdict::Reverted;
            decision.outcome = format!(
                "reverted: its knobs were on their way back when trimtabd stopped; before that, {}",
                decision.outcome
            );
            self.reverting.push(decision);
        }
        for Original { guest, knob, back_to, .. } in going {
            if let Some(to) = back_to {
                self.put_back(None, guest, knob, to);
            }
        }
    }

    /// Whether the daemon started so short a time ago that guests may not have been read yet.
    pub(super) fn is_young(&self) -> bool {
        self.born.is_none_or(|born| self.now.since(born) < PATIENCE_MS * 1_000_000)
    }
}
