//! Queries. What is still waiting in memory counts as written: a decision can be explained before the disk has it.

use crate::error::StoreError;
use crate::rows::{DecisionRow, LessonRow, NoteRow, OriginalRow, OverrideRow, PENDING, checksum};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

/// Which decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecisionFilter {
    /// Only those for the good of this guest, or that turned one of its knobs (UUID text).
    pub guest: Option<String>,
    /// Only those made at or after this time.
    pub since_ms: Option<i64>,
    /// Only those with this verdict.
    pub verdict: Option<String>,
    /// At most so many; 0 means all.
    pub limit: u32,
}

impl DecisionFilter {
    fn takes(&self, row: &DecisionRow) -> bool {
        self.guest.as_ref().is_none_or(|guest| row.guest == *guest || row.changes.contains(guest.as_str()))
            && self.since_ms.is_none_or(|since| row.time_ms >= since)
            && self.verdict.as_ref().is_none_or(|verdict| row.verdict == *verdict)
    }
    fn limit(&self) -> usize {
        if self.limit == 0 { usize::MAX } else { self.limit as usize }
    }
}

/// The journal as it is now, to be asked from within [`crate::Store::read`].
#[derive(Debug)]
pub struct Reader {
    pub(crate) conn: Connection,
    pub(crate) file: PathBuf,
    /// Decisions that are not written yet.
    pub(crate) waiting: BTreeMap<u64, DecisionRow>,
    /// Notes likewise, oldest first.
    pub(crate) waiting_notes: VecDeque<NoteRow>,
}

const DECISION: &str = "SELECT id, time_ms, guest, guest_name, knob, changes, why, profile, expected, before, after, \
                        verdict, outcome, closed_ms, sum, recipe FROM decisions";

impl Reader {
    fn fail(&self, action: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
        let file = self.file.clone();
        move |source| match source {
            rusqlite::Error::FromSqlConversionFailure(_, _, what) => {
                StoreError::Damaged { file, what: what.to_string() }
            }
            source => StoreError::Sqlite { file, action, source },
        }
    }

    /// Decisions, newest first.
    ///
    /// # Errors
    /// `Sqlite` or `Damaged`.
    pub fn decisions(&self, filter: &DecisionFilter) -> Result<Vec<DecisionRow>, StoreError> {
        let written = decisions(&self.conn, filter).map_err(self.fail("read decisions"))?;
        let mut rows: BTreeMap<u64, DecisionRow> = written.into_iter().map(|row| (row.id, row)).collect();
        rows.extend(
            self.waiting.iter().filter(|(_, row)| filter.takes(row)).map(|(id, row)| (*id, row.clone())),
        );
        Ok(rows.into_values().rev().take(filter.limit()).collect())
    }

    /// One decision.
    ///
    /// # Errors
    /// `Sqlite` or `Damaged`.
    pub fn decision(&self, id: u64) -> Result<Option<DecisionRow>, StoreError> {
        if let Some(row) = self.waiting.get(&id) {
            return Ok(Some(row.clone()));
        }
        let sql = format!("{DECISION} WHERE id = ?1");
        let row = self.conn.query_row(&sql, [id as i64], decision_row).optional();
        row.map_err(self.fail("read a decision"))
    }

    /// Decisions whose trial still runs, oldest first.
    ///
    /// # Errors
    /// `Sqlite` or `Damaged`.
    pub fn pending(&self) -> Result<Vec<DecisionRow>, StoreError> {
        let written = pending(&self.conn).map_err(self.fail("read pending decisions"))?;
        let mut rows: BTreeMap<u64, DecisionRow> = written.into_iter().map(|row| (row.id, row)).collect();
        rows.extend(self.waiting.iter().map(|(id, row)| (*id, row.clone())));
        Ok(rows.into_values().filter(DecisionRow::is_pending).collect())
    }

    /// The newest notes, newest first, at most `limit`; only those about `guest` (UUID text) if one is named.
    ///
    /// # Errors
    /// `Sqlite` or `Damaged`.
    pub fn notes(&self, guest: Option<&str>, limit: u32) -> Result<Vec<NoteRow>, StoreError> {
        let sql =
            "SELECT time_ms, guest, text FROM notes WHERE ?1 IS NULL OR guest = ?1 ORDER BY id DESC LIMIT ?2";
        let row = |row: &Row<'_>| Ok(NoteRow { time_ms: row.get(0)?, guest: row.get(1)?, text: row.get(2)? });
        let written = rows(&self.conn, sql, params![guest, limit], row).map_err(self.fail("read notes"))?;
        let wanted = |note: &&NoteRow| guest.is_none() || note.guest.as_deref() == guest;
        let waiting = self.waiting_notes.iter().rev().filter(wanted).cloned();
        Ok(waiting.chain(written).take(limit as usize).collect())
    }

