//! Damaged files: found, moved aside, said, and what could still be read goes on.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod common;

use common::{decision, original, sample, taken};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use trimtab_store::{Loaded, Options, Reader, Store};

fn options(dir: &Path) -> Options {
    let keep = 40_000;
    Options {
        samples_days: keep,
        decisions_days: keep,
        retry: Duration::from_millis(50),
        patience: Duration::from_secs(60),
        ..Options::new(dir)
    }
}

/// In memory where possible: what a flush costs does not matter here, and there are many.
fn tempdir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn journal(dir: &Path) -> PathBuf {
    dir.join("journal.db")
}

/// Journals that were moved aside. Their logs and indexes, which go with them if SQLite left any, do not count.
fn moved(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let stamp =
        |name: &str| name.strip_prefix("journal.db.corrupt-").is_some_and(|n| n.parse::<u64>().is_ok());
    let mut names: Vec<_> = names.filter(|name| stamp(name)).collect();
    names.sort();
    names
}

/// Writes more than SQLite caches.
fn outgrow_the_cache(store: &Store) {
    for id in 1..=299 {
        store.record(trimtab_store::DecisionRow { why: "x".repeat(10_000), ..decision(id, "kept") });
    }
    store.flush().unwrap();
}

/// Overwrites a part of a file that is in use, as a broken disk would do it: the same inode, never shorter.
fn spoil(file: &Path, from: u64) {
    let file = fs::File::options().write(true).open(file).unwrap();
    let bytes = vec![0x5a; (file.metadata().unwrap().len() - from) as usize];
    file.write_all_at(&bytes, from).unwrap();
}

/// A journal with something in every table, closed.
fn filled(dir: &Path) {
    let (store, _) = Store::open(options(dir)).unwrap();
    for id in 1..=300 {
        store.record(decision(id, if id == 300 { "pending" } else { "kept" }));
        store.samples((0..20).map(|guest| sample(id as i64 * 1000, guest)));
    }
    store.save_originals_now((0..50).map(|guest| original(guest, "cpu.shares")).collect()).unwrap();
    store.save_override(taken(50, "priority")).unwrap();
}

/// Opens what was damaged, checks that it was moved and that the new one works.
fn replaced(dir: &Path) -> Loaded {
    let (store, loaded) = Store::open(options(dir)).unwrap();
    let names = moved(dir);
    assert_eq!(names.len(), 1, "{:?}", loaded.said);
    assert_eq!(loaded.said.len(), 1);
    assert!(
        loaded.said[0].contains(&names[0]) && loaded.said[0].contains("a new one begun"),
        "{:?}",
        loaded.said
    );
    assert!(store.health().works() && store.health().to_string().contains(&names[0]), "{}", store.health());
    store.record(decision(loaded.last_decision + 1, "kept"));
    store.flush().unwrap();
    let notes = store.read_now(|reader| reader.notes(None, 5)).unwrap();
    assert!(notes[0].text.contains("moved to"), "{notes:?}");
    assert_eq!(
        store.read_now(|reader| reader.decisions(&Default::default())).unwrap()[0].id,
        loaded.last_decision + 1
    );
    loaded
}

