//! Keeps the file within its size: old samples go first, then old notes and old closed decisions.
//!
//! No clock is believed when it says that all of it is old: see [`aged_to`].

use crate::file;
use crate::read;
use rusqlite::{Connection, params};
use std::time::Duration;

/// Rows deleted in one step, so that no transaction is long or large.
const SAMPLES_STEP: i64 = 4096;
const OTHERS_STEP: i64 = 128;
/// More pages than a transaction may have wanted when it was refused.
const BATCH_PAGES: i64 = 512;
/// Decisions and notes that are kept whatever their age or the size.
const KEPT: i64 = 100;
/// Lessons that are kept, the newest; a policy remembers as many. Their keys are combinations without end.
const MAX_LESSONS: i64 = 2048;
/// Pages given back to the file system in one step.
const VACUUM_STEP: i64 = 1024;
const DAY_MS: i64 = 86_400_000;
/// Key in `meta` of what [`aged_to`] was last.
pub(crate) const AGED_TO: &str = "aged_to";
/// Rows grow old at most so many times as fast as time passes. A clock that is wrong for an hour costs the oldest ten hours; what
/// grew old while a host was off for a month is gone after little more than three days.
const CATCH_UP: i64 = 10;

/// How long rows are kept, in days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retention {
    pub(crate) samples_days: u32,
    pub(crate) decisions_days: u32,
}

/// The time that the age of rows is measured against: that of the clock, but no further from what it was last than the
/// daemon has run since, [`CATCH_UP`] times. A clock that jumps ahead, or is wrong at a start, thus takes no history with it.
pub(crate) fn aged_to(conn: &Connection, ran: Duration, now_ms: i64) -> rusqlite::Result<i64> {
    let last = match read::meta(conn, AGED_TO)? {
        Some(last) => last,
        // Of an earlier release: its newest row stands for the last time that somebody looked.
        None => newest(conn)?.unwrap_or(now_ms),
    };
    let passed = i64::try_from(ran.as_millis()).unwrap_or(i64::MAX).saturating_mul(CATCH_UP);
    Ok(now_ms.min(last.saturating_add(passed)))
}

/// Prunes by age, then by size, then gives free pages back. Each step is a transaction of its own; cheap when there is
/// nothing to do.
pub(crate) fn run(conn: &Connection, max_bytes: u64, keep: Retention, aged_to: i64) -> rusqlite::Result<()> {
    by_age(conn, keep, aged_to)?;
    lessons(conn)?;
    let max_pages = file::max_pages(max_bytes);
    if used_pages(conn)? > max_pages / 10 * 9 {
        while used_pages(conn)? > max_pages / 100 * 85 && shrink(conn)? {}
    }
    let free = number(conn, "freelist_count")?;
    if free > number(conn, "page_count")? / 10 {
        // The pragma works one page a step and reports each as a row.
        let mut vacuum = conn.prepare(&format!("PRAGMA incremental_vacuum({})", free.min(VACUUM_STEP)))?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
    }
    // A file larger than a limit that was lowered could not be given the limit when it was opened.
    conn.pragma_update_and_check(None, "max_page_count", max_pages, |_| Ok(()))?;
    Ok(())
}

/// Makes room at once, because SQLite says that there is none: at the file's own limit like `run`, on a full disk (where
/// deleted rows leave pages to be used again) at the cost of samples only. Whether anything could be deleted.
pub(crate) fn make_room(conn: &Connection) -> rusqlite::Result<bool> {
    let at_limit = number(conn, "page_count")? + BATCH_PAGES >= number(conn, "max_page_count")?;
    if at_limit { shrink(conn) } else { Ok(samples(conn, i64::MAX)? > 0) }
}

fn shrink(conn: &Connection) -> rusqlite::Result<bool> {
    if samples(conn, i64::MAX)? > 0 {
        return Ok(true);
    }
    Ok(decisions(conn, i64::MAX)? + notes(conn, i64::MAX)? > 0)
}

fn newest(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT max(t) FROM (SELECT max(time_ms) AS t FROM samples UNION ALL SELECT max(time_ms) FROM decisions \
               UNION ALL SELECT max(time_ms) FROM notes)";
    conn.query_row(sql, [], |row| row.get(0))
}

fn by_age(conn: &Connection, keep: Retention, aged_to: i64) -> rusqlite::Result<()> {
    let before = |days: u32| aged_to.saturating_sub(i64::from(days) * DAY_MS);
    samples(conn, before(keep.samples_days))?;
    decisions(conn, before(keep.decisions_days))?;
    notes(conn, before(keep.decisions_days))?;
    Ok(())
}

