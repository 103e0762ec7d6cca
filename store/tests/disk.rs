//! Real full and hanging file systems: control goes on, the loss is said, nothing is corrupted, and it heals by itself.
//! Mounts need root; each test makes its own in a mount namespace of its own, so that nothing stays whatever happens.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod common;

use common::{decision, original, sample, taken};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use trimtab_store::{Health, Options, Reader, Store, StoreError};

/// A file system of its own, unmounted at the end.
struct Mount {
    at: PathBuf,
    _root: tempfile::TempDir,
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {text}")) }
}

/// Runs the body in a mount namespace of its own: this binary again, with only the test of this name. Says why, where that
/// cannot be done; a failure where TRIMTAB_REQUIRE_LIVE=1.
fn isolated(test: &str, body: impl FnOnce()) {
    const INSIDE: &str = "TRIMTAB_TEST_MOUNT_NAMESPACE";
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        let why = "mounting a file system needs root";
        let required = std::env::var_os("TRIMTAB_REQUIRE_LIVE").is_some_and(|value| value == "1");
        assert!(!required, "{test} cannot run and TRIMTAB_REQUIRE_LIVE=1: {why}");
        // Not eprintln!: the harness would swallow it.
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--kill-child", "--fork", "--"]);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
    assert!(String::from_utf8_lossy(&text).contains("1 passed"), "no test of the name {test}");
}

impl Mount {
    fn new(what: impl FnOnce(&Path, &Path) -> Result<(), String>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().join("mount");
        fs::create_dir(&at).unwrap();
        what(root.path(), &at).unwrap();
        Self { at, _root: root }
    }
    fn tmpfs(mib: u32) -> Self {
        Self::new(|_, at| {
            run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "none"]).arg(at))
        })
    }
    fn ext4(mib: u64) -> Self {
        Self::new(|root, at| {
            let image = root.join("image");
            fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
            run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
            run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(at))
        })
    }
    fn state(&self) -> PathBuf {
        self.at.join("state")
    }
    /// Takes all space that is left, down to the last block.
    fn fill(&self) {
        let mut ballast =
            fs::File::options().create(true).append(true).open(self.at.join("ballast")).unwrap();
        for size in [1 << 20, 4096, 1] {
            while ballast.write_all(&vec![7; size]).and_then(|()| ballast.sync_data()).is_ok() {}
        }
    }
    fn free(&self) {
        fs::remove_file(self.at.join("ballast")).unwrap();
    }
    fn freeze(&self, on: bool) {
        run(Command::new("fsfreeze").arg(if on { "-f" } else { "-u" }).arg(&self.at)).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = run(Command::new("fsfreeze").arg("-u").arg(&self.at));
        let _ = run(Command::new("umount").arg("-l").arg(&self.at));
    }
}

fn options(mount: &Mount, run: Option<&Path>) -> Options {
    Options {
        runtime_dir: run.map(Path::to_owned),
        retry: Duration::from_millis(50),
        gather: Duration::from_millis(20),
        samples_days: 40_000,
        decisions_days: 40_000,
        patience: Duration::from_secs(60),
        ..Options::new(mount.state())
    }
}

