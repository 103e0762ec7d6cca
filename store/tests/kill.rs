//! kill -9 of a writer at any moment: the file stays sound and nothing that was acknowledged is lost.
//!
//! The writer is this test binary, run again with an environment variable.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod common;

use common::{decision, original, sample, taken};
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use trimtab_store::{Options, Store};

const DIR: &str = "TRIMTAB_TEST_WRITER_DIR";
const FIRST: &str = "TRIMTAB_TEST_WRITER_FIRST";
const MIRROR: &str = "TRIMTAB_TEST_WRITER_MIRROR";

fn options(dir: &Path, mirror: bool) -> Options {
    let runtime_dir = mirror.then(|| dir.join("run"));
    let patience = Duration::from_secs(60);
    Options {
        runtime_dir,
        patience,
        samples_days: 40_000,
        decisions_days: 40_000,
        ..Options::new(dir.join("state"))
    }
}

/// Not a test by itself: the process to be killed. Says every number once it is safe.
#[test]
fn writer() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let first: u32 = std::env::var(FIRST).unwrap().parse().unwrap();
    let (store, _) = Store::open(options(&dir, std::env::var_os(MIRROR).is_some())).unwrap();
    // Whole lines: a kill must not leave half of one, which would be no number.
    let say = |word: &str, n: u32| std::io::stderr().write_all(format!("{word} {n}\n").as_bytes()).unwrap();
    for n in first.. {
        store.save_originals_now(vec![original(n, "cpu.shares")]).unwrap();
        store.save_override(taken(n, "priority")).unwrap();
        say("saved", n);
        store.record(decision(u64::from(n), "pending"));
        store.record(decision(u64::from(n), "kept"));
        store.samples((0..50).map(|guest| sample(i64::from(n), guest)));
        if n > first && n % 3 == 0 {
            store.forget_original(&original(n - 1, "").guest, "cpu.shares");
            store.flush().unwrap();
            say("flushed", n);
        }
    }
}

/// Lets a writer run until it has said a few lines and then some, kills it, returns what it said.
fn killed_writer(dir: &Path, first: u32, mirror: bool, lines: usize, then: Duration) -> Vec<(String, u32)> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "writer", "--nocapture"]);
    command.env(DIR, dir).env(FIRST, first.to_string()).stdout(Stdio::null()).stderr(Stdio::piped());
    if mirror {
        command.env(MIRROR, "1");
    }
    let mut child = command.spawn().unwrap();
    let mut said = Vec::new();
    let out = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut kill_at = None;
    for line in out {
        let line = line.unwrap();
        let (word, n) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
        said.push((word.to_owned(), n.parse().unwrap_or_else(|_| panic!("{line}"))));
        if said.len() == lines {
            kill_at = Some(Instant::now() + then);
        }
        if kill_at.is_some_and(|at| Instant::now() >= at) {
            child.kill().unwrap();
            kill_at = None;
        }
    }
    child.wait().unwrap();
    said
}

/// One test at a time: a process that is just being started still has every file of this one, locks included, until it runs
/// its own program, so that a store which another test has closed would be in use for a moment longer.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn survives(mirror: bool) {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let mut kept = BTreeSet::new();
    let mut handed_over = BTreeSet::new();
    let mut flushed = BTreeSet::new();
    let mut first = 1;
    for round in 0..12 {
        let said =
            killed_writer(dir.path(), first, mirror, 1 + round * 3, Duration::from_millis(7 * round as u64));
        let last_saved = said.iter().filter(|(word, _)| word == "saved").map(|(_, n)| *n).max().unwrap();
        kept.extend((first..=last_saved).filter(|n| (n + 1) % 3 != 0 || *n >= last_saved - 2));
        handed_over.extend((first..=last_saved).map(|n| original(n, "").guest));
        flushed.extend(said.iter().filter(|(word, _)| word == "flushed").map(|(_, n)| u64::from(*n)));

        let file = dir.path().join("state/journal.db");
        let conn = rusqlite::Connection::open(&file).unwrap();
        let verdict: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(verdict, "ok", "round {round}");
        drop(conn);

        let (store, loaded) = Store::open(options(dir.path(), mirror)).unwrap();
        assert_eq!(loaded.said, [""; 0]);
        let found: BTreeSet<_> = loaded.originals.iter().map(|row| row.guest.clone()).collect();
        // An original that was being forgotten may or may not be there any more.
        for n in kept.iter().filter(|n| (**n + 1) % 3 != 0) {
            assert!(found.contains(&original(*n, "").guest), "round {round}: original {n} was acknowledged");
        }
        let found: BTreeSet<_> = loaded.overrides.iter().map(|row| row.guest.clone()).collect();
        let missing: Vec<_> = handed_over.difference(&found).collect();
        assert!(missing.is_empty(), "round {round}: overrides of {missing:?} were acknowledged");
        for n in &flushed {
            let row = store
                .read_now({
                    let n = *n;
                    move |reader| reader.decision(n)
                })
                .unwrap();
            assert_eq!(row, Some(decision(*n, "kept")), "round {round}: decision {n} was committed");
        }
        first = last_saved + 10;
    }
    assert!(
        !flushed.is_empty() && kept.len() > 50,
        "the writers never got anywhere: {} {}",
        flushed.len(),
        kept.len()
    );
}

#[test]
fn acknowledged_originals_and_overrides_survive_kill_9_with_a_mirror() {
    survives(true);
}

#[test]
fn acknowledged_originals_and_overrides_survive_kill_9_without_a_mirror() {
    survives(false);
}

#[test]
fn a_second_process_is_refused_and_the_dead_one_is_not_in_the_way() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(options(dir.path(), false)).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "writer", "--nocapture"]).env(DIR, dir.path()).env(FIRST, "1");
    let refused = command.output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(text.contains("InUse") && text.contains(&std::process::id().to_string()), "{text}");
    drop(store);
    killed_writer(dir.path(), 1, false, 1, Duration::ZERO);
    Store::open(options(dir.path(), false)).unwrap();
}