#[test]
fn garbage_is_moved_aside_unchanged() {
    let dir = tempdir();
    let garbage: Vec<u8> = (0..20_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(journal(dir.path()), &garbage).unwrap();
    assert_eq!(replaced(dir.path()).last_decision, 0);
    assert_eq!(fs::read(dir.path().join(&moved(dir.path())[0])).unwrap(), garbage);
}

#[test]
fn a_database_of_somebody_else_is_not_touched() {
    let dir = tempdir();
    let other = rusqlite::Connection::open(journal(dir.path())).unwrap();
    other
        .execute_batch("PRAGMA user_version = 7; CREATE TABLE theirs(x); INSERT INTO theirs VALUES(1)")
        .unwrap();
    drop(other);
    replaced(dir.path());
    let other = rusqlite::Connection::open(dir.path().join(&moved(dir.path())[0])).unwrap();
    assert_eq!(other.query_row("SELECT x FROM theirs", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
}

#[test]
fn truncation_is_found() {
    for keep in [100, 4096, 5000, 40_960] {
        let dir = tempdir();
        filled(dir.path());
        fs::File::options().write(true).open(journal(dir.path())).unwrap().set_len(keep).unwrap();
        replaced(dir.path());
    }
}

#[test]
fn a_table_that_lost_its_name_is_missed() {
    let dir = tempdir();
    filled(dir.path());
    let file = rusqlite::Connection::open(journal(dir.path())).unwrap();
    file.execute_batch(
        "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'originals'; PRAGMA writable_schema = OFF",
    )
    .unwrap();
    drop(file);
    assert_eq!(replaced(dir.path()).last_decision, 300);
}

#[test]
fn rows_that_vanished_whole_are_missed() {
    for lost in [
        "originals WHERE guest LIKE '00000007-%'",
        "originals",
        "overrides",
        "decisions WHERE verdict = 'pending'",
    ] {
        let dir = tempdir();
        filled(dir.path());
        let file = rusqlite::Connection::open(journal(dir.path())).unwrap();
        assert!(file.execute(&format!("DELETE FROM {lost}"), []).unwrap() > 0, "{lost}");
        drop(file);
        let loaded = replaced(dir.path());
        assert!(loaded.said[0].contains("were lost"), "{:?}", loaded.said);
    }
}

#[test]
fn an_original_that_is_no_text_any_more_costs_only_itself() {
    let dir = tempdir();
    filled(dir.path());
    let file = rusqlite::Connection::open(journal(dir.path())).unwrap();
    let sql = "UPDATE originals SET value = CAST(x'b0b1' AS TEXT) WHERE guest LIKE '00000007-%'";
    assert_eq!(file.execute(sql, []).unwrap(), 1);
    drop(file);
    assert_eq!(replaced(dir.path()).originals.len(), 49);
}

#[test]
fn an_override_that_changed_is_noticed_and_stays() {
    for changed in ["why = why || '!'", "pid = pid + 1", "time_ms = 0"] {
        let dir = tempdir();
        filled(dir.path());
        let file = rusqlite::Connection::open(journal(dir.path())).unwrap();
        assert_eq!(file.execute(&format!("UPDATE overrides SET {changed}"), []).unwrap(), 1);
        drop(file);
        let loaded = replaced(dir.path());
        assert!(loaded.said[0].contains("override of"), "{:?}", loaded.said);
        assert_eq!(loaded.overrides.len(), 1, "{changed}");
    }
}

/// Those of the daemon before had no checksums.
#[test]
fn an_override_of_an_older_journal_is_taken_as_it_is() {
    let dir = tempdir();
    filled(dir.path());
    let file = rusqlite::Connection::open(journal(dir.path())).unwrap();
    file.execute_batch(
        "ALTER TABLE overrides DROP COLUMN sum; DELETE FROM meta WHERE key = 'overrides_sum'; PRAGMA user_version = 3",
    )
    .unwrap();
    drop(file);
    for _ in 0..2 {
        let (store, loaded) = Store::open(options(dir.path())).unwrap();
        assert_eq!((loaded.said.len(), loaded.overrides), (0, vec![taken(50, "priority")]));
        store.save_override(taken(51, "priority")).unwrap();
        store.forget_override(&taken(51, "priority").guest, "priority");
        store.flush().unwrap();
    }
}

#[test]
fn a_column_that_lost_its_name_is_missed() {
    for (table, column) in [
        ("originals", "value"),
        ("decisions", "changes"),
        ("overrides", "why"),
        ("samples", "speed_permille"),
    ] {
        let dir = tempdir();
        filled(dir.path());
        let file = rusqlite::Connection::open(journal(dir.path())).unwrap();
        file.execute_batch(&format!("ALTER TABLE {table} RENAME COLUMN {column} TO valve")).unwrap();
        drop(file);
        replaced(dir.path());
    }
}

#[test]
fn an_empty_file_is_a_new_journal() {
    let dir = tempdir();
    fs::write(journal(dir.path()), "").unwrap();
    let (store, loaded) = Store::open(options(dir.path())).unwrap();
    assert_eq!((loaded.said.len(), store.health().to_string()), (0, "ok".to_owned()));
}

/// Flips one bit in each of many places. Either it is found, or what is read is still right.
#[test]
fn flipped_bits_are_found_or_harmless() {
    let dir = tempdir();
    filled(dir.path());
    let good = fs::read(journal(dir.path())).unwrap();
    let (store, before) = Store::open(options(dir.path())).unwrap();
    let decisions = store.read_now(|reader| reader.decisions(&Default::default())).unwrap();
    drop(store);
    let mut found = 0;
    for n in 0..400_u64 {
        let bit = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) as usize % (good.len() * 8);
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        fs::write(journal(dir.path()), &bad).unwrap();
        // A flip in the version number makes it a journal of the future, which is refused and left alone.
        let Ok((store, loaded)) = Store::open(options(dir.path())) else { continue };
        if loaded.said.is_empty() {
            assert_eq!(loaded.originals, before.originals, "bit {bit}");
            assert_eq!(loaded.pending, before.pending, "bit {bit}");
            // The texts of decisions are checked when they are read.
            if let Ok(rows) = store.read_now(|reader| reader.decisions(&Default::default())) {
                let acted_upon =
                    |row: &trimtab_store::DecisionRow| (row.id, row.verdict.clone(), row.changes.clone());
                assert!(rows.iter().map(acted_upon).eq(decisions.iter().map(acted_upon)), "bit {bit}");
            } else {
                found += 1;
            }
        } else {
            found += 1;
            let right = |row| before.originals.contains(row);
            assert!(loaded.originals.iter().all(right), "bit {bit}: a wrong original was kept");
        }
        drop(store);
        for name in fs::read_dir(dir.path()).unwrap() {
            fs::remove_file(name.unwrap().path()).unwrap();
        }
    }
    assert!(found > 20, "only {found} of 400 flips were found");
}

#[test]
fn what_can_be_read_of_a_damaged_file_is_kept() {
    let dir = tempdir();
    filled(dir.path());
    // The last page holds samples: everything else can still be read.
    let mut bytes = fs::read(journal(dir.path())).unwrap();
    let tail = bytes.len() - 3000;
    bytes[tail..].fill(0xa5);
    fs::write(journal(dir.path()), bytes).unwrap();
    let loaded = replaced(dir.path());
    assert_eq!(loaded.originals.len(), 50);
    assert_eq!(loaded.pending, [decision(300, "pending")]);
    assert_eq!(loaded.last_decision, 300);
    drop(loaded);
    let (store, loaded) = Store::open(options(dir.path())).unwrap();
    assert_eq!((loaded.originals.len(), loaded.pending.len()), (50, 1), "they are in the new file");
    assert_eq!(loaded.overrides, [taken(50, "priority")]);
    assert_eq!(store.read_now(Reader::originals).unwrap().len(), 50);
}

#[test]
fn damage_in_use_is_found_and_originals_go_on() {
    let dir = tempdir();
    filled(dir.path());
    let (store, _) = Store::open(options(dir.path())).unwrap();
    outgrow_the_cache(&store);
    spoil(&journal(dir.path()), 4096);
    for id in 301..=400 {
        store.record(decision(id, "kept"));
        store.samples((0..20).map(|guest| sample(id as i64 * 1000, guest)));
    }
    // Some of it is still in SQLite's cache: reading it all finds the damage at the latest.
    for _ in 0..50 {
        let _ = store.flush();
        let _ = store.read_now(|reader| reader.decisions(&Default::default()));
        if !moved(dir.path()).is_empty() {
            break;
        }
    }
    assert_eq!(moved(dir.path()).len(), 1, "{}", store.health());
    store.flush().unwrap();
    assert!(store.health().works(), "{}", store.health());
    assert!(store.health().to_string().contains("moved to"), "{}", store.health());
    assert_eq!(store.read_now(Reader::originals).unwrap().len(), 50);
    drop(store);
    let (_, loaded) = Store::open(options(dir.path())).unwrap();
    assert_eq!((loaded.originals.len(), loaded.last_decision), (50, 400));
}

/// What SQLite has read it keeps in memory, all of a small journal: that must not hide what became of the file.
#[test]
fn damage_to_a_small_journal_in_use_is_found_by_the_next_write() {
    for from in [0, 4096] {
        let dir = tempdir();
        filled(dir.path());
        let (store, _) = Store::open(options(dir.path())).unwrap();
        store.flush().unwrap();
        assert_eq!(store.read_now(|reader| reader.decisions(&Default::default())).unwrap().len(), 300);
        spoil(&journal(dir.path()), from);
        store.record(decision(301, "kept"));
        store.flush().unwrap();
        assert_eq!(moved(dir.path()).len(), 1, "from {from}: {}", store.health());
        assert!(
            store.health().works() && store.health().to_string().contains("moved to"),
            "{}",
            store.health()
        );
        drop(store);
        let (_, loaded) = Store::open(options(dir.path())).unwrap();
        assert_eq!((loaded.originals.len(), loaded.last_decision), (50, 301), "from {from}");
        let open: Vec<u64> = loaded.pending.iter().map(|row| row.id).collect();
        assert_eq!(open, [300], "the trial that runs is in the new one");
        assert_eq!(loaded.overrides, [taken(50, "priority")], "so is what the admin has taken over");
    }
}

/// A page that nobody reads or writes: one of old samples, or of old decisions.
#[test]
fn damage_where_nobody_reads_is_found_when_the_journal_is_looked_after() {
    let dir = tempdir();
    filled(dir.path());
    let (store, _) = Store::open(Options { check: Duration::ZERO, ..options(dir.path()) }).unwrap();
    store.flush().unwrap();
    let file = fs::File::options().write(true).open(journal(dir.path())).unwrap();
    let middle = file.metadata().unwrap().len() / 4096 / 2;
    file.write_all_at(&[0x5a; 64], middle * 4096).unwrap();
    store.record(decision(301, "kept"));
    store.flush().unwrap();
    assert_eq!(moved(dir.path()), [""; 0], "nobody has read it");
    store.samples((0..5000).map(|n| sample(1_000_000 + n, 1))); // enough to be looked after before the minute is over
    store.flush().unwrap();
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(20));
        if !moved(dir.path()).is_empty() {
            break;
        }
    }
    assert_eq!(moved(dir.path()).len(), 1, "{}", store.health());
    store.flush().unwrap();
    assert_eq!(store.read_now(Reader::originals).unwrap().len(), 50);
}

