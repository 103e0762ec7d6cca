//! Priority: cpu shares (cgroup v1), weight (v2), or nice where there are no cgroups, by guest weight and need.
//!
//! | recipe | change |
//! |---|---|
//! | `shares-by-weight` | every active guest's shares in proportion to its weight |
//! | `shares-x2`, `-x4`, `-x8` | guests that wait on I/O get so many times the shares of their weight, one step at a time |
//! | `nice-x2`, `-x4`, `-x8` | without cgroups: burners are made nicer by as much, one step at a time |
//! | `shares-default` | back to where they were before Trimtab |
//!
//! May not: leave the platform's range, or touch a guest whose priority is frozen.

use super::{Controller, Plan, State, Subject, change};
use crate::decision::Change;
use crate::identify::Role;
use crate::knob::{Family, Knob, KnobValue, PriorityDomain};
use crate::sample::GuestMeta;

/// Boosts tried, with the nice steps that are worth as much (1.25 a step).
const BOOSTS: [(u64, i32); 3] = [(2, 3), (4, 6), (8, 9)];

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
            plans.extend(BOOSTS.map(|(times, nice)| boost(state, io, times, nice)).into_iter().find(raises));
        }
        let limit = state.config.arbiter.changes_per_decision as usize;
        plans.retain(|p| !p.changes.is_empty() && p.changes.len() <= limit);
        plans
    }
}

/// Shares that a weight stands for: the default weight is the platform's default value.
fn shares(domain: PriorityDomain, weight: u32, times: u64) -> Option<u64> {
    let unit = u64::from(GuestMeta::default().weight);
    let (default, least, most) = match domain {
        PriorityDomain::CgroupV1 => (1024, 2, 262_144),
        PriorityDomain::CgroupV2 => (100, 1, 10_000),
        PriorityDomain::Nice | PriorityDomain::None => return None,
    };
    Some((u64::from(weight) * times * default / unit).clamp(least, most))
}

fn turnable(state: &State) -> impl Iterator<Item = &Subject> {
    state.subjects.values().filter(|s| s.found.role.is_active() && s.may_turn(Family::Priority))
}

fn plan(recipe: &str, beneficiary: &Subject, changes: Vec<Change>, what: String) -> Plan {
    let beneficiary = beneficiary.id;
    Plan { recipe: recipe.to_owned(), family: Family::Priority, beneficiary, changes, what, undoes: false }
}

fn by_weight(state: &State, neediest: &Subject) -> Plan {
    let changes = turnable(state)
        .filter_map(|s| change(s, Knob::CpuShares, KnobValue::Shares(shares(state.domain, s.weight, 1)?)))
        .collect();
    plan("shares-by-weight", neediest, changes, "CPU shares in proportion to the weights".to_owned())
}

fn boost(state: &State, io: &Subject, times: u64, nice: i32) -> Plan {
    if state.domain == PriorityDomain::Nice {
        let rivals = turnable(state).filter(|s| s.found.role == Role::Cpu);
        let changes: Vec<Change> = rivals.filter_map(|s| nicer(s, nice)).collect();
        let what = format!("burners nicer by {nice}, worth a factor of {times}");
        return plan(&format!("nice-x{times}"), io, changes, what);
    }
    let needy = turnable(state).filter(|s| matches!(s.found.role, Role::Io | Role::Mixed));
    let changes = needy
        .filter_map(|s| change(s, Knob::CpuShares, KnobValue::Shares(shares(state.domain, s.weight, times)?)))
        .collect();
    let what = format!("{times} times the CPU shares of their weight for the guests that wait on I/O");
    plan(&format!("shares-x{times}"), io, changes, what)
}

/// Whether a plan goes up from where priorities are.
fn raises(plan: &Plan) -> bool {
    !plan.changes.is_empty() && plan.changes.iter().all(|c| c.to > c.from)
}

/// A burner's nice raised above what it was before Trimtab; never lowered below it, which would need privileges.
fn nicer(subject: &Subject, by: i32) -> Option<Change> {
    let KnobValue::Nice(original) = subject.original(Knob::CpuNice)? else { return None };
    change(subject, Knob::CpuNice, KnobValue::Nice((original + by).min(19)))
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
