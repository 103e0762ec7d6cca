//! The open trial: start, measure, judge, close. States are drawn in the engine's head. May not: pick what to try.

use super::Engine;
use super::watch::Watch;
use crate::control::Proposal;
use crate::decision::{Change, Decision, DecisionId, Effect, Verdict};
use crate::identify::Role;
use crate::identify::features::Point;
use crate::knob::Family;
use crate::objective::Term;
use crate::rates::Rates;
use crate::trial::{Evidence, Judgement, Rule, judge, look_due, mean_and_error};
use crate::units::{GuestId, MonoNs};
use std::collections::BTreeMap;

/// Ticks in a row that another profile must be seen before the load counts as changed.
const OTHER_PROFILE_TICKS: u32 = 2;
/// Part of the floor that measuring may miss it by: the run counters of a window are exact to about a scheduler tick.
pub(super) const FLOOR_SLACK: f64 = 0.01;
/// A guest that has less than this part of its floor after two ticks is starving: no need to measure on.
const STARVING: f64 = 0.5;

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

/// How a guest's work is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Bytes to and from disks.
    Disk,
    /// Disk requests (a guest that only flushes moves no bytes).
    Ops,
    /// Instructions.
    Instructions,
    /// CPU time of the vCPUs.
    Cpu,
}

impl Work {
    fn of(self, p: &Point) -> Option<f64> {
        match self {
            Self::Disk => p.disk_bps,
            Self::Ops => p.ops_per_s,
            Self::Instructions => p.instructions_per_s,
            Self::Cpu => Some(p.vcpu_run),
        }
    }
}

/// One active guest as it was before the trial.
#[derive(Clone, Debug)]
pub(super) struct Before {
    term: Term,
    works: Vec<Work>,
    /// Mean rate of each kind of work.
    rates: Vec<f64>,
}

/// How the guests stand against their floors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Floor {
    /// Nobody is below through the change.
    Kept,
    /// Somebody seems to be, within the noise.
    Doubtful(String),
    /// Somebody is, beyond the noise.
    Broken(String),
    /// Somebody is far below.
    Starving(String),
}

/// A trial under way.
#[derive(Clone, Debug)]
pub(super) struct OpenTrial {
    pub(super) decision: Decision,
    recipe: String,
    undoes: bool,
    /// Whether it shall bring guests back to their floors, which then counts more than the objective.
    cures: bool,
    pub(super) phase: Phase,
    /// Changes made so far.
    pub(super) applied: usize,
    /// Samples of intervals that began at or after this count.
    pub(super) from: MonoNs,
    before: BTreeMap<GuestId, Before>,
    /// Capacity before, in CPUs.
    capacity: f64,
    /// Objective per tick before.
    samples: Vec<f64>,
    other_profile: u32,
    /// How often was judged already.
    looks: u64,
    /// Whether the end says that the recipe failed; `None` if it says nothing about it.
    failed: Option<bool>,
    gain: Option<f64>,
}