    /// All originals as the file has them (the running daemon's truth is [`crate::Store::originals`]).
    ///
    /// # Errors
    /// `Sqlite`, or `Damaged` if one does not match its checksum.
    pub fn originals(&self) -> Result<Vec<OriginalRow>, StoreError> {
        let (good, mut damaged) = originals_that_read(&self.conn).map_err(self.fail("read originals"))?;
        if damaged.is_none() {
            damaged = Together::Originals.damage(&self.conn).map_err(self.fail("read originals"))?;
        }
        match damaged {
            None => Ok(good),
            Some(what) => Err(StoreError::Damaged { file: self.file.clone(), what }),
        }
    }
}

fn rows<T>(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    conn.prepare_cached(sql)?.query_map(params, row)?.collect()
}

fn damaged(what: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, what.into())
}

fn decision_row(row: &Row<'_>) -> rusqlite::Result<DecisionRow> {
    let found = DecisionRow {
        id: row.get::<_, i64>(0)? as u64,
        time_ms: row.get(1)?,
        guest: row.get(2)?,
        guest_name: row.get(3)?,
        knob: row.get(4)?,
        changes: row.get(5)?,
        why: row.get(6)?,
        profile: row.get(7)?,
        expected: row.get(8)?,
        before: row.get(9)?,
        after: row.get(10)?,
        verdict: row.get(11)?,
        outcome: row.get(12)?,
        closed_ms: row.get(13)?,
        recipe: row.get(15)?,
    };
    if row.get::<_, i64>(14)? != found.checksum() {
        return Err(damaged(format!("decision {} does not match its checksum", found.id)));
    }
    Ok(found)
}

fn decisions(conn: &Connection, filter: &DecisionFilter) -> rusqlite::Result<Vec<DecisionRow>> {
    let sql = format!(
        "{DECISION} WHERE (?1 IS NULL OR guest = ?1 OR instr(changes, ?1) > 0) AND (?2 IS NULL OR time_ms >= ?2) \
         AND (?3 IS NULL OR verdict = ?3) ORDER BY id DESC LIMIT ?4"
    );
    let limit = if filter.limit == 0 { -1 } else { i64::from(filter.limit) };
    rows(conn, &sql, params![filter.guest, filter.since_ms, filter.verdict, limit], decision_row)
}

pub(crate) fn pending(conn: &Connection) -> rusqlite::Result<Vec<DecisionRow>> {
    rows(conn, &format!("{DECISION} WHERE verdict = '{PENDING}' ORDER BY id"), [], decision_row)
}

pub(crate) fn last_decision(conn: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT max(coalesce((SELECT max(id) FROM decisions), 0), \
               coalesce((SELECT value FROM meta WHERE key = 'last_decision'), 0))";
    conn.query_row(sql, [], |row| Ok(row.get::<_, i64>(0)? as u64))
}

/// Number of the last run that could write, 0 if there was none.
pub(crate) fn last_run(conn: &Connection) -> rusqlite::Result<i64> {
    Ok(meta(conn, "run")?.unwrap_or(0))
}

pub(crate) fn meta(conn: &Connection, key: &str) -> rusqlite::Result<Option<i64>> {
    conn.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
}

/// Rows that a start acts upon, all together: one that vanished whole has no checksum of its own to be missed by. Each has
/// the key of its sum in `meta`, what it is called, and the query for the sums of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Together {
    Originals,
    Overrides,
    Pending,
}

