//! The hands: changes go out one at a time, and what became of each decides what follows.
//!
//! Two kinds of jobs: *forward* ones belong to the open trial, *back* ones put a knob to a former value. A refused forward
//! job ends its trial; a refused back job is tried again later, for ever but ever more rarely, because a knob of ours must
//! not stay turned. May not: decide.

use super::Engine;
use super::trials::Phase;
use crate::decision::{Change, Decision, DecisionId, Effect, Outcome};
use crate::knob::{Knob, KnobValue};
use crate::units::{GuestId, MonoNs, UnixMs};
use std::collections::VecDeque;

/// An actuator that has not answered for so long will not. It asks three questions (is a job active, what is the value, what has
/// become of it) and writes once, and each of these may wait for a call slot and then as long again for libvirt: at most 60 s
/// for a question and 120 s for a write, which is as far as the daemon's configuration goes.
const ANSWER_MAX_MS: u64 = 2 * (3 * 60_000 + 120_000);
/// First and longest rest of a refused way back.
const RETRY_FIRST_MS: u64 = 1_000;
const RETRY_MAX_MS: u64 = 300_000;

/// One change to be made.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) decision: Option<DecisionId>,
    pub(super) change: Change,
    pub(super) back: bool,
    not_before: MonoNs,
    tries: u32,
}

impl Job {
    /// Whether the job is the decision's, or brings a knob back that the decision turned.
    fn concerns(&self, decision: &Decision) -> bool {
        let turned = |c: &Change| c.guest == self.change.guest && c.knob == self.change.knob;
        self.decision == Some(decision.id) || (self.back && decision.changes.iter().any(turned))
    }
}

/// Jobs waiting and the one under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Hands {
    waiting: VecDeque<Job>,
    under_way: Option<(Job, MonoNs)>,
}

impl Hands {
    pub(super) fn is_busy(&self) -> bool {
        self.under_way.is_some() || !self.waiting.is_empty()
    }
    /// Whether anything of this decision, or a way back of a knob that it turned, is under way or waits for the first time.
    /// Whose way back it is does not matter: a later one takes the place of an earlier one.
    pub(super) fn works_on(&self, decision: &Decision, reachable: impl Fn(GuestId) -> bool) -> bool {
        self.under_way.as_ref().is_some_and(|(j, _)| j.concerns(decision))
            || self.waiting.iter().any(|j| j.concerns(decision) && j.tries == 0 && reachable(j.change.guest))
    }
    /// How many knobs of this decision wait for their guests.
    pub(super) fn waits_for(&self, decision: &Decision) -> usize {
        self.waiting.iter().filter(|j| j.concerns(decision)).count()
    }
    /// Where a knob is on its way back to.
    pub(super) fn goal(&self, guest: GuestId, knob: Knob) -> Option<&KnobValue> {
        let under_way = self.under_way.iter().map(|(j, _)| j);
        let mut back = self.waiting.iter().chain(under_way).filter(|j| j.back);
        back.find(|j| j.change.guest == guest && j.change.knob == knob).map(|j| &j.change.to)
    }
    /// The knob of a guest that a change is on its way to.
    pub(super) fn reaches_for(&self, guest: GuestId) -> Option<Knob> {
        self.under_way.as_ref().filter(|(j, _)| j.change.guest == guest).map(|(j, _)| j.change.knob)
    }
    pub(super) fn forward(&mut self, decision: DecisionId, change: Change) {
        self.waiting.push_back(Job {
            decision: Some(decision),
            change,
            back: false,
            not_before: MonoNs(0),
            tries: 0,
        });
    }
    /// Puts a knob back. An older way back of the same knob is replaced.
    pub(super) fn back(&mut self, decision: Option<DecisionId>, change: Change) {
        self.drop_knob(change.guest, change.knob);
        self.waiting.push_back(Job { decision, change, back: true, not_before: MonoNs(0), tries: 0 });
    }
    pub(super) fn drop_forward(&mut self) {
        self.waiting.retain(|j| j.back);
    }
    pub(super) fn drop_knob(&mut self, guest: GuestId, knob: Knob) {
        self.waiting.retain(|j| j.change.guest != guest || j.change.knob != knob);
    }
    pub(super) fn drop_guest(&mut self, guest: GuestId) {
        self.waiting.retain(|j| j.change.guest != guest);
        if self.under_way.as_ref().is_some_and(|(j, _)| j.change.guest == guest) {
            self.under_way = None;
        }
    }
}

impl Engine {
    /// Tells what became of an `Apply`. `now` and `wall` are the present. An answer that nobody waits for (given
    /// up, guest gone) is ignored: the next read-back shows the truth.
    pub fn applied(
        &mut self,
        now: MonoNs,
        wall: UnixMs,
        decision: Option<DecisionId>,
        change: &Change,
        outcome: &Outcome,
    ) -> Vec<Effect> {
        self.now = self.now.max(now);
        self.wall = wall;
        let expected = self.hands.under_way.take_if(|(j, _)| j.decision == decision && j.change == *change);
        if let Some((job, _)) = expected {
            self.settle_job(job, outcome);
        }
        self.pump();
        std::mem::take(&mut self.effects)
    }

