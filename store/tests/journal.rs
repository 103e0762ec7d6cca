//! The journal without faults: what goes in comes out, across restarts, within its bounds.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod common;

use common::{decision, original, sample, taken};
use std::sync::mpsc::sync_channel;
use std::time::Duration;
use trimtab_store::{DecisionFilter, LessonRow, NoteRow, Options, Reader, SampleRow, Store, StoreError};

fn options(dir: &tempfile::TempDir) -> Options {
    let keep = 40_000; // days: the rows of these tests are from 1970 on
    let runtime_dir = Some(dir.path().join("run"));
    Options {
        runtime_dir,
        samples_days: keep,
        decisions_days: keep,
        ..Options::new(dir.path().join("state"))
    }
}

/// All samples in the file, as an admin reads them.
fn samples(dir: &tempfile::TempDir) -> Vec<SampleRow> {
    let file = rusqlite::Connection::open(dir.path().join("state/journal.db")).unwrap();
    let sql = "SELECT time_ms, guest, guest_name, cpu_cores, run_delay, read_bps, write_bps, speed \
               FROM sample_values ORDER BY time_ms, guest";
    let mut rows = file.prepare(sql).unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        Ok(SampleRow {
            time_ms: row.get(0)?,
            guest: row.get(1)?,
            guest_name: row.get(2)?,
            cpu_cores: row.get(3)?,
            run_delay: row.get(4)?,
            read_bps: row.get(5)?,
            write_bps: row.get(6)?,
            speed: row.get(7)?,
        })
    };
    rows.query_map([], row).unwrap().map(Result::unwrap).collect()
}

#[test]
fn rows_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let lesson = LessonRow {
        profile: "io".into(),
        recipe: "isolate-io".into(),
        tried: 3,
        kept: 2,
        ..Default::default()
    };
    let note = NoteRow { time_ms: 5, guest: None, text: "override seen".into() };
    {
        let (store, loaded) = Store::open(options(&dir)).unwrap();
        assert_eq!(loaded, trimtab_store::Loaded::default());
        store.record(decision(1, "kept"));
        store.record(decision(2, "pending"));
        store.learn(lesson.clone());
        store.note(note.clone());
        store.samples([sample(1000, 1), sample(2000, 1), sample(2000, 2)]);
        store.save_originals_now(vec![original(1, "cpu.shares"), original(1, "vcpu0.affinity")]).unwrap();
        store.forget_original(&original(1, "cpu.shares").guest, "cpu.shares");
        store.save_override(taken(1, "placement")).unwrap();
        store.save_override(taken(1, "priority")).unwrap();
        store.forget_override(&taken(1, "priority").guest, "priority");
        assert_eq!(store.health().to_string(), "ok");
    }
    let (store, loaded) = Store::open(options(&dir)).unwrap();
    assert_eq!(loaded.pending, [decision(2, "pending")]);
    assert_eq!(loaded.lessons, [lesson]);
    assert_eq!(loaded.last_decision, 2);
    assert_eq!(loaded.originals, [original(1, "vcpu0.affinity")]);
    assert_eq!(loaded.overrides, [taken(1, "placement")]);
    assert_eq!(loaded.said, [""; 0]);
    assert_eq!(store.read_now(Reader::originals).unwrap(), loaded.originals, "file and mirror agree");
    assert_eq!(store.read_now(|r| r.notes(None, 10)).unwrap(), [note]);
    assert_eq!(samples(&dir), [sample(1000, 1), sample(2000, 1), sample(2000, 2)]);
}

