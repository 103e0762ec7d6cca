//! Placement: affinity of vCPUs, emulator and iothreads on the topology.
//!
//! Shapes, where K is a set of whole cores for the guests that wait on I/O, and R the other CPUs:
//!
//! | recipe | I/O guests | burners |
//! |---|---|---|
//! | `isolate-io` | all threads on K | all threads on R |
//! | `keep-clear` | free | all threads on R |
//! | `service-clear` | service threads on K, vCPUs free | all threads on R |
//! | `thin-out` | all threads on K | half of each one's vCPUs on R |
//! | `pin-one` | all threads on K | as they are |
//! | `pin-all` | every busy vCPU on a core of its own, a guest's cores in one LLC, else one node, where it fits | same |
//! | `unpin` | back to where they were before Trimtab | same |
//!
//! Which CPUs a shape gets: docs/algorithms/placement.md. Every burner is treated alike: confining only some of equal weight was
//! measured on real guests and left one of them with 0.02 CPU beside another with 1.27, since the kernel's group shares do not
//! follow such pins.
//! An affinity that was there before Trimtab is a bound: plans only ever choose from it. May not: name a CPU outside the
//! topology or a guest whose placement is frozen.

use super::{Controller, Plan, State, Subject, change, packing};
use crate::decision::Change;
use crate::identify::Role;
use crate::knob::{Family, Knob, KnobValue};
use crate::sample::ThreadRole;
use crate::topology::{Cpu, CpuSet};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The controller.
#[derive(Clone, Copy, Debug)]
pub struct Placement;

impl Controller for Placement {
    fn family(&self) -> Family {
        Family::Placement
    }

    fn plans(&self, state: &State) -> Vec<Plan> {
        let mut plans = Vec::new();
        if let Some(ground) = Ground::of(state) {
            for keep in ground.sizes() {
                plans.extend(ground.shapes(&keep));
            }
        }
        plans.extend(pin_all(state));
        plans.extend(unpin(state));
        let limit = state.config.arbiter.changes_per_decision as usize;
        plans.retain(|p| !p.changes.is_empty() && p.changes.len() <= limit);
        plans
    }
}

/// Who stands against whom.
struct Ground<'a> {
    state: &'a State,
    /// I/O guests that wait, the most deserving first.
    io: Vec<&'a Subject>,
    /// Guests that burn CPU and may be moved, the lightest weight first.
    rivals: Vec<&'a Subject>,
    /// Whole cores in order of preference for K.
    cores: Vec<CpuSet>,
}

impl<'a> Ground<'a> {
    fn of(state: &'a State) -> Option<Self> {
        let mut io: Vec<&Subject> = state
            .subjects
            .values()
            .filter(|s| matches!(s.found.role, Role::Io | Role::Mixed) && s.is_held_back())
            .collect();
        io.sort_by(|a, b| b.loss().total_cmp(&a.loss()).then(a.id.cmp(&b.id)));
        let mut rivals: Vec<&Subject> = state
            .subjects
            .values()
            .filter(|s| s.found.role == Role::Cpu && s.may_turn(Family::Placement))
            .collect();
        rivals.sort_by_key(|s| (s.weight, s.id));
        let cores = cores(state, &io);
        (!io.is_empty() && cores.len() >= 2).then_some(Self { state, io, rivals, cores })
    }

    /// Sets K worth trying: one core, what the I/O guests want, and what they are entitled to.
    fn sizes(&self) -> Vec<CpuSet> {
        let terms: Vec<_> = self.io.iter().filter_map(|s| self.state.score.term(s.id)).collect();
        let want: f64 = terms.iter().map(|t| t.want).sum();
        let entitled: f64 = terms.iter().map(|t| t.entitled).sum();
        let mut counts = vec![1, self.cores_for(want), self.cores_for(entitled)];
        counts.sort_unstable();
        counts.dedup();
        counts.retain(|&n| n >= 1 && n < self.cores.len());
        counts.into_iter().map(|n| union(&self.cores[..n])).collect()
    }

    fn cores_for(&self, cpus: f64) -> usize {
        let (mut have, mut cores) = (0.0, 0);
        // A quarter of a CPU too few is better than a core left half idle.
        for core in &self.cores {
            if have >= cpus - 0.25 {
                break;
            }
            have += core.len() as f64;
            cores += 1;
        }
        cores
    }