    fn settle_job(&mut self, job: Job, outcome: &Outcome) {
        let (guest, knob) = (job.change.guest, job.change.knob);
        match outcome {
            Outcome::Done | Outcome::AlreadySo => {
                self.ledger.set(guest, knob, &job.change.to, self.now);
                self.stable_since = self.now;
                if job.back {
                    self.back_done(&job, *outcome == Outcome::Done);
                } else {
                    self.forward_done();
                }
            }
            Outcome::Refused(why) if job.back => self.back_refused(job, why),
            Outcome::Refused(why) => {
                let text = format!("{knob} of {} was refused: {why}", job.change.guest_name);
                self.close_trial(&text, Some(true));
            }
        }
    }

    fn forward_done(&mut self) {
        let Some(trial) = self.trial.as_mut().filter(|t| t.phase == Phase::Applying) else { return };
        trial.applied += 1;
        match trial.decision.changes.get(trial.applied) {
            Some(next) => self.hands.forward(trial.decision.id, next.clone()),
            None => {
                trial.phase = Phase::Measuring;
                trial.from = MonoNs(self.now.0.saturating_add(self.config.trial.settle_ms * 1_000_000));
                self.stable_since = trial.from;
            }
        }
    }

    fn back_done(&mut self, job: &Job, turned: bool) {
        let (guest, knob) = (job.change.guest, job.change.knob);
        // A later way back of the same knob still has to go.
        if self.hands.goal(guest, knob).is_none() {
            self.effects.extend(self.ledger.arrive(guest, knob));
        }
        if turned {
            // Of a trial that is not closing it is none: a guest came back that could not be reached before.
            let text = format!("{knob} of {} went back while measuring", job.change.guest_name);
            self.close_trial(&text, None);
        }
        self.finish_closing();
    }

    fn back_refused(&mut self, mut job: Job, why: &str) {
        let rest_ms = (RETRY_FIRST_MS << job.tries.min(20)).min(RETRY_MAX_MS);
        if job.tries == 0 {
            let (knob, name) = (job.change.knob, job.change.guest_name.clone());
            let text =
                format!("{knob} of {name} could not be put back to {}: {why}; tried again", job.change.to);
            self.note(Some(job.change.guest), text);
        }
        self.ledger.refused(job.change.guest, job.change.knob, &job.change.to);
        job.tries = job.tries.saturating_add(1);
        job.not_before = MonoNs(self.now.0.saturating_add(rest_ms * 1_000_000));
        self.hands.waiting.push_back(job);
        self.finish_closing();
    }

    /// Sends the next job that can go, and gives up one that got no answer.
    pub(super) fn pump(&mut self) {
        let lost = |(_, sent): &mut (Job, MonoNs)| self.now.since(*sent) > ANSWER_MAX_MS * 1_000_000;
        if let Some((job, _)) = self.hands.under_way.take_if(lost) {
            self.settle_job(job, &Outcome::Refused(format!("no answer within {} s", ANSWER_MAX_MS / 1000)));
        }
        while self.hands.under_way.is_none() {
            let Some(index) = self.hands.waiting.iter().position(|j| self.can_go(j)) else { break };
            let Some(mut job) = self.hands.waiting.remove(index) else { break };
            if job.back && !self.refresh(&mut job) {
                self.finish_closing();
                continue;
            }
            self.effects.push(Effect::Apply { decision: job.decision, change: job.change.clone() });
            self.hands.under_way = Some((job, self.now));
        }
    }

    fn can_go(&self, job: &Job) -> bool {
        let (guest, knob) = (job.change.guest, job.change.knob);
        // A knob that the admin may have taken back just now waits for the read-back that tells.
        let clear = !(job.back && self.ledger.is_doubted(guest, knob));
        clear && job.not_before <= self.now && self.can_reach(guest)
    }

    /// Whether a change is under way or can go now. One that waits for its guest holds up nothing but that guest.
    pub(super) fn is_turning(&self) -> bool {
        self.hands.under_way.is_some() || self.hands.waiting.iter().any(|j| self.can_go(j))
    }

    /// Whether a knob of the guest could be turned now, also to put it back: not before it was read, which shows whether
    /// somebody else turned it while the daemon was away.
    fn can_reach(&self, guest: GuestId) -> bool {
        self.guests.get(&guest).is_some_and(super::Known::is_reachable) && self.ledger.knobs(guest).is_some()
    }

    /// Whether a verdict waits for the guest: it can be reached, or the daemon is young and will soon know.
    pub(super) fn is_awaited(&self, guest: GuestId) -> bool {
        self.can_reach(guest) || (self.is_young() && self.ledger.knobs(guest).is_none())
    }

    /// Brings a way back up to date; `false` if there is nothing to put back any more.
    fn refresh(&mut self, job: &mut Job) -> bool {
        let (guest, knob) = (job.change.guest, job.change.knob);
        job.change.to = self.reachable(job.change.to.clone());
        // What it was when the way back was planned may have changed since, and an actuator only turns what it expects.
        let Some(from) = self.ledger.start_of(guest, knob, &job.change.to) else { return false };
        if *from == job.change.to {
            self.effects.extend(self.ledger.arrive(guest, knob));
            return false;
        }
        job.change.from = from.clone();
        if let Some(known) = self.guests.get(&guest) {
            known.name.clone_into(&mut job.change.guest_name);
        }
        true
    }
}
