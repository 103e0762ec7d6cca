//! The records that go to the journal, the D-Bus API and `trimtabctl`, and the effects that the core asks for.
//!
//! May not: perform anything.

use crate::knob::{Family, Knob, KnobValue};
use crate::units::{GuestId, UnixMs};
use serde::{Deserialize, Serialize};

/// Number of a decision; grows by one, never reused, also across restarts.
pub type DecisionId = u64;

/// How far Trimtab may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Sense only: nothing is decided, nothing is changed.
    #[default]
    Observe,
    /// Decide and say so (verdict `advised`), change nothing.
    Advise,
    /// Decide, act, measure, keep or revert.
    Enforce,
}

/// One knob of one guest going from one value to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Whose knob.
    pub guest: GuestId,
    /// The guest's name when the decision was made.
    pub guest_name: String,
    /// Which knob.
    pub knob: Knob,
    /// Value before.
    pub from: KnobValue,
    /// Value asked for.
    pub to: KnobValue,
}

/// What became of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The trial is running.
    Pending,
    /// It helped: the change stays.
    Kept,
    /// It did not help, could not be measured, or was undone by command: the change is gone.
    Reverted,
    /// Mode `advise`: nothing was changed.
    Advised,
}

/// One decision: one step of one knob family, for the good of one guest, applied and undone as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Its number.
    pub id: DecisionId,
    /// When it was made.
    pub time: UnixMs,
    /// The guest that should gain.
    pub guest: GuestId,
    /// That guest's name at the time.
    pub guest_name: String,
    /// The knob family.
    pub knob: Family,
    /// Every single change, in the order of application; undone in reverse order.
    pub changes: Vec<Change>,
    /// The bottleneck and the reasoning, one or more sentences for a human.
    pub why: String,
    /// The workload profile under which it was tried (key of the knob memory, with the recipe).
    pub profile: String,
    /// Shape of the change, e.g. `isolate-io` or `shares-x4`; empty in rows of journals that did not have it.
    pub recipe: String,
    /// Expected relative gain of the objective, 0.10 = +10 %.
    pub expected: f64,
    /// Live objective before, if measured.
    pub before: Option<f64>,
    /// Live objective after, if measured.
    pub after: Option<f64>,
    /// What became of it.
    pub verdict: Verdict,
    /// Why that verdict, one sentence.
    pub outcome: String,
    /// When the verdict fell.
    pub closed: Option<UnixMs>,
}

/// What an actuator says of one change. `Display` is the log line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The knob now has the value.
    Done,
    /// It had the value already; nothing was written.
    AlreadySo,
    /// Nothing was changed, and why.
    Refused(String),
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::AlreadySo => f.write_str("already so"),
            Self::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

/// What the core remembers of a knob family under a workload profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lesson {
    /// Workload profile key.
    pub profile: String,
    /// Shape of the change, e.g. `isolate-io` or `shares-x4`.
    pub recipe: String,
    /// Times tried.
    pub tried: u32,
    /// Times kept.
    pub kept: u32,
    /// Relative gain of the objective as measured by all trials, the sharper and newer ones counting more.
    pub mean_gain: f64,
    /// Standard error of `mean_gain` at `last`; `None` if no trial came so far that it could be measured.
    pub error: Option<f64>,
    /// Failures in a row, which set the back-off.
    pub failures: u32,
    /// Wall time of the last trial.
    pub last: UnixMs,
}

/// A knob's value before Trimtab first touched it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Original {
    /// Whose knob.
    pub guest: GuestId,
    /// The guest's name at the time.
    pub guest_name: String,
    /// qemu's pid at the time: live knobs die with the process, and so does the original.
    pub pid: Option<i32>,
    /// Which knob.
    pub knob: Knob,
    /// Its value then.
    pub value: KnobValue,
    /// The value that Trimtab set last (what a restart of the daemon expects to find).
    pub ours: KnobValue,
    /// Where the knob is on its way back to, if it is: a restart of the daemon brings it there, and may find it there.
    pub back_to: Option<KnobValue>,
}

/// A knob family of a guest that the admin has taken over, by turning a knob of it himself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Whose.
    pub guest: GuestId,
    /// The guest's name at the time.
    pub guest_name: String,
    /// qemu's pid at the time: the admin's value dies with the process, and so does the override.
    pub pid: Option<i32>,
    /// The family that is left alone.
    pub family: Family,
    /// What was seen.
    pub why: String,
    /// When it was seen.
    pub time: UnixMs,
}

/// What the core asks the driver to do, in this order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Effect {
    /// Store this before any change that follows; without it a change must not be performed.
    SaveOriginal(Original),
    /// Turn a knob; answer with `Engine::applied`.
    Apply {
        /// The decision that this belongs to; `None` for a restore.
        decision: Option<DecisionId>,
        /// The change.
        change: Change,
    },
    /// Insert or update this decision in the journal.
    Record(Decision),
    /// Insert or update this lesson.
    Learn(Lesson),
    /// The original is no longer needed (knob restored, guest gone, or handed to the admin).
    ForgetOriginal {
        /// Whose.
        guest: GuestId,
        /// Which.
        knob: Knob,
    },
    /// Store this: it must be known at the next start.
    SaveOverride(Override),
    /// The admin gave it back, or the guest's process is gone.
    ForgetOverride {
        /// Whose.
        guest: GuestId,
        /// Which.
        family: Family,
    },
    /// A line for the log and the journal's event table that belongs to no decision (override seen, guest lost, ...).
    Note {
        /// The guest concerned.
        guest: Option<GuestId>,
        /// The text.
        text: String,
    },
}
