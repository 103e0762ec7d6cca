//! The tables and how older files become newer ones. Step n brings a file from `user_version` n to n + 1; a step that has
//! been released is never edited, only followed by another.

use rusqlite::Connection;
use std::collections::BTreeSet;

/// `PRAGMA application_id` of our files: "Trim".
pub(crate) const APPLICATION_ID: i64 = 0x5472_696d;

/// Newest `PRAGMA user_version` known here.
pub(crate) const VERSION: i64 = STEPS.len() as i64;

const STEPS: [&str; 4] = ["
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE decisions(
    id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, guest TEXT NOT NULL, guest_name TEXT NOT NULL,
    knob TEXT NOT NULL, changes TEXT NOT NULL, why TEXT NOT NULL, profile TEXT NOT NULL,
    expected REAL, before REAL, after REAL,
    verdict TEXT NOT NULL, outcome TEXT NOT NULL, closed_ms INTEGER, sum INTEGER NOT NULL) STRICT;
CREATE INDEX decisions_pending ON decisions(id) WHERE verdict = 'pending';
CREATE TABLE originals(
    guest TEXT NOT NULL, knob TEXT NOT NULL, guest_name TEXT NOT NULL, pid INTEGER,
    value TEXT NOT NULL, ours TEXT NOT NULL, sum INTEGER NOT NULL,
    PRIMARY KEY(guest, knob)) STRICT, WITHOUT ROWID;
CREATE TABLE lessons(
    profile TEXT NOT NULL, recipe TEXT NOT NULL, tried INTEGER NOT NULL, kept INTEGER NOT NULL,
    mean_gain REAL, failures INTEGER NOT NULL, last_ms INTEGER NOT NULL,
    PRIMARY KEY(profile, recipe)) STRICT, WITHOUT ROWID;
CREATE TABLE notes(id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, guest TEXT, text TEXT NOT NULL) STRICT;
CREATE TABLE guests(n INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, name TEXT NOT NULL, last_ms INTEGER NOT NULL) STRICT;
CREATE TABLE samples(
    time_ms INTEGER NOT NULL, guest INTEGER NOT NULL, cpu_milli INTEGER, delay_permille INTEGER,
    read_kib INTEGER, write_kib INTEGER, speed_permille INTEGER,
    PRIMARY KEY(time_ms, guest)) STRICT, WITHOUT ROWID;
CREATE VIEW sample_values AS
    SELECT time_ms, uuid AS guest, name AS guest_name, cpu_milli / 1e3 AS cpu_cores, delay_permille / 1e3 AS run_delay,
           read_kib * 1024.0 AS read_bps, write_kib * 1024.0 AS write_bps, speed_permille / 1e3 AS speed
    FROM samples JOIN guests ON guests.n = samples.guest;
", "
ALTER TABLE decisions ADD COLUMN recipe TEXT NOT NULL DEFAULT '';
CREATE TABLE overrides(
    guest TEXT NOT NULL, family TEXT NOT NULL, guest_name TEXT NOT NULL, pid INTEGER,
    why TEXT NOT NULL, time_ms INTEGER NOT NULL,
    PRIMARY KEY(guest, family)) STRICT, WITHOUT ROWID;
", "
ALTER TABLE originals ADD COLUMN back_to TEXT;
ALTER TABLE lessons ADD COLUMN error REAL;
", "
ALTER TABLE overrides ADD COLUMN sum INTEGER;
"];

/// Brings the file to [`VERSION`], each step in a transaction of its own. The caller has ruled out newer files.
pub(crate) fn migrate(conn: &mut Connection, from: i64) -> rusqlite::Result<()> {
    for (done, step) in STEPS.iter().enumerate().skip(usize::try_from(from).unwrap_or(0)) {
        let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        tx.execute_batch(step)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", done as i64 + 1)?;
        tx.commit()?;
    }
    Ok(())
}

/// The first column that a file brought to [`VERSION`] should have and has not: to SQLite a damaged name is another one, and
/// the rows under it would be gone without a word.
pub(crate) fn missing(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let mut sound = Connection::open_in_memory()?;
    migrate(&mut sound, 0)?;
    let found = columns(conn)?;
    Ok(columns(&sound)?.into_iter().find(|column| !found.contains(column)))
}

/// `table.column` of all tables and views.
fn columns(conn: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let sql = "SELECT m.name || '.' || c.name FROM sqlite_schema AS m JOIN pragma_table_info(m.name) AS c \
               WHERE m.type IN ('table', 'view')";
    conn.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_of_the_first_release_is_brought_up_to_date() {
        let mut conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(STEPS[0]).unwrap();
        conn.execute_batch(
            "INSERT INTO decisions VALUES(1,2,'g','n','placement','[]','w','p',0.1,NULL,NULL,'kept','o',3,4)",
        )
        .unwrap();
        migrate(&mut conn, 1).unwrap();
        let read = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
        assert_eq!(read("SELECT recipe || verdict FROM decisions"), "kept");
        assert_eq!(
            conn.query_row("SELECT count(*) FROM overrides", [], |row| row.get::<_, i64>(0)).unwrap(),
            0
        );
        assert_eq!(
            conn.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap(),
            VERSION
        );
    }
}
