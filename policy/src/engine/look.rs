//! From rates to findings, score and profile, and from those to the next decision. May not: measure a trial.

use super::Engine;
use crate::control::{State, Subject, propose};
use crate::decision::{Effect, Mode, Verdict};
use crate::identify::profile::{self, Member};
use crate::identify::{Bottleneck, Finding, Role};
use crate::knob::{Family, KnobValue};
use crate::objective::{Party, score};
use crate::rates::Rates;
use crate::sample::ThreadRole;
use crate::units::{GuestId, MonoNs};
use std::collections::BTreeMap;

/// Weight of the newest tick in the smoothed busy share of a CPU: a memory of about three ticks.
const BUSY_NEW: f64 = 0.3;
/// Points that a judgement needs: one odd tick is none.
const POINTS_MIN: usize = 2;
/// Part of a floor that must be missing for a guest to be clearly below it.
const CLEARLY_BELOW: f64 = 0.05;
/// The same advice is repeated after so long.
const ADVICE_REST_MS: u64 = 600_000;
/// Rest after a look that found nothing to do: proposing costs more than looking.
const IDLE_LOOK_MS: u64 = 3_000;

impl Engine {
    /// Takes the rates in and judges every guest.
    pub(super) fn look(&mut self, rates: &Rates) {
        if rates.dt_s.is_none() {
            self.history.clear();
            self.capacity.clear();
            self.stable_since = self.stable_since.max(self.now);
            return;
        }
        let keep_ms = self.config.trial.before_max_ms.max(self.config.trial.after_max_ms)
            + self.config.identify.window_ms;
        self.history.push(rates, keep_ms);
        self.measure_capacity(rates, keep_ms);
        for (&cpu, &busy) in &rates.host.cpus {
            let smooth = self.busy.entry(cpu).or_insert(busy);
            *smooth += BUSY_NEW * (busy - *smooth);
        }
        self.findings.retain(|id, _| rates.guests.contains_key(id));
        for &id in rates.guests.keys() {
            self.judge_guest(id);
        }
        self.judge_host();
    }

    /// What guests got and what was left idle: the rest went to other processes or to the hypervisor below.
    fn measure_capacity(&mut self, rates: &Rates, keep_ms: u64) {
        let all = self.topology.cpus.len();
        if rates.host.cpus.len() == all && all > 0 {
            let idle: f64 = rates.host.cpus.values().map(|busy| 1.0 - busy).sum();
            let guests: f64 = rates.guests.values().filter_map(|g| g.run).sum();
            let all = all as f64;
            self.capacity.push_back((rates.at, (guests + idle).clamp(0.1 * all, all)));
        }
        let old = |at: MonoNs| self.now.since(at) > keep_ms.saturating_mul(1_000_000);
        while self.capacity.front().is_some_and(|&(at, _)| old(at)) {
            self.capacity.pop_front();
        }
    }

    /// Mean capacity over (start, now], the number of CPUs if unknown.
    pub(super) fn capacity_since(&self, start: MonoNs) -> f64 {
        let values: Vec<f64> = self.capacity.iter().filter(|(at, _)| *at > start).map(|(_, c)| *c).collect();
        if values.is_empty() {
            return self.topology.cpus.len() as f64;
        }
        values.iter().sum::<f64>() / values.len() as f64
    }

    fn judge_guest(&mut self, id: GuestId) {
        let config = &self.config.identify;
        let features = self.history.features(id, self.now, config.window_ms, self.stable_since);
        let old = self.findings.get(&id);
        let settling = self.now.since(self.stable_since) < config.window_ms.saturating_mul(1_000_000);
        let finding = match features.filter(|f| f.points >= POINTS_MIN) {
            Some(features) => {
                let was = old.map_or(Role::Unknown, |f| f.role);
                let cpus = self.topology.cpus.len();
                Finding::of(features, was, cpus, |role| self.idle_outside(id, role), config)
            }
            // Right after a change of ours there is nothing yet to judge by: what was known stays.
            None if settling && old.is_some() => return,
            None => Finding::default(),
        };
        self.findings.insert(id, finding);
    }

    /// Idle CPUs that threads of a role of the guest may not use.
    fn idle_outside(&self, id: GuestId, role: ThreadRole) -> f64 {
        let value = self.ledger.knobs(id).and_then(|knobs| knobs.get(&Subject::placing(role)));
        let Some(KnobValue::Cpus(set)) = value else { return 0.0 };
        self.busy.iter().filter(|(cpu, _)| !set.contains(**cpu)).map(|(_, busy)| 1.0 - busy).sum()
    }