impl OpenTrial {
    /// Whether the trial turns a knob of this guest or counts on its load.
    pub(super) fn concerns(&self, guest: GuestId) -> bool {
        self.before.contains_key(&guest) || self.decision.changes.iter().any(|c| c.guest == guest)
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
        let Proposal { plan, expected, why, .. } = proposal;
        let decision = self.decision(plan.beneficiary, plan.family, plan.changes, why, expected);
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
            recipe: plan.recipe,
            undoes: plan.undoes,
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

    /// A new decision under the next number.
    pub(super) fn decision(
        &mut self,
        guest: GuestId,
        knob: Family,
        changes: Vec<Change>,
        why: String,
        expected: f64,
    ) -> Decision {
        let id = self.next_decision;
        self.next_decision += 1;
        Decision {
            id,
            time: self.wall,
            guest,
            guest_name: self.name(guest),
            knob,
            changes,
            why,
            profile: self.profile.clone(),
            expected,
            before: None,
            after: None,
            verdict: Verdict::Pending,
            outcome: String::new(),
            closed: None,
        }
    }

    fn measure_before(&self, start: MonoNs) -> BTreeMap<GuestId, Before> {
        let mut all = BTreeMap::new();
        for term in &self.score.terms {
            let id = term.party.guest;
            let role = self.findings.get(&id).map_or(Role::Unknown, |f| f.role);
            let points: Vec<&Point> = self.history.points(id, start, self.now).collect();
            let counted = points.iter().all(|p| p.instructions_per_s.is_some());
            let cpu = if counted && !points.is_empty() { Work::Instructions } else { Work::Cpu };
            let disk =
                if mean(&points, Work::Disk).is_some_and(|m| m > 0.0) { Work::Disk } else { Work::Ops };
            let works = match role {
                Role::Io => vec![disk],
                Role::Mixed => vec![disk, cpu],
                _ => vec![cpu],
            };
            let rates: Option<Vec<f64>> = works.iter().map(|&w| mean(&points, w)).collect();
            if let Some(rates) = rates.filter(|r| r.iter().all(|&x| x > 0.0)) {
                all.insert(id, Before { term: term.clone(), works, rates });
            }
        }
        all
    }

    /// The objective at each tick of (start, until], as speeds before times measured work relative to before.
    fn objective_samples(
        &self,
        before: &BTreeMap<GuestId, Before>,
        start: MonoNs,
        until: MonoNs,
    ) -> Vec<f64> {
        let mut sums: BTreeMap<MonoNs, f64> = BTreeMap::new();
        let weights: f64 = before.values().map(|b| f64::from(b.term.party.weight)).sum();
        let ticks: Vec<MonoNs> = match before.keys().next() {
            Some(&first) => self.history.points(first, start, until).map(|p| p.at).collect(),
            None => return Vec::new(),
        };
        for (&id, b) in before {
            let mut at: BTreeMap<MonoNs, f64> = BTreeMap::new();
            for p in self.history.points(id, start, until) {
                at.extend(b.ratio(p).map(|r| (p.at, r)));
            }
            if at.is_empty() {
                return Vec::new();
            }
            // A guest whose statistics missed a tick counts with its mean there, so that it neither adds nor hides noise.
            let mean = at.values().sum::<f64>() / at.len() as f64;
            for &tick in &ticks {
                let ratio = at.get(&tick).copied().unwrap_or(mean);
                *sums.entry(tick).or_default() +=
                    f64::from(b.term.party.weight) * b.term.party.speed * ratio / weights;
            }
        }
        sums.into_values().collect()
    }

    /// One tick of the open trial.
    pub(super) fn step_trial(&mut self, rates: &Rates) {
        let Some(trial) = &mut self.trial else { return };
        if trial.phase == Phase::Closing {
            self.finish_closing();
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
        let Some(trial) = &self.trial else { return };
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
        };
        let after = self.objective_samples(&trial.before, trial.from, self.now);
        let Some((judgement, evidence)) = judge(&trial.samples, &after, &rule) else {
            if rule.last_look {
                self.close_trial("nothing could be measured after the change", None);
            }
            return;
        };
        let cured = trial.cures && self.is_cured(trial);
        let words = self.evidence_words(trial, &evidence, measured_ms);
        let undoes = trial.undoes;
        let Some(trial) = &mut self.trial else { return };
        trial.looks += 1;
        (trial.decision.before, trial.decision.after) = (Some(evidence.before), Some(evidence.after));
        trial.gain = Some(evidence.gain);
        match (floor, judgement) {
            (Floor::Kept, _) if cured => {
                self.keep_trial(&format!("guests are back at their floors; {words}"));
            }
            (Floor::Broken(harm), _) if !undoes => self.close_trial(&format!("{harm}; {words}"), Some(true)),
            (Floor::Doubtful(harm), Judgement::Keep) if !undoes && rule.last_look => {
                self.close_trial(&format!("{harm}; {words}"), Some(true));
            }
            (Floor::Doubtful(_), Judgement::Keep) if !undoes => {}
            (_, Judgement::Keep) => self.keep_trial(&words),
            (_, Judgement::Revert) => {
                self.close_trial(&format!("no gain beyond the noise: {words}"), Some(true));
            }
            (_, Judgement::Undecided) => {}
        }
    }

    /// How guests stand against their floors since `from`, compared with before a change. A guest that was below already
    /// and did not lose is no harm of the change.
    pub(super) fn floor(&self, before: &BTreeMap<GuestId, Before>, capacity: f64, from: MonoNs) -> Floor {
        let scale = self.capacity_since(from) / capacity.max(1e-9);
        let mut worst = Floor::Kept;
        for (&id, b) in before {
            let runs: Vec<f64> = self.history.points(id, from, self.now).map(|p| p.run).collect();
            let Some((run, error)) = mean_and_error(&runs) else { continue };
            let (was, term) = (b.term.party.run, &b.term);
            let floor = term.floor.min(self.config.arbiter.floor_pct / 100.0 * term.entitled * scale);
            if run >= floor * (1.0 - FLOOR_SLACK) || run >= was * (1.0 - 2.0 * FLOOR_SLACK) {
                continue;
            }
            let harm = format!(
                "{} fell to {run:.2} CPU, below its floor of {floor:.2} (it had {was:.2})",
                term.party.name
            );
            if run < STARVING * floor {
                return Floor::Starving(harm);
            } else if run + error < floor * (1.0 - FLOOR_SLACK) {
                worst = Floor::Broken(harm);
            } else if worst == Floor::Kept {
                worst = Floor::Doubtful(harm);
            }
        }
        worst
    }

    /// Whether at least half of what was missing to the floors is there now.
    fn is_cured(&self, trial: &OpenTrial) -> bool {
        let (mut was, mut is) = (0.0, 0.0);
        for (&id, b) in &trial.before {
            let runs: Vec<f64> = self.history.points(id, trial.from, self.now).map(|p| p.run).collect();
            let Some((run, _)) = mean_and_error(&runs) else { return false };
            was += b.term.missing();
            is += (b.term.floor - run).max(0.0);
        }
        is < 0.5 * was
    }

    fn evidence_words(&self, trial: &OpenTrial, e: &Evidence, measured_ms: u64) -> String {
        let mut guests: Vec<(f64, String)> = Vec::new();
        for (&id, b) in &trial.before {
            let points: Vec<&Point> = self.history.points(id, trial.from, self.now).collect();
            for (&work, &was) in b.works.iter().zip(&b.rates) {
                let Some(is) = mean(&points, work) else { continue };
                let name = &b.term.party.name;
                let text = match work {
                    Work::Disk => format!("{name} {:.1} -> {:.1} MB/s", was / 1e6, is / 1e6),
                    Work::Ops => format!("{name} {was:.0} -> {is:.0} requests/s"),
                    Work::Instructions => {
                        format!("{name} {:.2} -> {:.2} G instructions/s", was / 1e9, is / 1e9)
                    }
                    Work::Cpu => format!("{name} {was:.2} -> {is:.2} CPU"),
                };
                guests.push(((is / was - 1.0).abs(), text));
            }
        }
        guests.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        guests.truncate(6);
        let guests: Vec<String> = guests.into_iter().map(|(_, t)| t).collect();
        format!(
            "objective {:.3} -> {:.3} ({:+.1} %, between {:+.1} and {:+.1} %) over {:.0} s; {}",
            e.before,
            e.after,
            e.gain * 100.0,
            e.low * 100.0,
            e.high * 100.0,
            measured_ms as f64 / 1000.0,
            guests.join(", ")
        )
    }

    fn keep_trial(&mut self, words: &str) {
        let Some(trial) = self.trial.take() else { return };
        let mut decision = trial.decision;
        decision.verdict = Verdict::Kept;
        decision.outcome = format!("kept: {words}");
        decision.closed = Some(self.wall);
        let now = (self.now, self.wall);
        let config = &self.config.arbiter;
        let lesson = self.knowledge.learn(&decision.profile, &trial.recipe, true, trial.gain, now, config);
        self.watch = (!trial.undoes).then(|| Watch {
            decision: decision.clone(),
            recipe: trial.recipe,
            before: trial.before,
            capacity: trial.capacity,
            since: self.now,
        });
        self.arbiter.closed(self.now, &decision.profile, Some(false), config.cool_down_ms);
        for c in &decision.changes {
            self.effects.extend(self.ledger.settle(c.guest, c.knob));
        }
        self.effects.push(Effect::Learn(lesson));
        self.effects.push(Effect::Record(decision));
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
            let back = Change { from: change.to, to: change.from, ..change };
            if self.ledger.held(back.guest, back.knob).is_some() {
                self.hands.back(Some(id), back);
            }
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
        let id = trial.decision.id;
        let reachable = |g: GuestId| self.guests.get(&g).is_some_and(super::Known::is_reachable);
        if self.hands.works_on(id, reachable) {
            return;
        }
        let Some(trial) = self.trial.take() else { return };
        let mut decision = trial.decision;
        decision.verdict = Verdict::Reverted;
        decision.closed = Some(self.wall);
        decision.outcome.push_str(&self.what_waits(id));
        let now = (self.now, self.wall);
        let config = &self.config.arbiter;
        if trial.failed == Some(true) {
            let lesson =
                self.knowledge.learn(&decision.profile, &trial.recipe, false, trial.gain, now, config);
            self.effects.push(Effect::Learn(lesson));
        }
        self.arbiter.closed(self.now, &decision.profile, trial.failed, config.cool_down_ms);
        self.effects.push(Effect::Record(decision));
    }

    /// Likewise for kept decisions that a command reverts.
    fn finish_reverting(&mut self) {
        let reachable = |g: GuestId| self.guests.get(&g).is_some_and(super::Known::is_reachable);
        let (open, done): (Vec<_>, Vec<_>) = std::mem::take(&mut self.reverting)
            .into_iter()
            .partition(|d| self.hands.works_on(d.id, reachable));
        self.reverting = open;
        for mut decision in done {
            decision.closed = Some(self.wall);
            decision.outcome.push_str(&self.what_waits(decision.id));
            self.effects.push(Effect::Record(decision));
        }
    }

    /// What of a decision's changes could not be undone yet, as the end of its outcome.
    pub(super) fn what_waits(&self, decision: DecisionId) -> String {
        match self.hands.waits_for(decision) {
            0 => String::new(),
            n => format!(
                "; {n} knobs go back as soon as their guests can be reached and libvirt does not refuse"
            ),
        }
    }
}

impl Before {
    /// Work at one tick relative to before, a mean over the kinds of work.
    fn ratio(&self, p: &Point) -> Option<f64> {
        let ratios: Option<Vec<f64>> =
            self.works.iter().zip(&self.rates).map(|(w, &was)| w.of(p).map(|is| is / was)).collect();
        ratios.map(|r| r.iter().sum::<f64>() / r.len() as f64)
    }
}

fn mean(points: &[&Point], work: Work) -> Option<f64> {
    let values: Vec<f64> = points.iter().filter_map(|p| work.of(p)).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
