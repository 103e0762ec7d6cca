//! What an open trial measures: each guest's work before and after, the objective from it, and the floors.
//!
//! May not: judge, or turn anything.

use super::Engine;
use super::trials::OpenTrial;
use crate::decision::Decision;
use crate::identify::features::Point;
use crate::identify::{Role, role, speed};
use crate::objective::{Party, Term, score};
use crate::trial::{Evidence, mean_and_error};
use crate::units::{GuestId, MonoNs};
use std::collections::BTreeMap;

/// Part of the floor that measuring may miss it by: the run counters of a window are exact to about a scheduler tick.
const FLOOR_SLACK: f64 = 0.01;
/// So many standard errors below the floor are beyond the noise. Two guests that share what is left trade a quarter of a CPU
/// between them for seconds at a time, with nobody turning anything: one error was overstepped in every other trial.
const FLOOR_ERRORS: f64 = 2.0;
/// A guest that has less than this part of its floor, or of what it had if that was less, after two ticks is starving: no need
/// to measure on.
const STARVING: f64 = 0.5;

/// How a guest's work is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// CPU that it got at each tick.
    runs: Vec<f64>,
}

/// Whether the decision turned a knob of this guest or counted on its load, which is that of everybody in `before`.
pub(super) fn concerns(before: &BTreeMap<GuestId, Before>, decision: &Decision, guest: GuestId) -> bool {
    before.contains_key(&guest) || decision.changes.iter().any(|c| c.guest == guest)
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

impl Engine {
    /// Everybody's speed, work and floor since `start`: all over the same time, so that what a guest did then and how fast it
    /// was estimated to be then belong together.
    pub(super) fn measure_before(&self, start: MonoNs) -> BTreeMap<GuestId, Before> {
        let mut all = BTreeMap::new();
        let parties = self.score.terms.iter().map(|t| self.party_since(&t.party, start)).collect();
        for term in score(parties, self.capacity_since(start), self.config.arbiter.floor_pct).terms {
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
                let runs = points.iter().map(|p| p.run).collect();
                all.insert(id, Before { term, works, rates, runs });
            }
        }
        all
    }

    /// A guest as the score sees it, over the time since `start`.
    fn party_since(&self, party: &Party, start: MonoNs) -> Party {
        let window_ms = self.now.since(start) / 1_000_000;
        let features = self.history.features(party.guest, self.now, window_ms, start);
        let (Some(features), Some(now)) = (features, self.findings.get(&party.guest)) else {
            return party.clone();
        };
        let (run, wait) = (features.run, features.wait);
        let cpus = self.topology.cpus.len();
        let role = role(&features, now.role, &self.config.identify);
        let speed = speed(&features, role, cpus).unwrap_or(party.speed);
        Party { speed, run, wait, ..party.clone() }
    }

    /// The objective at each tick of (start, until], as speeds before times measured work relative to before.
    pub(super) fn objective_samples(
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

    /// How guests stand against their floors since `from`, compared with before a change. A guest that was below already
    /// and did not lose is no harm of the change, nor is one that gets as much done with less CPU, because it waits less.
    pub(super) fn floor(&self, before: &BTreeMap<GuestId, Before>, capacity: f64, from: MonoNs) -> Floor {
        let scale = self.capacity_since(from) / capacity.max(1e-9);
        let got = |(&id, b): (&GuestId, &Before)| {
            let runs: Vec<f64> = self.history.points(id, from, self.now).map(|p| p.run).collect();
            Some((id, mean_and_error(&runs, &b.runs)?))
        };
        let got: BTreeMap<GuestId, (f64, f64)> = before.iter().filter_map(got).collect();
        let together = self.together(before, &got);
        let mut worst = Floor::Kept;
        for (&id, &(run, error)) in &got {
            let term = &before[&id].term;
            let was = term.party.run;
            let floor = term.floor.min(self.config.arbiter.floor_pct / 100.0 * term.entitled * scale);
            let bound = floor * (1.0 - FLOOR_SLACK);
            let lost = 1.0 - 2.0 * FLOOR_SLACK;
            if run >= bound
                || run >= was * lost
                || before[&id].done(self.history.points(id, from, self.now)) >= lost
            {
                continue;
            }
            let harm = format!(
                "{} fell to {run:.2} CPU, below its floor of {floor:.2} (it had {was:.2})",
                term.party.name
            );
            if run < STARVING * floor.min(was) {
                return Floor::Starving(harm);
            } else if run + FLOOR_ERRORS * error < bound {
                worst = Floor::Broken(harm);
            } else if worst == Floor::Kept && together[&id] < bound {
                worst = Floor::Doubtful(harm);
            }
        }
        worst
    }

    /// For each guest the mean of what those got that are like it: of the same weight, size, kind of work and knobs. The kernel
    /// treats them alike, so that who of them is ahead within a window is chance.
    fn together(
        &self,
        before: &BTreeMap<GuestId, Before>,
        got: &BTreeMap<GuestId, (f64, f64)>,
    ) -> BTreeMap<GuestId, f64> {
        let mut alike: BTreeMap<_, Vec<GuestId>> = BTreeMap::new();
        for &id in got.keys() {
            let vcpus = self.guests.get(&id).and_then(|known| known.vcpus);
            let like = (before[&id].term.party.weight, vcpus, &before[&id].works, self.ledger.knobs(id));
            alike.entry(like).or_default().push(id);
        }
        let mut means = BTreeMap::new();
        for ids in alike.values() {
            let mean = ids.iter().map(|id| got[id].0).sum::<f64>() / ids.len() as f64;
            means.extend(ids.iter().map(|&id| (id, mean)));
        }
        means
    }

    /// Whether at least half of what was missing to the floors is there now.
    pub(super) fn is_cured(&self, trial: &OpenTrial) -> bool {
        let (mut was, mut is) = (0.0, 0.0);
        for (&id, b) in &trial.before {
            let runs: Vec<f64> = self.history.points(id, trial.from, self.now).map(|p| p.run).collect();
            let Some((run, _)) = mean_and_error(&runs, &b.runs) else { return false };
            was += b.term.missing();
            is += (b.term.floor - run).max(0.0);
        }
        is < 0.5 * was
    }

    pub(super) fn evidence_words(&self, trial: &OpenTrial, e: &Evidence, measured_ms: u64) -> String {
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
}

impl Before {
    /// Work at one tick relative to before, a mean over the kinds of work.
    fn ratio(&self, p: &Point) -> Option<f64> {
        let mut sum = 0.0;
        for (work, was) in self.works.iter().zip(&self.rates) {
            sum += work.of(p)? / was;
        }
        Some(sum / self.works.len() as f64)
    }

    /// The kind of work that fell most, relative to before: 1 where none fell. 0 if one of them was not measured.
    fn done<'a>(&self, points: impl Iterator<Item = &'a Point>) -> f64 {
        let points: Vec<&Point> = points.collect();
        let each =
            self.works.iter().zip(&self.rates).map(|(&work, was)| mean(&points, work).unwrap_or(0.0) / was);
        each.fold(f64::INFINITY, f64::min)
    }
}

fn mean(points: &[&Point], work: Work) -> Option<f64> {
    let values: Vec<f64> = points.iter().filter_map(|p| work.of(p)).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