fn samples(conn: &Connection, before_ms: i64) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM samples WHERE (time_ms, guest) IN \
               (SELECT time_ms, guest FROM samples WHERE time_ms < ?1 ORDER BY time_ms LIMIT ?2)";
    let deleted = conn.execute(sql, params![before_ms, SAMPLES_STEP])?;
    if deleted > 0 {
        let sql = "DELETE FROM guests WHERE last_ms < coalesce((SELECT min(time_ms) FROM samples), ?1)";
        conn.execute(sql, [i64::MAX])?;
    }
    Ok(deleted)
}

fn decisions(conn: &Connection, before_ms: i64) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM decisions WHERE id IN (SELECT id FROM decisions WHERE time_ms < ?1 AND verdict <> 'pending' \
               AND id <= (SELECT max(id) FROM decisions) - ?2 ORDER BY id LIMIT ?3)";
    conn.execute(sql, params![before_ms, KEPT, OTHERS_STEP])
}

fn notes(conn: &Connection, before_ms: i64) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM notes WHERE id IN (SELECT id FROM notes WHERE time_ms < ?1 \
               AND id <= (SELECT max(id) FROM notes) - ?2 ORDER BY id LIMIT ?3)";
    conn.execute(sql, params![before_ms, KEPT, OTHERS_STEP])
}

/// By number alone: how old a lesson is says nothing of its worth.
fn lessons(conn: &Connection) -> rusqlite::Result<usize> {
    let over = conn.query_row("SELECT count(*) FROM lessons", [], |row| row.get::<_, i64>(0))? - MAX_LESSONS;
    if over <= 0 {
        return Ok(0);
    }
    let sql = "DELETE FROM lessons WHERE (profile, recipe) IN \
               (SELECT profile, recipe FROM lessons ORDER BY last_ms LIMIT ?1)";
    conn.execute(sql, [over.min(OTHERS_STEP)])
}

fn used_pages(conn: &Connection) -> rusqlite::Result<i64> {
    Ok(number(conn, "page_count")? - number(conn, "freelist_count")?)
}

fn number(conn: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, pragma, |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    const JUMP: i64 = 800 * DAY_MS;
    const NOW: i64 = 1_700_000_000_000;

    fn journal() -> Connection {
        let mut conn = Connection::open_in_memory().unwrap();
        schema::migrate(&mut conn, 0).unwrap();
        conn
    }

    #[test]
    fn the_oldest_lessons_go_when_there_are_too_many() {
        let conn = journal();
        let insert = "INSERT INTO lessons SELECT 'p' || value, 'r', 1, 1, 0.1, 0, value, NULL FROM generate";
        let generate =
            "WITH RECURSIVE generate(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM generate LIMIT ?1)";
        conn.execute(&format!("{generate} {insert}"), [MAX_LESSONS + OTHERS_STEP + 5]).unwrap();
        let left = |conn: &Connection| -> (i64, i64) {
            let sql = "SELECT count(*), min(last_ms) FROM lessons";
            conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
        };
        let keep = Retention { samples_days: 1, decisions_days: 1 };
        run(&conn, 64 << 20, keep, NOW).unwrap();
        assert_eq!(left(&conn), (MAX_LESSONS + 5, OTHERS_STEP + 1), "in steps");
        run(&conn, 64 << 20, keep, NOW).unwrap();
        run(&conn, 64 << 20, keep, NOW).unwrap();
        assert_eq!(left(&conn), (MAX_LESSONS, OTHERS_STEP + 6));
    }

    #[test]
    fn rows_grow_old_no_faster_than_ten_times_the_time_that_passed() {
        let conn = journal();
        let minute = Duration::from_secs(60);
        assert_eq!(aged_to(&conn, minute, NOW).unwrap(), NOW, "a new journal");
        conn.execute("INSERT INTO notes(time_ms, text) VALUES(?1, '')", [NOW]).unwrap();
        assert_eq!(aged_to(&conn, Duration::ZERO, NOW + JUMP).unwrap(), NOW, "of an earlier release");
        conn.execute("INSERT INTO meta(key, value) VALUES(?1, ?2)", params![AGED_TO, NOW]).unwrap();
        conn.execute("INSERT INTO notes(time_ms, text) VALUES(?1, '')", [NOW + JUMP]).unwrap();
        assert_eq!(aged_to(&conn, Duration::ZERO, NOW + JUMP).unwrap(), NOW, "a start");
        assert_eq!(aged_to(&conn, minute, NOW + JUMP).unwrap(), NOW + 600_000, "ahead");
        assert_eq!(aged_to(&conn, minute, NOW + 60_000).unwrap(), NOW + 60_000, "right");
        assert_eq!(aged_to(&conn, minute, NOW - JUMP).unwrap(), NOW - JUMP, "back");
        assert_eq!(aged_to(&conn, Duration::MAX, NOW).unwrap(), NOW);
    }
}