fn wait_for(store: &Store, what: &str, is: impl Fn(&Health) -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is(&store.health()) {
        assert!(Instant::now() < end, "{what}: {}", store.health());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn sound(mount: &Mount) {
    let conn = rusqlite::Connection::open(mount.state().join("journal.db")).unwrap();
    let verdict: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

/// Everything that is tried on a full disk, on the given file system.
fn full(mount: &Mount) {
    let run = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(options(mount, Some(run.path()))).unwrap();
    store.record(decision(1, "kept"));
    store.save_originals_now(vec![original(1, "cpu.shares")]).unwrap();
    store.flush().unwrap();
    mount.fill();

    // Enough that it cannot find room in pages that are there already.
    for id in 2..=100 {
        let why = "x".repeat(10_000);
        store.record(trimtab_store::DecisionRow { why, ..decision(id, "kept") });
    }
    store.record(decision(101, "pending"));
    wait_for(&store, "full", |health| !health.works());
    store.save_originals_now(vec![original(2, "cpu.shares")]).unwrap();
    store.forget_original(&original(1, "").guest, "cpu.shares");
    let text = store.health().to_string();
    let mirror = run.path().join("originals.json").display().to_string();
    assert!(text.starts_with("not writing: ") && text.contains("lost so far: nothing"), "{text}");
    assert!(text.contains(&mirror), "{text}");
    assert_eq!(store.read_now(|reader| reader.decision(101)).unwrap(), Some(decision(101, "pending")));
    for tick in 0..100 {
        store.samples((0..100).map(|guest| sample(tick * 1000, guest)));
    }
    wait_for(&store, "loss said", |health| health.lost.samples > 0 && health.to_string().contains("samples"));
    assert_eq!(store.health().lost.decisions, 0);
    drop(store);

    // A new start while the disk is still full knows everything that matters.
    let (store, loaded) = Store::open(options(mount, Some(run.path()))).unwrap();
    assert_eq!(loaded.originals, [original(2, "cpu.shares")]);
    assert_eq!((loaded.pending, loaded.last_decision), (vec![decision(101, "pending")], 101));
    wait_for(&store, "still full", |health| !health.works());
    store.record(decision(101, "reverted"));
    mount.free();
    wait_for(&store, "healed", Health::works);
    store.flush().unwrap();
    assert!(store.health().to_string().starts_with("ok"), "{}", store.health());
    let rows = store.read_now(|reader| reader.decisions(&Default::default())).unwrap();
    assert_eq!(rows.len(), 101);
    assert_eq!(rows[0], decision(101, "reverted"));
    let notes = store.read_now(|reader| reader.notes(None, 9)).unwrap();
    assert!(notes.iter().any(|note| note.text.contains("not written for")), "{notes:?}");
    drop(store);
    sound(mount);
    let (_, loaded) = Store::open(options(mount, None)).unwrap();
    assert_eq!(loaded.originals, [original(2, "cpu.shares")], "the file has them too by now");
}

#[test]
fn a_full_tmpfs() {
    isolated("a_full_tmpfs", || {
        full(&Mount::tmpfs(12));
    });
}

#[test]
fn a_full_ext4() {
    isolated("a_full_ext4", || {
        full(&Mount::ext4(24));
    });
}

#[test]
fn full_from_the_start_without_a_mirror() {
    isolated("full_from_the_start_without_a_mirror", || {
        let mount = Mount::tmpfs(4);
        {
            let (store, _) = Store::open(options(&mount, None)).unwrap();
            store.save_originals_now(vec![original(1, "cpu.shares")]).unwrap();
            store.record(decision(7, "pending"));
        }
        mount.fill();
        let (store, loaded) = Store::open(options(&mount, None)).unwrap();
        assert_eq!(loaded.originals, [original(1, "cpu.shares")]);
        assert_eq!((loaded.pending, loaded.last_decision), (vec![decision(7, "pending")], 7));
        let refused = store.save_originals_now(vec![original(2, "cpu.shares")]);
        if refused.is_err() {
            assert_eq!(
                store.originals(),
                [original(1, "cpu.shares")],
                "what was refused counts as never saved"
            );
        }
        mount.free();
        wait_for(&store, "healed", Health::works);
        store.save_originals_now(vec![original(3, "cpu.shares")]).unwrap();
        assert_eq!(store.read_now(Reader::originals).unwrap(), store.originals());
        drop(store);
        sound(&mount);
    });
}

#[test]
fn a_new_journal_on_a_full_disk() {
    isolated("a_new_journal_on_a_full_disk", || {
        let mount = Mount::tmpfs(4);
        fs::create_dir(mount.state()).unwrap();
        mount.fill();
        let (store, loaded) = Store::open(options(&mount, None)).unwrap();
        assert_eq!(loaded, trimtab_store::Loaded::default());
        store.record(decision(1, "advised"));
        wait_for(&store, "full", |health| !health.works());
        store.save_originals_now(vec![original(1, "cpu.shares")]).unwrap_err();
        assert_eq!(store.originals(), []);
        store.record_open(decision(2, "pending")).unwrap_err();
        mount.free();
        wait_for(&store, "healed", Health::works);
        store.flush().unwrap();
        assert_eq!(store.read_now(|reader| reader.decisions(&Default::default())).unwrap()[0].id, 2);
        drop(store);
        sound(&mount);
    });
}

#[test]
fn a_full_runtime_directory_falls_back_to_the_disk() {
    isolated("a_full_runtime_directory_falls_back_to_the_disk", || {
        let run = Mount::tmpfs(1);
        let disk = tempfile::tempdir().unwrap();
        let runtime_dir = Some(run.at.clone());
        let options = Options { runtime_dir, patience: Duration::from_secs(60), ..Options::new(disk.path()) };
        let (store, _) = Store::open(options.clone()).unwrap();
        store.save_originals_now(vec![original(1, "cpu.shares")]).unwrap();
        run.fill();
        let many: Vec<_> = (0..2000).map(|guest| original(guest, "cpu.shares")).collect();
        store.save_originals_now(many.clone()).unwrap();
        drop(store);
        let (_, loaded) = Store::open(options).unwrap();
        assert_eq!(loaded.originals, many, "an outdated mirror must not win");
    });
}

const KILLED_STATE: &str = "TRIMTAB_TEST_KILLED_STATE";
const KILLED_RUN: &str = "TRIMTAB_TEST_KILLED_RUN";
const KILLED_VERDICT: &str = "TRIMTAB_TEST_KILLED_VERDICT";

/// Not a test by itself: the process that is killed while the disk does not answer. Says when it has the journal open,
/// waits for a word, and says when the decision may be acted upon, or has its verdict.
#[test]
fn killed_writer() {
    let Some(state) = std::env::var_os(KILLED_STATE) else { return };
    let runtime_dir = std::env::var_os(KILLED_RUN).map(PathBuf::from);
    let (store, _) = Store::open(Options { runtime_dir, ..Options::new(state) }).unwrap();
    store.flush().unwrap();
    let say = |word: &str| writeln!(std::io::stderr(), "{word}").unwrap();
    say("open");
    std::io::stdin().read_exact(&mut [0]).unwrap();
    store.record_open(decision(1, "pending")).unwrap();
    store.save_originals_now(vec![original(1, "cpu.shares")]).unwrap();
    store.save_override(taken(2, "priority")).unwrap();
    let verdict = std::env::var(KILLED_VERDICT).unwrap();
    store.record(decision(1, &verdict));
    say("safe");
    loop {
        std::thread::park();
    }
}

/// Runs it on a disk that freezes once the journal is open, and kills it there when it has said that all is safe.
fn killed_while_frozen(mount: &Mount, run: &Path, verdict: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "killed_writer", "--nocapture"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    command.env(KILLED_STATE, mount.state()).env(KILLED_RUN, run).env(KILLED_VERDICT, verdict);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "open");
    mount.freeze(true);
    child.stdin.take().unwrap().write_all(&[1]).unwrap();
    let said = lines.next().map(Result::unwrap);
    child.kill().unwrap();
    // Its thread cannot die while it is in the frozen file system.
    mount.freeze(false);
    child.wait().unwrap();
    assert_eq!(said.as_deref(), Some("safe"), "{verdict}: it waited for the disk");
}

/// A decision whose knobs may be turned by now is found open by the next start, one with its verdict is not, what the admin has
/// taken over is his, and none of it depends on a disk that does not answer.
#[test]
fn a_kill_while_the_disk_is_frozen_leaves_no_knob_without_its_decision_or_its_admin() {
    isolated("a_kill_while_the_disk_is_frozen_leaves_no_knob_without_its_decision_or_its_admin", || {
        for verdict in ["pending", "kept"] {
            let mount = Mount::ext4(24);
            let run = tempfile::tempdir().unwrap();
            killed_while_frozen(&mount, run.path(), verdict);
            let journal = rusqlite::Connection::open(mount.state().join("journal.db")).unwrap();
            let n = journal.query_row("SELECT count(*) FROM decisions", [], |row| row.get::<_, i64>(0));
            assert_eq!(n.unwrap(), 0, "{verdict}: the disk took it, nothing is shown by this");
            drop(journal);

            let (store, loaded) = Store::open(options(&mount, Some(run.path()))).unwrap();
            let known = decision(1, verdict);
            let open = if verdict == "pending" { vec![known.clone()] } else { Vec::new() };
            assert_eq!((loaded.pending, loaded.last_decision), (open, 1), "{verdict}");
            assert_eq!(loaded.originals, [original(1, "cpu.shares")]);
            assert_eq!(loaded.overrides, [taken(2, "priority")]);
            assert_eq!(store.read_now(|reader| reader.decision(1)).unwrap(), Some(known));
        }
    });
}

/// A disk that does not answer at all: nothing but a question about the past waits for it.
#[test]
fn a_frozen_ext4_holds_up_nobody() {
    isolated("a_frozen_ext4_holds_up_nobody", || {
        let mount = Mount::ext4(24);
        let run = tempfile::tempdir().unwrap();
        let patience = Duration::from_millis(500);
        let (store, _) = Store::open(Options { patience, ..options(&mount, Some(run.path())) }).unwrap();
        store.record(decision(1, "kept"));
        store.flush().unwrap();
        mount.freeze(true);
        for id in 2..=50 {
            store.record_open(decision(id, "pending")).unwrap();
            store.record(decision(id, "kept"));
            store.samples((0..100).map(|guest| sample(id as i64 * 1000, guest)));
            store.save_originals_now(vec![original(id as u32, "cpu.shares")]).unwrap();
            store.save_override(taken(id as u32, "priority")).unwrap();
        }
        assert!(store.flush().is_err(), "nothing can have been written");
        assert_eq!(store.originals().len(), 49);
        mount.freeze(false);
        while let Err(error) = store.flush() {
            assert!(matches!(error, StoreError::Timeout { .. }), "{error}");
        }
        assert_eq!(store.read_now(|reader| reader.decisions(&Default::default())).unwrap()[0].id, 50);
        assert_eq!(store.read_now(Reader::originals).unwrap().len(), 49);
        drop(store);
        sound(&mount);
    });
}
