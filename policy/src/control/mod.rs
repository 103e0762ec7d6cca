//! Controllers: from an observation to proposals, each a set of changes to one knob family with a reason.
//!
//! A controller proposes shapes; the model predicts what each would bring, and the arbiter picks. A controller never
//! touches a guest or family that the state marks as frozen. May not: apply, remember, or look at a clock.

mod packing;
pub mod placement;
pub mod priority;
mod words;

use crate::config::PolicyConfig;
use crate::decision::Change;
use crate::identify::{Bottleneck, Finding};
use crate::knob::{Family, Knob, KnobValue, PriorityDomain};
use crate::model::Prediction;
use crate::objective::Score;
use crate::sample::ThreadRole;
use crate::topology::{CpuSet, Topology};
use crate::units::GuestId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One guest as controllers and the model see it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Identity.
    pub id: GuestId,
    /// Present name.
    pub name: String,
    /// Weight from the metadata.
    pub weight: u32,
    /// vCPUs online.
    pub vcpus: Option<u32>,
    /// What was found out about it.
    pub found: Finding,
    /// Knob values in force.
    pub knobs: BTreeMap<Knob, KnobValue>,
    /// Values before Trimtab first touched them, for the knobs that it holds.
    pub originals: BTreeMap<Knob, KnobValue>,
    /// Families that must not be turned, and why.
    pub frozen: BTreeMap<Family, String>,
}

impl Subject {
    /// Whether a knob family of the guest may be turned.
    pub fn may_turn(&self, family: Family) -> bool {
        !self.frozen.contains_key(&family)
    }
    /// The value of a knob before Trimtab touched it, which is its present one if it did not.
    pub fn original(&self, knob: Knob) -> Option<&KnobValue> {
        self.originals.get(&knob).or_else(|| self.knobs.get(&knob))
    }
    /// Whether it wants something and is held back.
    pub fn is_held_back(&self) -> bool {
        self.found.role.is_active()
            && !matches!(self.found.bottleneck, Bottleneck::None | Bottleneck::Unknown)
    }
    /// What the objective loses by its waiting, times the sum of weights.
    pub fn loss(&self) -> f64 {
        f64::from(self.weight) * (1.0 - self.found.speed.unwrap_or(1.0))
    }
    /// The knob that places threads of a role: vhost workers live in the emulator's group.
    pub fn placing(role: ThreadRole) -> Knob {
        match role {
            ThreadRole::Vcpu(n) => Knob::VcpuAffinity(n),
            ThreadRole::Iothread(n) => Knob::IothreadAffinity(n),
            ThreadRole::Emulator | ThreadRole::Vhost => Knob::EmulatorAffinity,
        }
    }
}

/// Everything that proposals are made from.
#[derive(Clone, Debug)]
pub struct State {
    /// Usable CPUs.
    pub topology: Arc<Topology>,
    /// How priority can be turned.
    pub domain: PriorityDomain,
    /// Running guests.
    pub subjects: BTreeMap<GuestId, Subject>,
    /// Busy share per CPU, smoothed, where known.
    pub busy: BTreeMap<u32, f64>,
    /// CPUs that the host delivers to guests or leaves idle.
    pub capacity: f64,
    /// Live objective over the window.
    pub score: Score,
    /// Workload profile key.
    pub profile: String,
    /// Configuration in force.
    pub config: PolicyConfig,
}

impl State {
    /// All usable CPUs.
    pub fn cpus(&self) -> CpuSet {
        self.topology.cpu_set()
    }
    /// Present value of a knob.
    pub fn value(&self, guest: GuestId, knob: Knob) -> Option<&KnobValue> {
        self.subjects.get(&guest)?.knobs.get(&knob)
    }
}

/// A candidate: changes of one family, not yet judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Shape of the change, key of the knob memory together with the profile.
    pub recipe: String,
    /// The family.
    pub family: Family,
    /// The guest that should gain.
    pub beneficiary: GuestId,
    /// The changes, none of them empty.
    pub changes: Vec<Change>,
    /// What the plan does, in words, without numbers of the prediction.
    pub what: String,
    /// Whether it only puts knobs back to where they were before Trimtab: always allowed to be tried, kept unless worse.
    pub undoes: bool,
}

/// A plan with its prediction.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// The plan.
    pub plan: Plan,
    /// What the model expects.
    pub prediction: Prediction,
    /// Expected relative gain of the objective.
    pub expected: f64,
    /// The whole reasoning for a human.
    pub why: String,
}

/// One knob family's source of plans.
pub trait Controller {
    /// The family that it turns.
    fn family(&self) -> Family;
    /// Plans that might help in this state, in no particular order; empty if nothing is wrong.
    fn plans(&self, state: &State) -> Vec<Plan>;
}

/// All controllers.
pub fn controllers() -> [&'static dyn Controller; 2] {
    [&placement::Placement, &priority::Priority]
}

/// Every plan of every controller with prediction and reason, best expected gain first; none of them pushes anybody below the
/// floor in the model, or deeper below it.
pub fn propose(state: &State) -> Vec<Proposal> {
    let plans: Vec<Plan> = controllers().iter().flat_map(|c| c.plans(state)).collect();
    if plans.is_empty() {
        return Vec::new();
    }
    let baseline = crate::model::Baseline::of(state);
    let host = crate::model::words(&crate::model::cpu_loads(state));
    let mut proposals: Vec<Proposal> = plans
        .into_iter()
        .filter_map(|plan| {
            let prediction = baseline.predict(state, &plan.changes)?;
            if prediction.harmed(&state.score).next().is_some() {
                return None;
            }
            let expected = prediction.gain(&state.score);
            let why = words::why(state, &host, &plan, &prediction, expected);
            Some(Proposal { plan, prediction, expected, why })
        })
        .collect();
    proposals
        .sort_by(|a, b| b.expected.total_cmp(&a.expected).then_with(|| a.plan.recipe.cmp(&b.plan.recipe)));
    proposals
}

/// A change of one knob of one guest, or `None` if it already has the value or the knob does not exist.
pub(crate) fn change(subject: &Subject, knob: Knob, to: KnobValue) -> Option<Change> {
    let from = subject.knobs.get(&knob)?;
    (*from != to).then(|| Change {
        guest: subject.id,
        guest_name: subject.name.clone(),
        knob,
        from: from.clone(),
        to,
    })
}
