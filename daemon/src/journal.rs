//! Policy's records as rows of the journal, and back.
//!
//! Structured parts are JSON text: the store knows no policy types, and a journal must stay readable to a human with a
//! plain SQLite shell. May not: open or write the store.

use trimtab_policy::decision::{Decision, Lesson, Original, Override};
use trimtab_policy::units::UnixMs;
use trimtab_store::{DecisionRow, LessonRow, OriginalRow, OverrideRow};

/// A row of the journal does not say what it should. The row is skipped and reported, never guessed.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// A text column is not what it should be.
    #[error("journal: {table} {key}: column {column} holds {value:?}")]
    Text {
        /// Table.
        table: &'static str,
        /// Row.
        key: String,
        /// Column.
        column: &'static str,
        /// Its content.
        value: String,
    },
}

fn to_json<T: serde::Serialize>(value: &T) -> String {
    // Plain data with string keys always encodes; an empty text would be reported when it is read.
    serde_json::to_string(value).unwrap_or_default()
}

fn from_json<T: serde::de::DeserializeOwned>(
    table: &'static str,
    key: &str,
    column: &'static str,
    text: &str,
) -> Result<T, RowError> {
    serde_json::from_str(text).map_err(|_| RowError::Text {
        table,
        key: key.to_owned(),
        column,
        value: text.to_owned(),
    })
}

/// Enums with lower-case names travel as bare words.
fn word<T: serde::Serialize>(value: &T) -> String {
    to_json(value).trim_matches('"').to_owned()
}

/// A decision as a row.
pub fn decision_row(d: &Decision) -> DecisionRow {
    DecisionRow {
        id: d.id,
        time_ms: d.time.0,
        guest: d.guest.to_string(),
        guest_name: d.guest_name.clone(),
        knob: word(&d.knob),
        changes: to_json(&d.changes),
        why: d.why.clone(),
        profile: d.profile.clone(),
        recipe: d.recipe.clone(),
        expected: d.expected.is_finite().then_some(d.expected),
        before: d.before,
        after: d.after,
        verdict: word(&d.verdict),
        outcome: d.outcome.clone(),
        closed_ms: d.closed.map(|c| c.0),
    }
}

/// A row as a decision.
///
/// # Errors
/// A column that holds something else than `decision_row` writes.
pub fn decision(row: &DecisionRow) -> Result<Decision, RowError> {
    let key = row.id.to_string();
    let table = "decisions";
    Ok(Decision {
        id: row.id,
        time: UnixMs(row.time_ms),
        guest: from_json(table, &key, "guest", &format!("\"{}\"", row.guest))?,
        guest_name: row.guest_name.clone(),
        knob: from_json(table, &key, "knob", &format!("\"{}\"", row.knob))?,
        changes: from_json(table, &key, "changes", &row.changes)?,
        why: row.why.clone(),
        profile: row.profile.clone(),
        recipe: row.recipe.clone(),
        expected: row.expected.unwrap_or(0.0),
        before: row.before,
        after: row.after,
        verdict: from_json(table, &key, "verdict", &format!("\"{}\"", row.verdict))?,
        outcome: row.outcome.clone(),
        closed: row.closed_ms.map(UnixMs),
    })
}

/// An original as a row.
pub fn original_row(o: &Original) -> OriginalRow {
    OriginalRow {
        guest: o.guest.to_string(),
        guest_name: o.guest_name.clone(),
        pid: o.pid,
        knob: o.knob.to_string(),
        value: to_json(&o.value),
        ours: to_json(&o.ours),
        back_to: o.back_to.as_ref().map(to_json),
    }
}

/// A row as an original.
///
/// # Errors
/// A column that holds something else than `original_row` writes.
pub fn original(row: &OriginalRow) -> Result<Original, RowError> {
    let table = "originals";
    let key = format!("{}/{}", row.guest, row.knob);
    Ok(Original {
        guest: from_json(table, &key, "guest", &format!("\"{}\"", row.guest))?,
        guest_name: row.guest_name.clone(),
        pid: row.pid,
        knob: from_json(table, &key, "knob", &format!("\"{}\"", row.knob))?,
        value: from_json(table, &key, "value", &row.value)?,
        ours: from_json(table, &key, "ours", &row.ours)?,
        back_to: row.back_to.as_deref().map(|text| from_json(table, &key, "back_to", text)).transpose()?,
    })
}

