//! Priority: cpu shares (cgroup v1), weight (v2), or nice where there are no cgroups, by guest weight and need.
//!
//! | recipe | change |
//! |---|---|
//! | `shares-by-weight` | every active guest's shares in proportion to its weight |
//! | `shares-x2`, `-x4`, `-x8` | guests that wait on I/O get so many times the shares of their weight, one step at a time |
//! | `nice-by-weight` | without cgroups: the lighter an active guest is than the heaviest one, the nicer it is made |
//! | `nice-x2`, `-x4`, `-x8` | the same, guests that wait on I/O counting as so many times their weight, one step at a time |
//! | `shares-default` | back to where they were before Trimtab |
//!
//! A step of nice is worth a factor of 1.25, for each thread or, with autogroups, for each guest. Only ever nicer than before
//! Trimtab: less would need privileges. May not: leave the platform's range, or touch a guest whose priority is frozen.

use super::{Controller, Plan, State, Subject, change};
use crate::decision::Change;
use crate::identify::Role;
use crate::knob::{Family, Knob, KnobValue, PriorityDomain};
use crate::sample::GuestMeta;

/// Boosts tried.
const BOOSTS: [u64; 3] = [2, 4, 8];

/// What a step of nice is worth: the kernel's table of weights (`sched_prio_to_weight`) goes down by this factor from one to the next.
const NICE_STEP: f64 = 1.25;
/// The nicest.
const NICE_MAX: i32 = 19;

/// The controller.
#[derive(Clone, Copy, Debug)]
pub struct Priority;

impl Controller for Priority {
    fn family(&self) -> Family {
        Family::Priority
    }

    fn plans(&self, state: &State) -> Vec<Plan> {
        let most = |role: Option<Role>| {
            let candidates = state
                .subjects
                .values()
                .filter(|s| s.is_held_back() && role.is_none_or(|r| s.found.role == r));
            candidates.max_by(|a, b| a.loss().total_cmp(&b.loss()).then(b.id.cmp(&a.id)))
        };
        let Some(neediest) = most(None) else { return Vec::new() };
        let mut plans = vec![by_weight(state, neediest), back(state, neediest)];
        if let Some(io) = most(Some(Role::Io)).or_else(|| most(Some(Role::Mixed))) {
            // One step at a time: the floors allow little above the entitlement, the model tells by a tenth how much, and the
            // first step brings the most.
            plans.extend(BOOSTS.map(|times| boost(state, io, times)).into_iter().find(|p| raises(state, p)));
        }
        let limit = state.config.arbiter.changes_per_decision as usize;
        plans.retain(|p| !p.changes.is_empty() && p.changes.len() <= limit);
        plans
    }
}

/// Shares that a weight stands for: the default weight is the platform's default value, also for the guests that are not
/// turned, so that others cannot be scaled away from it where v2's whole steps are coarse. The kernel's v2 has a weight of 1, but
/// libvirt 9.0 (Debian 12) checks v1's bounds there too and refuses it.
fn shares(domain: PriorityDomain, weight: u32, times: u64) -> Option<u64> {
    let unit = u64::from(GuestMeta::default().weight);
    let (default, least, most) = match domain {
        PriorityDomain::CgroupV1 => (1024, 2, 262_144),
        PriorityDomain::CgroupV2 => (100, 2, 10_000),
        PriorityDomain::Nice | PriorityDomain::None => return None,
    };
    Some(((u64::from(weight) * times * default + unit / 2) / unit).clamp(least, most))
}

fn active(state: &State) -> impl Iterator<Item = &Subject> {
    state.subjects.values().filter(|s| s.found.role.is_active())
}

fn turnable(state: &State) -> impl Iterator<Item = &Subject> {
    active(state).filter(|s| s.may_turn(Family::Priority))
}

/// Whether it is I/O that a boost would help.
fn does_io(subject: &Subject) -> bool {
    matches!(subject.found.role, Role::Io | Role::Mixed)
}

fn plan(recipe: &str, beneficiary: &Subject, changes: Vec<Change>, what: String) -> Plan {
    let beneficiary = beneficiary.id;
    Plan { recipe: recipe.to_owned(), family: Family::Priority, beneficiary, changes, what, undoes: false }
}

fn by_weight(state: &State, neediest: &Subject) -> Plan {
    if state.domain == PriorityDomain::Nice {
        let what = "the lighter a guest, the nicer its threads, in proportion to the weights".to_owned();
        return plan("nice-by-weight", neediest, nices(state, 1), what);
    }
    let changes = turnable(state)
        .filter_map(|s| change(s, Knob::CpuShares, KnobValue::Shares(shares(state.domain, s.weight, 1)?)))
        .collect();
    plan("shares-by-weight", neediest, changes, "CPU shares in proportion to the weights".to_owned())
}

fn boost(state: &State, io: &Subject, times: u64) -> Plan {
    if state.domain == PriorityDomain::Nice {
        let what =
            format!("the others so nice that guests that wait on I/O count {times} times their weight");
        return plan(&format!("nice-x{times}"), io, nices(state, times), what);
    }
    let changes = turnable(state)
        .filter(|s| does_io(s))
        .filter_map(|s| change(s, Knob::CpuShares, KnobValue::Shares(shares(state.domain, s.weight, times)?)))
        .collect();
    let what = format!("{times} times the CPU shares of their weight for the guests that wait on I/O");
    plan(&format!("shares-x{times}"), io, changes, what)
}

/// Whether every change of a plan favours those that do I/O over what they have now.
fn raises(state: &State, plan: &Plan) -> bool {
    let favours = |c: &Change| match (&c.from, &c.to) {
        (KnobValue::Nice(from), KnobValue::Nice(to)) => {
            (to < from) == state.subjects.get(&c.guest).is_some_and(does_io)
        }
        (from, to) => to > from,
    };
    !plan.changes.is_empty() && plan.changes.iter().all(favours)
}

/// Nice values that stand to each other as the weights do, those of guests that do I/O counted so many times. Whoever weighs most
/// keeps what it had before Trimtab.
fn nices(state: &State, times: u64) -> Vec<Change> {
    let weighs = |s: &Subject| f64::from(s.weight.max(1)) * if does_io(s) { times as f64 } else { 1.0 };
    let most = active(state).map(weighs).fold(1.0, f64::max);
    let nicer = |s: &Subject| {
        let KnobValue::Nice(original) = s.original(Knob::CpuNice)? else { return None };
        let steps = (most / weighs(s)).log(NICE_STEP).round() as i32;
        change(s, Knob::CpuNice, KnobValue::Nice((original + steps).min(NICE_MAX)))
    };
    turnable(state).filter_map(nicer).collect()
}

fn back(state: &State, neediest: &Subject) -> Plan {
    let held = |s: &Subject| -> Vec<Change> {
        let mine = s.originals.iter().filter(|(k, _)| k.family() == Family::Priority);
        mine.filter_map(|(&knob, value)| change(s, knob, value.clone())).collect()
    };
    let changes = state.subjects.values().filter(|s| s.may_turn(Family::Priority)).flat_map(held).collect();
    let what = "every priority back to what it was before Trimtab".to_owned();
    Plan { undoes: true, ..plan("shares-default", neediest, changes, what) }
}
