//! The loop's types in their D-Bus form, and back where an argument names one.
//!
//! Shares are rounded to 0.001, CPUs to 0.01 and rates to whole bytes: finer digits are noise, and would make every property
//! change at every tick, also of guests that are idle. May not: hold state.

use super::proxy::{
    ChangeRecord, CpuLoadRecord, DecisionRecord, DemandRecord, Error, GUEST_PATH, MAX_DECISIONS, NoteRecord,
    OriginalRecord,
};
use crate::handle::{GuestView, Note, View};
use std::collections::HashMap;
use trimtab_policy::decision::{Change, Decision, Mode, Original, Verdict};
use trimtab_policy::model::CpuUse;
use trimtab_policy::sample::GuestState;
use trimtab_policy::units::GuestId;
use zbus::OwnedVariant;

/// Object path of a guest.
pub(super) fn guest_path(id: GuestId) -> String {
    format!("{GUEST_PATH}/{}", id.to_string().replace('-', "_"))
}

/// Rounded to 0.001.
pub(super) fn share(value: f64) -> f64 {
    rounded(value, 1000.0)
}

/// Rounded to 0.01.
pub(super) fn cpus(value: f64) -> f64 {
    rounded(value, 100.0)
}

fn rounded(value: f64, steps: f64) -> f64 {
    // The sign of a zero would be noise; a sum of nothing has one.
    (value * steps).round() / steps + 0.0
}

/// Whether a client would see a difference.
pub(super) fn differ(a: &GuestView, b: &GuestView) -> bool {
    let told = |guest: &GuestView| GuestView {
        cpu_cores: guest.cpu_cores.map(cpus),
        run_delay: guest.run_delay.map(share),
        write_bps: guest.write_bps.map(f64::round),
        read_bps: guest.read_bps.map(f64::round),
        speed: guest.speed.map(share),
        ..guest.clone()
    };
    a != b && told(a) != told(b)
}

/// Text of a mode.
pub(super) fn mode_text(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe",
        Mode::Advise => "advise",
        Mode::Enforce => "enforce",
    }
}

/// The mode with this text.
pub(super) fn mode_from(text: &str) -> Result<Mode, Error> {
    match text {
        "observe" => Ok(Mode::Observe),
        "advise" => Ok(Mode::Advise),
        "enforce" => Ok(Mode::Enforce),
        _ => Err(Error::InvalidArgs(format!("'{text}' is not a mode: want observe, advise or enforce"))),
    }
}

/// Text of a guest's state.
pub(super) fn state_text(state: GuestState) -> &'static str {
    match state {
        GuestState::Running => "running",
        GuestState::Paused => "paused",
        GuestState::Other => "other",
    }
}

fn verdict_text(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pending => "pending",
        Verdict::Kept => "kept",
        Verdict::Reverted => "reverted",
        Verdict::Advised => "advised",
    }
}

impl From<&Change> for ChangeRecord {
    fn from(change: &Change) -> Self {
        Self {
            guest: change.guest.to_string(),
            guest_name: change.guest_name.clone(),
            knob: change.knob.to_string(),
            from: change.from.to_string(),
            to: change.to.to_string(),
        }
    }
}

impl From<&Decision> for DecisionRecord {
    fn from(decision: &Decision) -> Self {
        Self {
            id: decision.id,
            time: decision.time.0,
            guest: decision.guest.to_string(),
            guest_name: decision.guest_name.clone(),
            knob: decision.knob.to_string(),
            changes: decision.changes.iter().map(ChangeRecord::from).collect(),
            why: decision.why.clone(),
            profile: decision.profile.clone(),
            expected: decision.expected,
            before: decision.before,
            after: decision.after,
            verdict: verdict_text(decision.verdict).to_owned(),
            outcome: decision.outcome.clone(),
            closed: decision.closed.map(|at| at.0),
        }
    }
}

