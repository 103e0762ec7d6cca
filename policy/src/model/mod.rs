//! A small analytic model of CPU sharing: what would each guest get if these knobs were turned?
//!
//! Problem: a trial costs seconds and may hurt somebody, so hopeless and harmful plans must be told apart before. Approach:
//! two kinds of guests. *Elastic* ones (burners) take whatever CPU they are given: weighted max-min sharing within the
//! affinities. *Latency* ones (serial I/O, light load) are slowed by every wait for a CPU; their waiting grows with the
//! runnable competitors found on the CPUs that they use, less so if those have smaller shares. Both are calibrated on what
//! is measured now: the model only says by which factor things change. Constants come from measurements on real guests
//! (docs/algorithms/model.md). Units: CPUs. May not: propose.

mod load;
mod share;
mod spread;

pub use load::{CpuLoad, CpuUse, cpu_loads, cpu_uses, words};

use crate::control::{State, Subject};
use crate::decision::Change;
use crate::identify::Role;
use crate::knob::{Knob, KnobValue, PriorityDomain};
use crate::objective::{Party, Score, score};
use crate::units::GuestId;
use share::{Claim, Mask, fill};
use spread::spread;
use std::collections::BTreeMap;

/// Part of the competition that a thread feels from its own guest's other stages on the same CPU: stages of a serial
/// pipeline rarely want to run at once.
const OWN_STAGES: f64 = 0.3;
/// Part of the waiting that shares cannot remove: a woken thread of any weight still waits for a tick or a preemption
/// point now and then.
const BEYOND_SHARES: f64 = 0.2;
/// Part of the others' competition that is felt when all threads of a guest are on one CPU: its stages hand over to one another
/// without leaving the CPU, so they queue behind the others once and not at every hop. Measured: a writer on one of two CPUs,
/// burners on both, lost 0.50, 0.52 and (at 4 and 8 times the shares) less than 0.3 of what it lost floating.
const GATHERED: f64 = 0.6;

/// What the model expects.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Expected score.
    pub score: Score,
}

impl Prediction {
    /// Relative gain of the objective over `now`.
    pub fn gain(&self, now: &Score) -> f64 {
        match (self.score.value, now.value) {
            (Some(then), Some(now)) if now > 0.0 => then / now - 1.0,
            _ => 0.0,
        }
    }
    /// Guests that the plan would push below their floor, or deeper below it.
    pub fn harmed<'a>(&'a self, now: &'a Score) -> impl Iterator<Item = GuestId> + 'a {
        self.score.below().filter_map(|t| {
            let before = now.term(t.party.guest).map_or(0.0, crate::objective::Term::missing);
            (t.missing() > before + 0.01 * t.floor).then_some(t.party.guest)
        })
    }
    /// CPU missing to all floors together.
    pub fn missing(&self) -> f64 {
        self.score.terms.iter().map(crate::objective::Term::missing).sum()
    }
}

/// Threads of one guest with one affinity.
struct Class {
    guest: usize,
    on: Mask,
    /// Run now.
    run: f64,
    /// Run + wait now: how much of the time it is runnable.
    present: f64,
    /// How many roles.
    threads: f64,
}

/// What the raw model says of one guest before calibration.
#[derive(Clone, Copy)]
struct Raw {
    /// CPU that it gets.
    run: f64,
    /// Speed.
    speed: f64,
    /// Runnable threads that one of its vCPUs meets on its CPU.
    crowd: f64,
}

/// The model's own view of the present, against which plans are compared.
pub struct Baseline {
    raw: Vec<Raw>,
    competition: Vec<f64>,
}

/// An elastic guest that should get this part of what it wants has room: what it loses all the same, it loses to crowding.
const ROOM: f64 = 0.999;

impl Baseline {
    /// Evaluates the present state.
    pub fn of(state: &State) -> Self {
        let (raw, competition) = evaluate(state, &BTreeMap::new(), None);
        Self { raw, competition }
    }

    /// What is expected after `changes`; `None` when nothing is active.
    pub fn predict(&self, state: &State, changes: &[Change]) -> Option<Prediction> {
        let overlay: BTreeMap<(GuestId, Knob), &KnobValue> =
            changes.iter().map(|c| ((c.guest, c.knob), &c.to)).collect();
        let (raw, _) = evaluate(state, &overlay, Some(&self.competition));
        let mut parties = Vec::new();
        for (i, subject) in state.subjects.values().enumerate() {
            let Some(speed) = subject.found.speed.filter(|_| subject.found.role.is_active()) else {
                continue;
            };
            let (now, then) = (self.raw[i], raw[i]);
            let factor = |then: f64, now: f64| if now > 1e-9 { then / now } else { 1.0 };
            let run = subject.found.features.run;
            let (speed, run) = if is_elastic(subject) && now.speed.min(then.speed) >= ROOM {
                let freed = slowed(speed, now.crowd, then.crowd);
                (freed, run * factor(freed, speed))
            } else {
                ((speed * factor(then.speed, now.speed)).clamp(0.0, 1.0), run * factor(then.run, now.run))
            };
            parties.push(Party {
                guest: subject.id,
                name: subject.name.clone(),
                weight: subject.weight,
                speed,
                run,
                wait: subject.found.features.wait,
            });
        }
        let scored = score(parties, state.capacity, state.config.arbiter.floor_pct);
        scored.value.is_some().then_some(Prediction { score: scored })
    }
}

