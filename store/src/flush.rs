//! One transaction: a batch of rows into the file.

use crate::pending::Pending;
use crate::read::Together;
use crate::rows::SampleRow;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

/// Writes the batch, all or nothing. Decisions, overrides, notes and lessons reach the medium before this returns (a power loss must
/// not take the line that says what was done last); samples and originals reach the kernel, which is enough against the
/// death of the process: originals do not outlive the host's memory anyway, and a sample is not worth a flush.
pub(crate) fn batch(conn: &mut Connection, batch: &Pending) -> rusqlite::Result<()> {
    let durable = !(batch.decisions.is_empty()
        && batch.overrides.is_empty()
        && batch.lessons.is_empty()
        && batch.notes.is_empty());
    conn.pragma_update(None, "synchronous", if durable { "FULL" } else { "NORMAL" })?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    decisions(&tx, batch)?;
    originals(&tx, batch)?;
    overrides(&tx, batch)?;
    meta(&tx, batch)?;
    lessons_and_notes(&tx, batch)?;
    samples(&tx, batch.samples.iter())?;
    tx.commit()
}

fn meta(tx: &Transaction<'_>, batch: &Pending) -> rusqlite::Result<()> {
    let mut put = tx.prepare_cached("INSERT OR REPLACE INTO meta(key, value) VALUES(?1, ?2)")?;
    for (key, value) in &batch.meta {
        put.execute(params![key, value])?;
    }
    let changed = [
        (Together::Originals, batch.originals.is_empty()),
        (Together::Overrides, batch.overrides.is_empty()),
        (Together::Pending, batch.decisions.is_empty()),
    ];
    for (rows, _) in changed.into_iter().filter(|(_, same)| !same) {
        put.execute(params![rows.key(), rows.sum(tx)?])?;
    }
    Ok(())
}

fn decisions(tx: &Transaction<'_>, batch: &Pending) -> rusqlite::Result<()> {
    let mut put = tx.prepare_cached(
        "INSERT OR REPLACE INTO decisions(id, time_ms, guest, guest_name, knob, changes, why, profile, expected, before, \
         after, verdict, outcome, closed_ms, sum, recipe) \
         VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
    )?;
    for row in batch.decisions.values() {
        put.execute(params![
            row.id as i64,
            row.time_ms,
            row.guest,
            row.guest_name,
            row.knob,
            row.changes,
            row.why,
            row.profile,
            row.expected,
            row.before,
            row.after,
            row.verdict,
            row.outcome,
            row.closed_ms,
            row.checksum(),
            row.recipe,
        ])?;
    }
    Ok(())
}

fn originals(tx: &Transaction<'_>, batch: &Pending) -> rusqlite::Result<()> {
    let mut put = tx.prepare_cached(
        "INSERT OR REPLACE INTO originals(guest, knob, guest_name, pid, value, ours, back_to, sum) \
         VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    let mut delete = tx.prepare_cached("DELETE FROM originals WHERE guest = ?1 AND knob = ?2")?;
    for ((guest, knob), row) in &batch.originals {
        match row {
            Some(row) => {
                let (sum, name) = (row.checksum(), &row.guest_name);
                put.execute(params![guest, knob, name, row.pid, row.value, row.ours, row.back_to, sum])?
            }
            None => delete.execute(params![guest, knob])?,
        };
    }
    Ok(())
}

fn overrides(tx: &Transaction<'_>, batch: &Pending) -> rusqlite::Result<()> {
    let mut put = tx.prepare_cached(
        "INSERT OR REPLACE INTO overrides(guest, family, guest_name, pid, why, time_ms, sum) \
         VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let mut delete = tx.prepare_cached("DELETE FROM overrides WHERE guest = ?1 AND family = ?2")?;
    for ((guest, family), row) in &batch.overrides {
        match row {
            Some(row) => {
                let (sum, name) = (row.checksum(), &row.guest_name);
                put.execute(params![guest, family, name, row.pid, row.why, row.time_ms, sum])?
            }
            None => delete.execute(params![guest, family])?,
        };
    }
    Ok(())
}

fn lessons_and_notes(tx: &Transaction<'_>, batch: &Pending) -> rusqlite::Result<()> {
    let mut put = tx.prepare_cached(
        "INSERT OR REPLACE INTO lessons(profile, recipe, tried, kept, mean_gain, failures, last_ms, error) \
         VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for row in batch.lessons.values() {
        put.execute(params![
            row.profile,
            row.recipe,
            row.tried,
            row.kept,
            row.mean_gain,
            row.failures,
            row.last_ms,
            row.error
        ])?;
    }
    let mut put = tx.prepare_cached("INSERT INTO notes(time_ms, guest, text) VALUES(?1, ?2, ?3)")?;
    for row in &batch.notes {
        put.execute(params![row.time_ms, row.guest, row.text])?;
    }
    Ok(())
}

fn samples<'a>(tx: &Transaction<'_>, rows: impl Iterator<Item = &'a SampleRow>) -> rusqlite::Result<()> {
    let mut number = tx.prepare_cached(
        "INSERT INTO guests(uuid, name, last_ms) VALUES(?1, ?2, ?3) \
         ON CONFLICT(uuid) DO UPDATE SET name = excluded.name, last_ms = max(last_ms, excluded.last_ms) RETURNING n",
    )?;
    let mut put = tx.prepare_cached(
        "INSERT OR REPLACE INTO samples(time_ms, guest, cpu_milli, delay_permille, read_kib, write_kib, speed_permille) \
         VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for row in rows {
        let guest: i64 =
            number.query_row(params![row.guest, row.guest_name, row.time_ms], |row| row.get(0))?;
        put.execute(params![
            row.time_ms,
            guest,
            packed(row.cpu_cores, 1e3),
            packed(row.run_delay, 1e3),
            packed(row.read_bps, 1.0 / 1024.0),
            packed(row.write_bps, 1.0 / 1024.0),
            packed(row.speed, 1e3),
        ])?;
    }
    Ok(())
}

/// SQLite stores small integers in one to four bytes, a float always in eight.
fn packed(value: Option<f64>, scale: f64) -> Option<i64> {
    value.filter(|value| value.is_finite()).map(|value| (value * scale).round() as i64)
}