#[test]
fn decisions_are_filtered_and_waiting_ones_count() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(options(&dir)).unwrap();
    for id in 1..=20 {
        store.record(decision(id, if id == 20 { "pending" } else { "reverted" }));
    }
    let ids = |filter: DecisionFilter| {
        let rows = store.read_now(move |r| r.decisions(&filter)).unwrap();
        rows.iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let all = DecisionFilter::default();
    assert_eq!(ids(all.clone()).len(), 20);
    assert_eq!(ids(DecisionFilter { limit: 3, ..all.clone() }), [20, 19, 18]);
    assert_eq!(ids(DecisionFilter { since_ms: Some(decision(19, "").time_ms), ..all.clone() }), [20, 19]);
    let touched =
        DecisionFilter { guest: Some("99999999-2222-3333-4444-555555555555".into()), ..all.clone() };
    assert_eq!(ids(touched).len(), 20);
    let only = |verdict: &str| DecisionFilter { verdict: Some(verdict.into()), ..all.clone() };
    assert_eq!((ids(only("pending")), ids(only("kept"))), (vec![20], vec![]));
    let unknown = DecisionFilter { guest: Some("00000000-2222-3333-4444-555555555555".into()), ..all };
    assert!(ids(unknown).is_empty());
    assert_eq!(store.read_now(|r| r.decision(7)).unwrap(), Some(decision(7, "reverted")));
    assert_eq!(store.read_now(|r| r.decision(21)).unwrap(), None);
    assert_eq!(store.read_now(Reader::pending).unwrap(), [decision(20, "pending")]);
    store.record(decision(20, "kept"));
    assert_eq!(store.read_now(Reader::pending).unwrap(), []);
    assert_eq!(store.read_now(|reader| reader.decisions(&Default::default())).unwrap()[0].id, 20);
}

#[test]
fn notes_are_filtered_and_waiting_ones_count() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(options(&dir)).unwrap();
    let note =
        |n: i64, guest: &str| NoteRow { time_ms: n, guest: Some(guest.to_owned()), text: n.to_string() };
    store.note(note(1, "a"));
    store.note(note(2, "b"));
    store.flush().unwrap();
    // The journal's thread is held up while more come, and answers before it writes.
    let (let_go, held) = sync_channel::<()>(0);
    store.read(move |_| Ok(held.recv()), drop);
    store.note(note(3, "a"));
    store.note(note(4, "b"));
    let (tell, told) = sync_channel(2);
    for guest in [None, Some("a")] {
        let tell = tell.clone();
        let done = move |rows: Result<Vec<NoteRow>, StoreError>| tell.send(rows).unwrap();
        store.read(move |reader| reader.notes(guest, 3), done);
    }
    let_go.send(()).unwrap();
    let times = || told.recv().unwrap().unwrap().iter().map(|note| note.time_ms).collect::<Vec<_>>();
    assert_eq!((times(), times()), (vec![4, 3, 2], vec![3, 1]));
}

#[test]
fn originals_without_a_mirror_wait_for_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) =
        Store::open(Options { patience: Duration::from_secs(60), ..Options::new(dir.path()) }).unwrap();
    store.save_originals_now(vec![original(3, "cpu.shares")]).unwrap();
    let other = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    let n: i64 = other.query_row("SELECT count(*) FROM originals", [], |row| row.get(0)).unwrap();
    assert_eq!(n, 1);
    store.record_open(decision(1, "pending")).unwrap();
    let n: i64 = other.query_row("SELECT count(*) FROM decisions", [], |row| row.get(0)).unwrap();
    assert_eq!(n, 1, "open decisions likewise");
}

/// The journal's thread is held up, as a disk would: without a mirror an open decision is not safe, and that is said in time.
#[test]
fn an_open_decision_without_a_mirror_waits_no_longer_than_is_bearable() {
    let dir = tempfile::tempdir().unwrap();
    let bare = Options { patience: Duration::from_millis(50), ..Options::new(dir.path()) };
    let (store, _) = Store::open(bare).unwrap();
    let (let_go, held) = sync_channel::<()>(1);
    store.read(
        move |_| {
            let _ = held.recv();
            Ok(())
        },
        drop,
    );
    let error = store.record_open(decision(1, "pending")).unwrap_err();
    assert!(matches!(error, StoreError::Timeout { .. }), "{error}");
    drop(let_go);
}