/// Speed when what costs it changes from `now` to `then`: lost time is proportional to that.
fn slowed(speed: f64, now: f64, then: f64) -> f64 {
    let ratio = if now > 1e-6 { (then / now).clamp(0.02, 50.0) } else { 1.0 };
    1.0 / (1.0 + (1.0 / speed.clamp(0.01, 1.0) - 1.0) * ratio)
}

/// Whether a guest takes all CPU that it is given, so that its speed is its share.
fn is_elastic(subject: &Subject) -> bool {
    match subject.found.role {
        Role::Io | Role::Idle => false,
        // Nothing is known of it: it must be assumed to take all it can.
        Role::Unknown => true,
        Role::Cpu | Role::Mixed => subject.found.features.busiest_vcpu() >= 0.9,
    }
}

type Overlay<'a> = BTreeMap<(GuestId, Knob), &'a KnobValue>;

/// Raw results and competition per subject. `reference` is the competition of the present (itself when absent).
fn evaluate(state: &State, overlay: &Overlay<'_>, reference: Option<&[f64]>) -> (Vec<Raw>, Vec<f64>) {
    let cpus: Vec<u32> = state.topology.cpus.iter().map(|c| c.cpu).collect();
    let subjects: Vec<&Subject> = state.subjects.values().collect();
    let classes = classes(state, &subjects, overlay);
    let weights: Vec<f64> = subjects.iter().map(|s| weight(state, s, overlay)).collect();
    let present: Vec<f64> = sum_by_guest(subjects.len(), &classes, |c| c.present);
    let loads: Vec<(&Mask, f64)> =
        classes.iter().map(|c| (&c.on, weights[c.guest] * c.present / present[c.guest].max(1e-9))).collect();
    let spread = spread(&cpus, &loads);
    let competition = competition(&classes, &spread, &weights, subjects.len());
    let run_now: Vec<f64> = sum_by_guest(subjects.len(), &classes, |c| c.run);
    // A latency guest's speed follows from its waiting, and its demand from its speed.
    let speeds: Vec<f64> = (0..subjects.len())
        .map(|g| {
            let now = reference.map_or(competition[g], |r| r[g]);
            slowed(subjects[g].found.speed.unwrap_or(1.0), now, competition[g])
        })
        .collect();
    let claims: Vec<Claim> = classes
        .iter()
        .map(|c| {
            let s = subjects[c.guest];
            let demand = if is_elastic(s) {
                c.present
            } else {
                c.run / s.found.speed.unwrap_or(1.0).clamp(0.01, 1.0) * speeds[c.guest]
            };
            Claim {
                on: c.on.clone(),
                demand,
                weight: weights[c.guest] * c.present / present[c.guest].max(1e-9),
            }
        })
        .collect();
    let got = fill(&claims);
    let crowds = crowds(&classes, &spread, subjects.len());
    let mut raw = Vec::with_capacity(subjects.len());
    for g in 0..subjects.len() {
        let mine = || classes.iter().enumerate().filter(move |(_, c)| c.guest == g).map(|(i, _)| i);
        let run: f64 = mine().map(|i| got[i]).sum();
        let demand: f64 = mine().map(|i| claims[i].demand).sum();
        let speed = if is_elastic(subjects[g]) {
            run / demand.min(cpus.len() as f64).max(1e-9)
        } else {
            speeds[g] * if demand > 1e-9 { run / demand } else { 1.0 }
        };
        raw.push(Raw { run: if run_now[g] > 0.0 { run } else { 0.0 }, speed, crowd: crowds[g] });
    }
    (raw, competition)
}

fn sum_by_guest(n: usize, classes: &[Class], value: impl Fn(&Class) -> f64) -> Vec<f64> {
    let mut sums = vec![0.0; n];
    for class in classes {
        sums[class.guest] += value(class);
    }
    sums
}

/// Thread classes under the overlaid affinities.
fn classes(state: &State, subjects: &[&Subject], overlay: &Overlay<'_>) -> Vec<Class> {
    let usable = state.cpus();
    let all = Mask::of(usable.iter());
    let mut classes: Vec<Class> = Vec::new();
    for (guest, subject) in subjects.iter().enumerate() {
        if subject.found.role == Role::Idle {
            continue;
        }
        let on = |knob: Knob| {
            let value = overlay.get(&(subject.id, knob)).copied().or_else(|| subject.knobs.get(&knob));
            match value {
                Some(KnobValue::Cpus(set)) => {
                    let set = set.and(&usable);
                    if set.is_empty() { all.clone() } else { Mask::of(set.iter()) }
                }
                _ => all.clone(),
            }
        };
        let mut add = |on: Mask, run: f64, present: f64| match classes
            .iter_mut()
            .rev()
            .take_while(|c| c.guest == guest)
            .find(|c| c.on == on)
        {
            Some(class) => {
                class.run += run;
                class.present += present;
                class.threads += 1.0;
            }
            None => classes.push(Class { guest, on, run, present, threads: 1.0 }),
        };
        if subject.found.role == Role::Unknown {
            for n in 0..at_least(subject.vcpus) {
                add(on(Knob::VcpuAffinity(n)), 1.0, 1.0);
            }
            continue;
        }
        for load in &subject.found.features.roles {
            add(on(Subject::placing(load.role)), load.run, load.run + load.wait);
        }
    }
    classes
}