impl Together {
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Originals => "originals_sum",
            Self::Overrides => "overrides_sum",
            Self::Pending => "pending_sum",
        }
    }

    /// As the rows are.
    pub(crate) fn sum(self, conn: &Connection) -> rusqlite::Result<i64> {
        let sql = match self {
            Self::Originals => "SELECT sum FROM originals ORDER BY guest, knob",
            // Those of a daemon that gave them none count as 0.
            Self::Overrides => "SELECT coalesce(sum, 0) FROM overrides ORDER BY guest, family",
            Self::Pending => "SELECT sum FROM decisions WHERE verdict = 'pending' ORDER BY id",
        };
        let sums = rows(conn, sql, [], |row| Ok(row.get::<_, i64>(0)?.to_string()))?;
        Ok(checksum(sums.iter().map(String::as_str)))
    }

    /// What is wrong with them, if they are not what was written last. A journal from before these sums has none to differ.
    pub(crate) fn damage(self, conn: &Connection) -> rusqlite::Result<Option<String>> {
        let (written, found) = (meta(conn, self.key())?, self.sum(conn)?);
        let what = match self {
            Self::Originals => "originals",
            Self::Overrides => "overrides",
            Self::Pending => "pending decisions",
        };
        let differ = written.is_some_and(|written| written != found);
        Ok(differ.then(|| format!("{what} were lost: together they do not match their checksum")))
    }
}

pub(crate) fn lessons(conn: &Connection) -> rusqlite::Result<Vec<LessonRow>> {
    let sql = "SELECT profile, recipe, tried, kept, mean_gain, failures, last_ms, error FROM lessons ORDER BY profile, recipe";
    rows(conn, sql, [], |row| {
        Ok(LessonRow {
            profile: row.get(0)?,
            recipe: row.get(1)?,
            tried: row.get(2)?,
            kept: row.get(3)?,
            mean_gain: row.get::<_, Option<f64>>(4)?.unwrap_or(0.0),
            failures: row.get(5)?,
            last_ms: row.get(6)?,
            error: row.get(7)?,
        })
    })
}

/// The overrides that can be read, and what is wrong with one, if anything. One that does not match its checksum stays all the
/// same: at worst it keeps Trimtab's hands off a knob that nobody took over.
pub(crate) fn overrides(conn: &Connection) -> rusqlite::Result<(Vec<OverrideRow>, Option<String>)> {
    let sql =
        "SELECT guest, family, guest_name, pid, why, time_ms, sum FROM overrides ORDER BY guest, family";
    let row = |row: &Row<'_>| -> rusqlite::Result<(OverrideRow, bool)> {
        let found = OverrideRow {
            guest: row.get(0)?,
            family: row.get(1)?,
            guest_name: row.get(2)?,
            pid: row.get(3)?,
            why: row.get(4)?,
            time_ms: row.get(5)?,
        };
        let right = row.get::<_, Option<i64>>(6)?.is_none_or(|sum| sum == found.checksum());
        Ok((found, right))
    };
    let (mut all, mut damage) = (Vec::new(), None);
    // One that is no text any more must not take the others with it.
    for found in rows(conn, sql, [], |r| Ok(row(r)))? {
        let what = match found {
            Ok((found, right)) => {
                let what =
                    format!("override of {} {} does not match its checksum", found.guest, found.family);
                all.push(found);
                (!right).then_some(what)
            }
            Err(error) => Some(format!("an override is not readable: {error}")),
        };
        damage = damage.or(what);
    }
    Ok((all, damage))
}

/// The originals that match their checksum, and which one does not, if any.
pub(crate) fn originals_that_read(conn: &Connection) -> rusqlite::Result<(Vec<OriginalRow>, Option<String>)> {
    let sql =
        "SELECT guest, knob, guest_name, pid, value, ours, back_to, sum FROM originals ORDER BY guest, knob";
    let original = |row: &Row<'_>| -> rusqlite::Result<Result<OriginalRow, String>> {
        let original = OriginalRow {
            guest: row.get(0)?,
            knob: row.get(1)?,
            guest_name: row.get(2)?,
            pid: row.get(3)?,
            value: row.get(4)?,
            ours: row.get(5)?,
            back_to: row.get(6)?,
        };
        if row.get::<_, i64>(7)? == original.checksum() {
            return Ok(Ok(original));
        }
        Ok(Err(format!("original of {} {} does not match its checksum", original.guest, original.knob)))
    };
    // One that is no text any more must not take the others with it.
    let any = |row: &Row<'_>| {
        Ok(original(row).unwrap_or_else(|error| Err(format!("an original is not readable: {error}"))))
    };
    let (mut good, mut damage) = (Vec::new(), None);
    for found in rows(conn, sql, [], any)? {
        match found {
            Ok(row) => good.push(row),
            Err(what) => damage = damage.or(Some(what)),
        }
    }
    Ok((good, damage))
}