#[test]
fn the_mirror_wins_unless_a_later_run_did_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let mirrored = options(&dir);
    let bare = Options { runtime_dir: None, ..mirrored.clone() };
    drop(Store::open(mirrored.clone()).unwrap());
    {
        let (store, _) = Store::open(bare.clone()).unwrap();
        store.save_originals_now(vec![original(1, "cpu.shares")]).unwrap();
        store.save_override(taken(1, "placement")).unwrap();
    }
    let (store, loaded) = Store::open(mirrored.clone()).unwrap();
    assert_eq!(loaded.originals, [original(1, "cpu.shares")], "the mirror is older here");
    assert_eq!(loaded.overrides, [taken(1, "placement")]);
    drop(store);
    // Rows that only the mirror has (the disk was full), and rows that it no longer has.
    let file = mirrored.runtime_dir.clone().unwrap().join("originals.json");
    let replace = |old: &str, new: &str| {
        std::fs::write(&file, std::fs::read_to_string(&file).unwrap().replace(old, new)).unwrap();
    };
    replace("cpu.shares", "cpu.nice");
    replace("placement", "priority");
    let (store, loaded) = Store::open(mirrored.clone()).unwrap();
    assert_eq!(loaded.originals, [original(1, "cpu.nice")]);
    assert_eq!(loaded.overrides, [taken(1, "priority")]);
    store.flush().unwrap();
    assert_eq!(store.read_now(Reader::originals).unwrap(), loaded.originals);
    drop(store);
    // A mirror of a daemon that did not have overrides in it says nothing of them; the journal agrees with the last one.
    replace("\"overrides\"", "\"unheard-of\"");
    let (store, loaded) = Store::open(mirrored).unwrap();
    assert_eq!(loaded.overrides, [taken(1, "priority")]);
    drop(store);
    assert_eq!(Store::open(bare).unwrap().1.overrides, [taken(1, "priority")]);
}

#[test]
fn two_journals_share_a_runtime_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = options(&dir);
    let second = Options { state_dir: dir.path().join("other"), ..first.clone() };
    for (n, options) in [&first, &second, &first, &second].into_iter().enumerate() {
        let (store, loaded) = Store::open(options.clone()).unwrap();
        assert_eq!(loaded.originals.len(), n / 2, "each finds its own");
        store.save_originals_now(vec![original(n as u32, "cpu.shares")]).unwrap();
    }
    let files = std::fs::read_dir(first.runtime_dir.unwrap()).unwrap().count();
    assert_eq!(files, 2);
}

/// As if the daemon had run until then.
fn aged_to(dir: &tempfile::TempDir, time_ms: i64) {
    let file = rusqlite::Connection::open(dir.path().join("state/journal.db")).unwrap();
    file.execute("INSERT OR REPLACE INTO meta(key, value) VALUES('aged_to', ?1)", [time_ms]).unwrap();
}

#[test]
fn rows_grow_old_but_the_newest_decisions_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(Options { samples_days: 1, decisions_days: 1, ..options(&dir) }).unwrap();
    store.samples((0..100).map(|n| sample(n, 1)));
    for id in 1..=300 {
        store.record(decision(id, if id == 7 { "pending" } else { "kept" }));
    }
    store.flush().unwrap();
    drop(store); // the next start looks after the file at once
    aged_to(&dir, i64::MAX);
    let (store, _) = Store::open(Options { samples_days: 1, decisions_days: 1, ..options(&dir) }).unwrap();
    let left = || {
        store.flush().unwrap();
        let samples = samples(&dir).iter().filter(|row| row.guest == sample(0, 1).guest).count();
        (samples, store.read_now(|reader| reader.decisions(&DecisionFilter::default())).unwrap())
    };
    // Each look takes a bounded bite.
    for _ in 0..500 {
        store.samples((0..5000).map(|n| sample(n, 2)));
        let (samples, decisions) = left();
        if samples == 0 && decisions.len() <= 101 {
            let ids: Vec<_> = decisions.iter().map(|row| row.id).collect();
            assert_eq!((ids.len(), ids[0], ids[99], ids[100]), (101, 300, 201, 7), "{ids:?}");
            return;
        }
    }
    panic!("{} samples, {} decisions", left().0, left().1.len());
}