/// How many vCPUs a guest has for certain: one, unless more are known.
fn at_least(vcpus: Option<u32>) -> u32 {
    vcpus.map_or(1, |vcpus| vcpus.max(1))
}

/// Priority of a guest relative to an untouched one.
fn weight(state: &State, subject: &Subject, overlay: &Overlay<'_>) -> f64 {
    let knob = match state.domain {
        PriorityDomain::CgroupV1 | PriorityDomain::CgroupV2 => Knob::CpuShares,
        PriorityDomain::Nice => Knob::CpuNice,
        PriorityDomain::None => return f64::from(at_least(subject.vcpus)),
    };
    let value = overlay.get(&(subject.id, knob)).copied().or_else(|| subject.knobs.get(&knob));
    match (state.domain, value) {
        (PriorityDomain::CgroupV1, Some(KnobValue::Shares(s))) => *s as f64 / 1024.0,
        (PriorityDomain::CgroupV2, Some(KnobValue::Shares(s))) => *s as f64 / 100.0,
        // Without groups every thread stands for itself, and a step of nice is worth a factor of 1.25.
        (PriorityDomain::Nice, Some(KnobValue::Nice(n))) => {
            1.25f64.powi(-n) * f64::from(at_least(subject.vcpus))
        }
        (PriorityDomain::Nice, _) => f64::from(at_least(subject.vcpus)),
        _ => 1.0,
    }
}

/// Runnable competitors that each guest's threads meet, weighted by how much each thread runs.
fn competition(classes: &[Class], spread: &spread::Spread, weights: &[f64], guests: usize) -> Vec<f64> {
    // present[group]: sum over all classes, and per guest, of runnable threads per CPU of the group.
    let mut by_guest = vec![vec![0.0; spread.sizes.len()]; guests];
    for (class, parts) in classes.iter().zip(&spread.parts) {
        for &(g, f) in parts {
            by_guest[class.guest][g] += class.present * f / spread.sizes[g];
        }
    }
    // A guest whose threads are all confined to the same single CPU.
    let gathered = |guest: usize| {
        let mut own = classes.iter().zip(&spread.parts).filter(|(class, _)| class.guest == guest);
        own.next().is_some_and(|(_, parts)| matches!(parts[..], [(g, _)] if spread.sizes[g] <= 1.0))
            && own.next().is_none()
    };
    let mut result = vec![0.0; guests];
    let mut ran = vec![0.0; guests];
    for (class, parts) in classes.iter().zip(&spread.parts) {
        let me = class.guest;
        let queues = if gathered(me) { GATHERED } else { 1.0 };
        for &(g, f) in parts {
            let others: f64 = (0..guests)
                .filter(|&u| u != me && by_guest[u][g] > 0.0)
                .map(|u| by_guest[u][g] * felt(weights[u], weights[me]))
                .sum();
            result[me] += class.run * f * (others * queues + OWN_STAGES * by_guest[me][g]);
        }
        ran[me] += class.run;
    }
    for (sum, ran) in result.iter_mut().zip(ran) {
        *sum /= f64::max(ran, 1e-9);
    }
    result
}

/// Runnable threads besides itself that a thread of each guest finds on its CPU, a mean over its threads by how much they are
/// runnable: what a balancer has to keep apart.
fn crowds(classes: &[Class], spread: &spread::Spread, guests: usize) -> Vec<f64> {
    let mut all = vec![0.0; spread.sizes.len()];
    for (class, parts) in classes.iter().zip(&spread.parts) {
        for &(g, f) in parts {
            all[g] += class.present * f;
        }
    }
    let mut sums = vec![(0.0, 0.0); guests];
    for (class, parts) in classes.iter().zip(&spread.parts) {
        let (sum, present) = &mut sums[class.guest];
        for &(g, f) in parts {
            let others = (all[g] - class.present / class.threads * f).max(0.0);
            *sum += class.present * f * others / spread.sizes[g];
        }
        *present += class.present;
    }
    sums.into_iter().map(|(sum, present)| sum / f64::max(present, 1e-9)).collect()
}

/// How much a competitor of weight `other` is felt by a thread of weight `own`; 1 when they are equal, at most twice as much.
fn felt(other: f64, own: f64) -> f64 {
    let times = other / own.max(1e-9);
    BEYOND_SHARES + (1.0 - BEYOND_SHARES) * times.min(2.0 * times / (1.0 + times))
}
