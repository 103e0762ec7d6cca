//! After a crash: decisions that the last run left pending are undone and closed as reverted.
//!
//! Finishing such a trial is no option, since nobody measured while the daemon was away. Each change goes back if the knob
//! still has the value that the decision set; a knob that still or again has the value before is left; any other value is
//! the admin's. A guest with a new pid has new knobs: nothing to undo. May not: start trials.

use super::Engine;
use crate::decision::{Change, Decision, Effect, Verdict};
use crate::ledger::Moved;
use crate::units::{GuestId, MonoNs};
use std::collections::BTreeSet;

/// A guest whose knobs cannot be read for so long is taken care of when it comes back; control of the others goes on.
const PATIENCE_MS: u64 = 30_000;

/// One pending decision of the last run.
#[derive(Clone, Debug)]
struct Left {
    decision: Decision,
    /// Guests whose changes have not been looked at.
    open: BTreeSet<GuestId>,
    undone: usize,
    looked: bool,
}

/// What is left to recover.
#[derive(Clone, Debug, Default)]
pub(super) struct Recovery {
    left: Vec<Left>,
    since: Option<MonoNs>,
}

impl Recovery {
    pub(super) fn of(pending: Vec<Decision>) -> Self {
        let left = pending.into_iter().map(|decision| Left {
            open: decision.changes.iter().map(|c| c.guest).collect(),
            decision,
            undone: 0,
            looked: false,
        });
        let mut left: Vec<Left> = left.collect();
        // The newest decision built on the older ones, so it is undone first.
        left.sort_by_key(|l| std::cmp::Reverse(l.decision.id));
        Self { left, since: None }
    }

    pub(super) fn is_over(&self) -> bool {
        self.left.is_empty()
    }
}

impl Engine {
    /// Before the first read-back of a guest is judged: of a knob under a pending decision either value is ours.
    pub(super) fn expect_either(&mut self, guest: GuestId) {
        for left in self.recovery.left.iter().filter(|l| l.open.contains(&guest)) {
            for c in left.decision.changes.iter().filter(|c| c.guest == guest) {
                self.ledger.expect(c);
            }
        }
    }

    /// Goes through what the last run left, one tick at a time.
    pub(super) fn recover(&mut self) {
        if self.recovery.is_over() {
            return;
        }
        let since = *self.recovery.since.get_or_insert(self.now);
        let patient = self.now.since(since) < PATIENCE_MS * 1_000_000;
        let mut recovery = std::mem::take(&mut self.recovery);
        for left in &mut recovery.left {
            let ready: Vec<GuestId> = left.open.iter().copied().filter(|&g| self.can_recover(g)).collect();
            for guest in ready {
                left.open.remove(&guest);
                left.undone += self.undo_left(guest, &left.decision);
            }
            left.looked = true;
        }
        let reachable = |g: GuestId| self.guests.get(&g).is_some_and(super::Known::is_reachable);
        let mut done = Vec::new();
        recovery.left.retain(|l| {
            let over =
                (l.open.is_empty() || !patient) && l.looked && !self.hands.works_on(&l.decision, reachable);
            if over {
                done.push(l.clone());
            }
            !over
        });
        recovery.since = Some(since);
        self.recovery = recovery;
        for left in done {
            self.close_left(left);
        }
    }

    /// Whether everything is known that is needed to undo a guest's changes: its knobs, or that it is gone or new.
    fn can_recover(&self, guest: GuestId) -> bool {
        match self.guests.get(&guest) {
            Some(known) if known.present => self.ledger.knobs(guest).is_some(),
            // Known from the store only, may still appear; otherwise gone.
            Some(_) => false,
            None => true,
        }
    }

    fn undo_left(&mut self, guest: GuestId, decision: &Decision) -> usize {
        let mut undone = 0;
        let usable = self.topology.cpu_set();
        for c in decision.changes.iter().rev().filter(|c| c.guest == guest) {
            if self.ledger.held(guest, c.knob).is_none() {
                continue;
            }
            let Some(found) = self.ledger.knobs(guest).and_then(|k| k.get(&c.knob)).cloned() else {
                continue;
            };
            if crate::ledger::same(&c.to, &found, &usable) {
                let back = Change { from: c.to.clone(), to: c.from.clone(), ..c.clone() };
                self.hands.back(Some(decision.id), back);
                undone += 1;
            } else if crate::ledger::same(&c.from, &found, &usable) {
                self.ledger.set(guest, c.knob, &c.from, self.now);
                self.effects.extend(self.ledger.settle(guest, c.knob));
            } else {
                let moved = Moved { knob: c.knob, expected: c.to.clone(), found, was_held: true };
                self.ledger.let_go(guest, c.knob);
                let name = self.name(guest);
                self.yield_to_admin(guest, &name, &moved);
            }
        }
        undone
    }

    fn close_left(&mut self, left: Left) {
        let mut decision = left.decision;
        decision.verdict = Verdict::Reverted;
        decision.closed = Some(self.wall);
        decision.outcome = format!(
            "reverted: trimtabd stopped while measuring; at the next start {} of {} changes were still in force and went back",
            left.undone,
            decision.changes.len()
        );
        decision.outcome.push_str(&self.what_waits(&decision));
        if !left.open.is_empty() {
            decision
                .outcome
                .push_str("; some guests could not be asked, `trimtabctl restore` puts them back later");
        }
        self.arbiter.rest(self.now, self.config.arbiter.cool_down_ms);
        self.effects.push(Effect::Record(decision));
    }
}