impl From<&Original> for OriginalRecord {
    fn from(original: &Original) -> Self {
        Self {
            knob: original.knob.to_string(),
            original: original.value.to_string(),
            ours: original.ours.to_string(),
        }
    }
}

/// A CPU and who wants it; names are those of the view.
pub(super) fn cpu_load(CpuUse { load, guests }: &CpuUse, view: &View) -> CpuLoadRecord {
    let demand = |(id, demand): &(GuestId, f64)| DemandRecord {
        guest: id.to_string(),
        guest_name: view.guests.get(id).map(|guest| guest.name.clone()).unwrap_or_default(),
        demand: cpus(*demand),
    };
    CpuLoadRecord {
        cpu: load.cpu,
        demand: cpus(load.demand),
        idle: load.idle.map(share),
        over_committed: load.is_over_committed(),
        has_room: load.is_idle(),
        guests: guests.iter().map(demand).collect(),
    }
}

impl From<Note> for NoteRecord {
    fn from(Note { time, guest, text }: Note) -> Self {
        Self { time: time.0, guest, text }
    }
}

/// The guest with this UUID or name among those of the view.
pub(super) fn find_guest(view: &View, text: &str) -> Result<GuestId, Error> {
    if let Some(id) = text.parse().ok().filter(|id| view.guests.contains_key(id)) {
        return Ok(id);
    }
    let named = view.guests.iter().find(|(_, guest)| guest.name == text);
    named.map(|(id, _)| *id).ok_or_else(|| Error::NotFound(format!("no guest '{text}' on this host")))
}

/// Like [`find_guest`], but the guest may be gone: a UUID is taken as it is, a name is looked up in the newest decisions.
fn find_past_guest(view: &View, text: &str) -> Result<GuestId, Error> {
    let past = || view.decisions.iter().find(|d| d.guest_name == text).map(|d| d.guest);
    find_guest(view, text).or_else(|error| text.parse().ok().or_else(past).ok_or(error))
}

/// The argument of `Decisions` and `Notes`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Filter {
    /// Only of this guest.
    pub(super) guest: Option<GuestId>,
    /// Only made at or after this time, ms since the epoch.
    pub(super) since: Option<i64>,
    /// At most so many.
    pub(super) limit: u32,
}

/// How many decisions or notes come back if the caller does not say.
const DEFAULT_LIMIT: u32 = 100;

impl Filter {
    /// From the dictionary; an unknown key or a value of another type is refused by name.
    pub(super) fn from_dict(dict: HashMap<String, OwnedVariant>, view: &View) -> Result<Self, Error> {
        let mut filter = Self { guest: None, since: None, limit: DEFAULT_LIMIT };
        for (key, value) in dict {
            let bad = |want: &str| Error::InvalidArgs(format!("filter key '{key}': want {want}"));
            match key.as_str() {
                "guest" => {
                    let text: String = value.try_into().map_err(|_| bad("a string"))?;
                    filter.guest = Some(find_past_guest(view, &text)?);
                }
                "since" => filter.since = Some(value.try_into().map_err(|_| bad("an int64"))?),
                "limit" => {
                    let limit = value.try_into().map_err(|_| bad("a uint32"))?;
                    if !(1..=MAX_DECISIONS).contains(&limit) {
                        return Err(bad(&format!("1 to {MAX_DECISIONS}, not {limit}")));
                    }
                    filter.limit = limit;
                }
                _ => {
                    let text = format!("unknown filter key '{key}': want guest, since or limit");
                    return Err(Error::InvalidArgs(text));
                }
            }
        }
        Ok(filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_guest_looks_the_same_at_every_tick() {
        let guest =
            |cores, bps| GuestView { cpu_cores: Some(cores), write_bps: Some(bps), ..GuestView::default() };
        assert!(!differ(&guest(0.0012, 0.0), &guest(0.0031, 0.3)));
        assert!(differ(&guest(0.0012, 0.0), &guest(0.011, 0.0)));
        assert!(differ(&guest(0.0012, 0.0), &guest(0.0012, 0.6)));
    }
}