    fn shapes(&self, keep: &CpuSet) -> Vec<Plan> {
        let rest = self.state.cpus().minus(keep);
        let io = || self.io.iter().filter(|s| s.may_turn(Family::Placement));
        let io_on = || -> Vec<Change> { io().flat_map(|s| place(s, |_| Some(keep))).collect() };
        let io_services_on = || -> Vec<Change> {
            io().flat_map(|s| place_or_restore(s, |role| role.is_service().then_some(keep))).collect()
        };
        let io_free = || -> Vec<Change> { io().flat_map(|s| restore(s)).collect() };
        let off = || -> Vec<Change> { self.rivals.iter().flat_map(|s| place(s, |_| Some(&rest))).collect() };
        let half_off = || -> Vec<Change> {
            let half = |s: &Subject, role: ThreadRole| match role {
                ThreadRole::Vcpu(n) => s.vcpus.is_some_and(|all| n >= all / 2).then_some(&rest),
                _ => None,
            };
            self.rivals.iter().flat_map(|s| place_or_restore(s, |role| half(s, role))).collect()
        };
        let names = self.names(&self.io);
        let mut plans = Vec::new();
        let mut add = |recipe: &str, changes: Vec<Vec<Change>>, what: String| {
            plans.push(self.plan(recipe.to_owned(), changes.concat(), what));
        };
        add(
            "isolate-io",
            vec![io_on(), off()],
            format!("CPUs {keep} for all threads of {names}, CPUs {rest} for every burner"),
        );
        add(
            "keep-clear",
            vec![io_free(), off()],
            format!("CPUs {rest} for every burner, so that CPUs {keep} are clear of them for {names}"),
        );
        add(
            "service-clear",
            vec![io_services_on(), off()],
            format!("CPUs {keep} for the service threads of {names}, CPUs {rest} for every burner"),
        );
        add(
            "thin-out",
            vec![io_on(), half_off()],
            format!("CPUs {keep} for all threads of {names}, half of each burner's vCPUs on CPUs {rest}"),
        );
        add(
            "pin-one",
            vec![io_on()],
            format!("CPUs {keep} for all threads of {names}, the others as they are"),
        );
        plans
    }

    fn plan(&self, recipe: String, changes: Vec<Change>, what: String) -> Plan {
        let beneficiary = self.io[0].id;
        Plan { recipe, family: Family::Placement, beneficiary, changes, what, undoes: false }
    }

    fn names(&self, subjects: &[&Subject]) -> String {
        subjects.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// Whole physical cores, those that the I/O guests are confined to already first, LLC by LLC and node by node.
fn cores(state: &State, io: &[&Subject]) -> Vec<CpuSet> {
    let usable = state.cpus();
    let held: CpuSet = io
        .iter()
        .flat_map(|s| s.knobs.values())
        .filter_map(|v| match v {
            KnobValue::Cpus(set) if set.and(&usable).len() < usable.len() => Some(set),
            _ => None,
        })
        .flat_map(CpuSet::iter)
        .collect();
    let mut by_core: BTreeMap<(bool, u32, u32, u32), CpuSet> = BTreeMap::new();
    for &Cpu { cpu, core, llc, node, .. } in &state.topology.cpus {
        let preferred = state.topology.cpus.iter().any(|c| c.core == core && held.contains(c.cpu));
        by_core.entry((!preferred, node, llc, core)).or_default().extend([cpu]);
    }
    by_core.into_values().collect()
}

fn union(sets: &[CpuSet]) -> CpuSet {
    sets.iter().flat_map(CpuSet::iter).collect()
}

/// The role behind an affinity knob that exists now: vCPUs that are offline are left alone.
fn role_of(subject: &Subject, knob: Knob) -> Option<ThreadRole> {
    match knob {
        Knob::VcpuAffinity(n) => {
            let role = ThreadRole::Vcpu(n);
            subject.found.features.roles.iter().any(|r| r.role == role).then_some(role)
        }
        Knob::EmulatorAffinity => Some(ThreadRole::Emulator),
        Knob::IothreadAffinity(n) => Some(ThreadRole::Iothread(n)),
        Knob::CpuShares | Knob::CpuNice => None,
    }
}

/// Changes that put the roles for which `to` names CPUs there, within the guest's bounds; other roles stay as they are.
fn place<'c>(subject: &Subject, to: impl Fn(ThreadRole) -> Option<&'c CpuSet>) -> Vec<Change> {
    arrange(subject, to, false)
}

/// As `place`, but other roles go back to their bounds.
fn place_or_restore<'c>(subject: &Subject, to: impl Fn(ThreadRole) -> Option<&'c CpuSet>) -> Vec<Change> {
    arrange(subject, to, true)
}