/// SQLite does not fold the log into a file that is too short for it, and leaves log and index when it closes: they must go
/// with the damaged file, because beside the new one they would be taken for its own.
#[test]
fn the_log_of_a_file_cut_short_in_use_goes_with_it() {
    let dir = tempdir();
    filled(dir.path());
    let (store, _) = Store::open(options(dir.path())).unwrap();
    outgrow_the_cache(&store);
    fs::File::options().write(true).open(journal(dir.path())).unwrap().set_len(8192).unwrap();
    for _ in 0..50 {
        let _ = store.read_now(|reader| reader.decisions(&Default::default()));
        if !moved(dir.path()).is_empty() {
            break;
        }
    }
    let names = moved(dir.path());
    assert_eq!(names.len(), 1, "{}", store.health());
    assert!(dir.path().join(format!("{}-wal", names[0])).exists());
    store.record(decision(302, "kept"));
    store.flush().unwrap();
    drop(store);
    assert_eq!(moved(dir.path()), names, "the new one is sound");
    let (_, loaded) = Store::open(options(dir.path())).unwrap();
    assert_eq!((loaded.originals.len(), loaded.last_decision), (50, 302));
    assert_eq!(loaded.said, [""; 0]);
}

#[test]
fn a_deleted_file_is_noticed() {
    let dir = tempdir();
    filled(dir.path());
    let (store, _) = Store::open(options(dir.path())).unwrap();
    store.flush().unwrap();
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    store.samples((0..5000).map(|n| sample(n, 1))); // enough to be looked after before the minute is over
    store.flush().unwrap();
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(20));
        if journal(dir.path()).exists() {
            break;
        }
    }
    store.flush().unwrap();
    assert!(store.health().to_string().contains("deleted or replaced"), "{}", store.health());
    assert_eq!(store.read_now(Reader::originals).unwrap().len(), 50);
    let file = rusqlite::Connection::open(journal(dir.path())).unwrap();
    let last = "SELECT value FROM meta WHERE key = 'last_decision'";
    assert_eq!(file.query_row(last, [], |row| row.get::<_, i64>(0)).unwrap(), 300);
}

#[test]
fn only_a_few_damaged_files_are_kept() {
    let dir = tempdir();
    for n in 0..6 {
        fs::write(journal(dir.path()), format!("garbage {n}").repeat(100)).unwrap();
        drop(Store::open(options(dir.path())).unwrap());
    }
    let names = moved(dir.path());
    assert_eq!(names.len(), 3, "{names:?}");
    let newest = fs::read_to_string(dir.path().join(names.last().unwrap())).unwrap();
    assert!(newest.starts_with("garbage 5"), "{newest}");
}
