//! The rows, as plain data. May not: know what a policy or a guest is; JSON parts are opaque text.

use serde::{Deserialize, Serialize};

/// One decision with its trial: what was tried, why, what came of it. Inserted or updated by `id`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DecisionRow {
    /// Its number, 1..=i64::MAX; given by the caller, never reused.
    pub id: u64,
    /// When it was made.
    pub time_ms: i64,
    /// Identity (UUID text) of the guest that should gain.
    pub guest: String,
    /// Its name at the time.
    pub guest_name: String,
    /// Knob family.
    pub knob: String,
    /// JSON array of the single changes. Mentions the UUID text of every guest touched, which the guest filter relies on.
    pub changes: String,
    /// Reasoning for a human.
    pub why: String,
    /// Workload profile key.
    pub profile: String,
    /// Shape of the change; empty in rows of journals that did not have it.
    #[serde(default)]
    pub recipe: String,
    /// Expected relative gain; absent when it is no finite number.
    pub expected: Option<f64>,
    /// Objective before the change, if measured.
    pub before: Option<f64>,
    /// Objective after the change, if measured.
    pub after: Option<f64>,
    /// `pending` while the trial runs; any other text means closed.
    pub verdict: String,
    /// Why that verdict.
    pub outcome: String,
    /// When the verdict fell.
    pub closed_ms: Option<i64>,
}

/// The verdict of a decision whose trial is still running.
pub(crate) const PENDING: &str = "pending";

/// The value of a knob before Trimtab first touched it. Keyed by `guest` and `knob`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginalRow {
    /// Identity (UUID text) of the guest.
    pub guest: String,
    /// Its name at the time.
    pub guest_name: String,
    /// qemu's pid at the time: the knob dies with that process.
    pub pid: Option<i32>,
    /// Knob name.
    pub knob: String,
    /// JSON of the value then.
    pub value: String,
    /// JSON of the value that Trimtab set last.
    pub ours: String,
    /// JSON of the value that it is on its way back to, if it is.
    pub back_to: Option<String>,
}

/// A family of knobs of one guest that the admin has taken over. Keyed by `guest` and `family`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideRow {
    /// Identity (UUID text) of the guest.
    pub guest: String,
    /// Its name at the time.
    pub guest_name: String,
    /// qemu's pid at the time: the override ends with that process.
    pub pid: Option<i32>,
    /// Name of the family.
    pub family: String,
    /// What was seen.
    pub why: String,
    /// When.
    pub time_ms: i64,
}

/// What was learned of one recipe under one workload profile. Keyed by both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LessonRow {
    /// Workload profile key.
    pub profile: String,
    /// Shape of the change.
    pub recipe: String,
    /// Times tried.
    pub tried: u32,
    /// Times kept.
    pub kept: u32,
    /// Mean relative gain of the objective.
    pub mean_gain: f64,
    /// Its standard error, if it was measured.
    pub error: Option<f64>,
    /// Failures in a row.
    pub failures: u32,
    /// When last tried.
    pub last_ms: i64,
}

/// A line that belongs to no decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoteRow {
    /// When.
    pub time_ms: i64,
    /// Identity of the guest concerned, if one is.
    pub guest: Option<String>,
    /// The line.
    pub text: String,
}

/// One guest over one sampling period, summarised. Absent = not measured. Packed as scaled integers, so what is read back
/// is rounded to the resolution named at each field.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SampleRow {
    /// End of the period.
    pub time_ms: i64,
    /// Identity (UUID text) of the guest.
    pub guest: String,
    /// Its present name.
    pub guest_name: String,
    /// CPU time per second of all its threads, in CPUs; to 0.001.
    pub cpu_cores: Option<f64>,
    /// Share of wanted CPU time spent in a run queue, 0..=1; to 0.001.
    pub run_delay: Option<f64>,
    /// Bytes read per second; to 1 KiB.
    pub read_bps: Option<f64>,
    /// Bytes written per second; to 1 KiB.
    pub write_bps: Option<f64>,
    /// Estimated speed relative to running alone, 0..=1; to 0.001.
    pub speed: Option<f64>,
}

/// FNV-1a over the fields, each ended by a byte that UTF-8 text never holds. Kept beside rows that are acted upon, because
/// SQLite's own check sees damaged structure but not a flipped bit inside a text.
pub(crate) fn checksum<'a>(fields: impl IntoIterator<Item = &'a str>) -> i64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for field in fields {
        for byte in field.bytes().chain(std::iter::once(0xff)) {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    i64::from_ne_bytes(sum.to_ne_bytes())
}

impl OriginalRow {
    pub(crate) fn key(&self) -> (String, String) {
        (self.guest.clone(), self.knob.clone())
    }
    pub(crate) fn checksum(&self) -> i64 {
        let pid = self.pid.map(|pid| pid.to_string()).unwrap_or_default();
        let fixed = [&*self.guest, &self.guest_name, &pid, &self.knob, &self.value, &self.ours];
        checksum(fixed.into_iter().chain(self.back_to.as_deref()))
    }
}

impl OverrideRow {
    pub(crate) fn key(&self) -> (String, String) {
        (self.guest.clone(), self.family.clone())
    }
    pub(crate) fn checksum(&self) -> i64 {
        let (pid, time) = (self.pid.map(|pid| pid.to_string()).unwrap_or_default(), self.time_ms.to_string());
        checksum([&*self.guest, &self.guest_name, &pid, &self.family, &self.why, &time])
    }
}

impl DecisionRow {
    pub(crate) fn is_pending(&self) -> bool {
        self.verdict == PENDING
    }
    pub(crate) fn checksum(&self) -> i64 {
        let id = self.id.to_string();
        checksum([&*id, &self.guest, &self.knob, &self.changes, &self.why, &self.verdict])
    }
}