    fn judge_host(&mut self) {
        let active = |f: &&Finding| f.role.is_active();
        let mut parties = Vec::new();
        let mut members = Vec::new();
        for (&id, f) in self.findings.iter().filter(|(_, f)| active(f)) {
            let (Some(known), Some(speed)) = (self.guests.get(&id), f.speed) else { continue };
            members.push(Member { role: f.role, vcpus: known.vcpus, weight: known.meta.weight });
            parties.push(Party {
                guest: id,
                name: known.name.clone(),
                weight: known.meta.weight,
                speed,
                run: f.features.run,
                wait: f.features.wait,
            });
        }
        let cpus = self.topology.cpus.len();
        let profile = profile::key(cpus, members);
        if profile != self.profile {
            self.profile = profile;
            self.profile_since = self.now;
        }
        let window_ns = self.config.identify.window_ms.saturating_mul(1_000_000);
        let start = MonoNs(self.now.0.saturating_sub(window_ns)).max(self.stable_since);
        self.score = score(parties, self.capacity_since(start), self.config.arbiter.floor_pct);
        let held_back = |f: &Finding| !matches!(f.bottleneck, Bottleneck::None | Bottleneck::Unknown);
        let trouble = self.findings.values().any(held_back) || self.score.below().next().is_some();
        self.arbiter.trouble(self.now, trouble);
        let clearly = |t: &crate::objective::Term| t.missing() > CLEARLY_BELOW * t.floor;
        self.arbiter.below(self.now, self.score.below().any(clearly));
    }

    /// Makes at most one decision, if everything allows one.
    pub(super) fn consider(&mut self) {
        let off = self.mode == Mode::Observe || self.paused;
        if off || self.trial.is_some() || !self.reverting.is_empty() || self.is_turning() {
            return;
        }
        let known_since = self.stable_since.max(self.profile_since);
        let long_enough =
            self.now.since(known_since) >= self.config.trial.before_ms.saturating_mul(1_000_000);
        if !long_enough || !self.arbiter.may_decide(self.now, &self.config.arbiter) {
            return;
        }
        let state = self.state();
        let Some(proposal) = self.arbiter.pick(propose(&state), &state, &self.knowledge, self.now) else {
            self.arbiter.rest(self.now, IDLE_LOOK_MS);
            return;
        };
        if self.mode == Mode::Advise {
            self.advise(proposal);
        } else if !self.start_trial(proposal) {
            self.arbiter.rest(self.now, IDLE_LOOK_MS);
        }
    }

    fn advise(&mut self, proposal: crate::control::Proposal) {
        self.arbiter.rest(self.now, IDLE_LOOK_MS);
        let key = (self.profile.clone(), proposal.plan.recipe.clone());
        self.advised.retain(|_, until| *until > self.now);
        if self.advised.contains_key(&key) {
            return;
        }
        self.advised.insert(key, MonoNs(self.now.0.saturating_add(ADVICE_REST_MS * 1_000_000)));
        let mut decision = self.decision(proposal.plan, proposal.why, proposal.expected);
        decision.verdict = Verdict::Advised;
        decision.before = self.score.value;
        decision.closed = Some(self.wall);
        "advised: the mode is advise, nothing was changed".clone_into(&mut decision.outcome);
        self.arbiter.decided(self.now);
        self.effects.push(Effect::Record(decision));
    }

    /// Everything that proposals are made from.
    pub(super) fn state(&self) -> State {
        let mut subjects = BTreeMap::new();
        for (&id, known) in self.guests.iter().filter(|(_, k)| k.present) {
            let families = [Family::Placement, Family::Priority];
            let mut frozen: BTreeMap<Family, String> =
                families.into_iter().filter_map(|f| Some((f, self.frozen(id, f)?))).collect();
            let knobs = self.ledger.knobs(id).cloned().unwrap_or_default();
            if knobs.is_empty() {
                frozen.extend(families.map(|f| (f, "its knobs have not been read yet".to_owned())));
            }
            subjects.insert(
                id,
                Subject {
                    id,
                    name: known.name.clone(),
                    weight: known.meta.weight,
                    vcpus: known.vcpus,
                    found: self.findings.get(&id).cloned().unwrap_or_default(),
                    knobs,
                    originals: self.ledger.originals_of(id),
                    frozen,
                },
            );
        }
        State {
            topology: std::sync::Arc::clone(&self.topology),
            domain: self.domain,
            subjects,
            busy: self.busy.clone(),
            capacity: self.score.terms.iter().map(|t| t.entitled).sum(),
            score: self.score.clone(),
            profile: self.profile.clone(),
            config: self.config.clone(),
        }
    }
}