/// An override as a row.
pub fn override_row(o: &Override) -> OverrideRow {
    OverrideRow {
        guest: o.guest.to_string(),
        guest_name: o.guest_name.clone(),
        pid: o.pid,
        family: o.family.to_string(),
        why: o.why.clone(),
        time_ms: o.time.0,
    }
}

/// A row as an override.
///
/// # Errors
/// A column that holds something else than `override_row` writes.
pub fn override_of(row: &OverrideRow) -> Result<Override, RowError> {
    let table = "overrides";
    let key = format!("{}/{}", row.guest, row.family);
    Ok(Override {
        guest: from_json(table, &key, "guest", &format!("\"{}\"", row.guest))?,
        guest_name: row.guest_name.clone(),
        pid: row.pid,
        family: from_json(table, &key, "family", &format!("\"{}\"", row.family))?,
        why: row.why.clone(),
        time: UnixMs(row.time_ms),
    })
}

/// A lesson as a row.
pub fn lesson_row(l: &Lesson) -> LessonRow {
    LessonRow {
        profile: l.profile.clone(),
        recipe: l.recipe.clone(),
        tried: l.tried,
        kept: l.kept,
        mean_gain: l.mean_gain,
        error: l.error,
        failures: l.failures,
        last_ms: l.last.0,
    }
}

/// A row as a lesson.
pub fn lesson(row: &LessonRow) -> Lesson {
    Lesson {
        profile: row.profile.clone(),
        recipe: row.recipe.clone(),
        tried: row.tried,
        kept: row.kept,
        mean_gain: row.mean_gain,
        error: row.error,
        failures: row.failures,
        last: UnixMs(row.last_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimtab_policy::decision::{Change, Verdict};
    use trimtab_policy::knob::{Family, Knob, KnobValue};
    use trimtab_policy::topology::CpuSet;
    use trimtab_policy::units::GuestId;

    fn sample() -> Decision {
        let change = Change {
            guest: GuestId([7; 16]),
            guest_name: "a \"quoted\" name".to_owned(),
            knob: Knob::IothreadAffinity(2),
            from: KnobValue::Cpus(CpuSet::first(4)),
            to: KnobValue::Cpus(CpuSet::one(3)),
        };
        Decision {
            id: 12,
            time: UnixMs(1_700_000_000_123),
            guest: GuestId([7; 16]),
            guest_name: "a \"quoted\" name".to_owned(),
            knob: Family::Placement,
            changes: vec![change],
            why: "because".to_owned(),
            profile: "p".to_owned(),
            recipe: "isolate-io".to_owned(),
            expected: 0.25,
            before: Some(0.4),
            after: None,
            verdict: Verdict::Pending,
            outcome: String::new(),
            closed: None,
        }
    }

    #[test]
    fn a_decision_survives_the_journal() {
        let d = sample();
        let row = decision_row(&d);
        assert_eq!((row.knob.as_str(), row.verdict.as_str()), ("placement", "pending"));
        assert_eq!(decision(&row).unwrap(), d);
    }

    #[test]
    fn a_damaged_row_is_named_not_guessed() {
        let row = DecisionRow { verdict: "maybe".to_owned(), ..decision_row(&sample()) };
        let text = decision(&row).unwrap_err().to_string();
        assert!(text.contains("decisions 12: column verdict") && text.contains("maybe"), "{text}");
    }

    #[test]
    fn an_original_survives_the_journal() {
        let o = Original {
            guest: GuestId([1; 16]),
            guest_name: "g".to_owned(),
            pid: Some(7),
            knob: Knob::CpuShares,
            value: KnobValue::Shares(1024),
            ours: KnobValue::Shares(4096),
            back_to: None,
        };
        let on_its_way = Original { back_to: Some(KnobValue::Shares(1024)), ..o.clone() };
        assert_eq!(original(&original_row(&o)).unwrap(), o);
        assert_eq!(original(&original_row(&on_its_way)).unwrap(), on_its_way);
    }

    #[test]
    fn an_override_survives_the_journal() {
        let o = Override {
            guest: GuestId([1; 16]),
            guest_name: "g".to_owned(),
            pid: None,
            family: Family::Priority,
            why: "cpu.shares was set to 7 by somebody else".to_owned(),
            time: UnixMs(5),
        };
        assert_eq!(override_of(&override_row(&o)).unwrap(), o);
    }
}