fn arrange<'c>(
    subject: &Subject,
    to: impl Fn(ThreadRole) -> Option<&'c CpuSet>,
    others_back: bool,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for &knob in subject.knobs.keys().filter(|k| k.family() == Family::Placement) {
        let (Some(role), Some(KnobValue::Cpus(bound))) = (role_of(subject, knob), subject.original(knob))
        else {
            continue;
        };
        let wanted = match to(role) {
            Some(cpus) => bound.and(cpus),
            None if others_back => bound.clone(),
            None => continue,
        };
        if !wanted.is_empty() {
            changes.extend(change(subject, knob, KnobValue::Cpus(wanted)));
        }
    }
    changes
}

/// Changes that put every held placement knob back.
fn restore(subject: &Subject) -> Vec<Change> {
    let held = subject.originals.iter().filter(|(k, _)| k.family() == Family::Placement);
    held.filter_map(|(&knob, value)| change(subject, knob, value.clone())).collect()
}

/// Everything that Trimtab placed goes back.
fn unpin(state: &State) -> Option<Plan> {
    let turnable = || state.subjects.values().filter(|s| s.may_turn(Family::Placement));
    let changes: Vec<Change> = turnable().flat_map(restore).collect();
    let beneficiary = turnable().max_by(|a, b| a.loss().total_cmp(&b.loss()).then(b.id.cmp(&a.id)))?.id;
    (!changes.is_empty()).then(|| Plan {
        recipe: "unpin".to_owned(),
        family: Family::Placement,
        beneficiary,
        changes,
        what: "every affinity back to what it was before Trimtab".to_owned(),
        undoes: true,
    })
}

/// One core per busy vCPU where there are enough cores and still somebody waits: the balancer put two on one core.
fn pin_all(state: &State) -> Option<Plan> {
    let mut busy: Vec<&Subject> = state.subjects.values().filter(|s| s.found.role.is_active()).collect();
    let waits = busy.iter().filter(|s| s.is_held_back());
    let beneficiary = waits.max_by(|a, b| a.loss().total_cmp(&b.loss()).then(b.id.cmp(&a.id)))?.id;
    if busy.iter().any(|s| !s.may_turn(Family::Placement)) {
        return None;
    }
    // The largest first, since it is the hardest to find room for; among equals the heaviest chooses.
    busy.sort_by_key(|s| (Reverse(s.vcpus), Reverse(s.weight), s.id));
    let vcpus = |s: &Subject| -> Vec<ThreadRole> {
        s.found.features.roles.iter().map(|r| r.role).filter(|r| !r.is_service()).collect()
    };
    let bound = |s: &Subject, role| match s.original(Subject::placing(role)) {
        Some(KnobValue::Cpus(set)) => set.clone(),
        _ => state.cpus(),
    };
    let guests: Vec<Vec<CpuSet>> =
        busy.iter().map(|s| vcpus(s).into_iter().map(|role| bound(s, role)).collect()).collect();
    let seats = packing::pack(&state.topology, &guests)?;
    let mut changes = Vec::new();
    for (subject, cores) in busy.iter().zip(&seats) {
        for (vcpu, core) in vcpus(subject).into_iter().zip(cores) {
            changes.extend(place(subject, |role| (role == vcpu).then_some(core)));
        }
    }
    (!changes.is_empty()).then(|| Plan {
        recipe: "pin-all".to_owned(),
        family: Family::Placement,
        beneficiary,
        changes,
        what: "one core for every busy vCPU, those of a guest in one cache or node where they fit".to_owned(),
        undoes: false,
    })
}