#[test]
fn a_start_with_a_clock_that_is_years_ahead_takes_no_history_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let then = decision(0, "").time_ms; // years before the clock of this machine
    {
        let (store, _) = Store::open(options(&dir)).unwrap();
        store.samples((0..100).map(|n| sample(then + n, 1)));
        (1..=300).for_each(|id| store.record(decision(id, "kept")));
        store.note(NoteRow { time_ms: then, ..Default::default() });
    }
    let file = rusqlite::Connection::open(dir.path().join("state/journal.db")).unwrap();
    aged_to(&dir, then + 300_000);
    let count = |table: &str| -> i64 {
        file.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    for _ in 0..3 {
        let (store, _) =
            Store::open(Options { samples_days: 1, decisions_days: 1, ..options(&dir) }).unwrap();
        // Enough to be looked after before the minute is over, with the wrong time in them.
        store.samples((0..5000).map(|n| sample(then + 86_400_000_000 + n, 1)));
        store.flush().unwrap();
    }
    assert_eq!((count("decisions"), count("notes"), count("samples")), (300, 1, 5100));
}

#[test]
fn a_reader_that_never_ends_costs_samples_but_no_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(options(&dir)).unwrap();
    store.record(decision(1, "kept"));
    store.flush().unwrap();
    let reader = rusqlite::Connection::open(dir.path().join("state/journal.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM decisions").unwrap();
    let log = || std::fs::metadata(dir.path().join("state/journal.db-wal")).unwrap().len();
    for id in 2..400 {
        store.samples((0..2000).map(|guest| sample(id * 5000, guest)));
        store.flush().unwrap();
        if store.health().lost.samples > 0 {
            break;
        }
    }
    let size = log();
    assert!(
        store.health().lost.samples > 0 && (4 << 20..6 << 20).contains(&size),
        "{size} {}",
        store.health()
    );
    assert!(store.health().to_string().contains("another program reads the journal"), "{}", store.health());
    reader.execute_batch("COMMIT").unwrap();
    let lost = store.health().lost;
    store.samples([sample(1_000_000_000, 1)]);
    store.flush().unwrap();
    assert_eq!(store.health().lost, lost);
    assert!(log() < 2 << 20, "{}", log());
}

#[test]
fn a_second_store_is_refused_by_name_and_pid() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(options(&dir)).unwrap();
    let error = Store::open(options(&dir)).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, StoreError::InUse { pid: Some(pid), .. } if pid == std::process::id()), "{text}");
    assert!(text.contains("state/journal.db") && text.contains(&std::process::id().to_string()), "{text}");
    drop(first);
    Store::open(options(&dir)).unwrap();
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(options(&dir)).unwrap());
    let file = dir.path().join("state/journal.db");
    rusqlite::Connection::open(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = std::fs::read(&file).unwrap();
    let error = Store::open(options(&dir)).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn the_size_is_bounded_and_the_newest_rows_stay() {
    let dir = tempfile::tempdir().unwrap();
    let limit = 8 << 20;
    let options = Options { max_bytes: limit, ..options(&dir) };
    let (store, _) = Store::open(options.clone()).unwrap();
    let mut largest = 0;
    for id in 1..=1000 {
        store.record(trimtab_store::DecisionRow { why: "x".repeat(6000), ..decision(id, "kept") });
        store.samples((0..100).map(|guest| sample(id as i64 * 5000, guest)));
        if id % 50 == 0 {
            store.flush().unwrap();
            let files = std::fs::read_dir(&options.state_dir).unwrap();
            largest = files.map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>().max(largest);
        }
    }
    assert!(largest <= limit, "{largest} bytes");
    assert!(largest > limit / 4, "the limit was never near: {largest} bytes");
    assert_eq!(store.health().to_string(), "ok");
    assert_eq!(store.read_now(|reader| reader.decisions(&Default::default())).unwrap()[0].id, 1000);
    assert!(store.read_now(|r| r.decision(950)).unwrap().is_some());
}
