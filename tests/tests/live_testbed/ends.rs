//! How a testbed ends: by itself, by a panic, killed, interrupted. Nothing of it is left.

use crate::traces::{Traces, namespaces_of};
use rustix::process::{Pid, Signal};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use trimtab_tests::testbed::{proc, reap, wait_for};
use trimtab_tests::trimtab::program;
use trimtab_tests::{GuestSpec, Options, can_run, live};

#[test]
fn live_nothing_is_left_behind() {
    let Some(tb) = live!(Options::plain(2)) else { return };
    let (tag, work, namespaces) = (tb.tag().to_owned(), tb.work().to_owned(), namespaces_of(&tb));
    tb.host(0).guest(&GuestSpec::new("g")).unwrap();
    let mut sleeper = tb.host(1).command("setsid");
    sleeper.args(["sleep", "1000"]);
    let _sleeper = tb.host(1).spawn(sleeper, &work.join("sleeper.out")).unwrap();
    let seen = Traces::of(&tag, &work, &namespaces);
    assert!(
        seen.processes.len() > 8 && !seen.groups.is_empty() && seen.files,
        "the search finds a living one: {seen:?}"
    );
    tb.down().unwrap();
    assert_eq!(Traces::of(&tag, &work, &namespaces), Traces::none());

    // A panic in the middle of a test.
    let Some(tb) = live!(Options::plain(1)) else { return };
    let (tag, work, namespaces) = (tb.tag().to_owned(), tb.work().to_owned(), namespaces_of(&tb));
    let panicked = std::thread::spawn(move || {
        let tb = tb;
        assert!(tb.hosts().is_empty(), "this panic is part of the test");
    });
    assert!(panicked.join().is_err());
    assert_eq!(Traces::of(&tag, &work, &namespaces), Traces::none());
}

/// Runs in a process of its own for the next test: starts a testbed with a guest, says so, and waits to be killed.
#[test]
#[ignore = "only a part of live_nothing_is_left_after_a_crash"]
fn crash_victim() {
    let Some(tb) = live!(Options::plain(1)) else { return };
    tb.host(0).guest(&GuestSpec::new("g")).unwrap().booted().unwrap();
    let namespaces: Vec<String> = namespaces_of(&tb).into_iter().collect();
    let said = format!("{}\n{}\n{}\nup\n", tb.work().display(), tb.keeper_pid(), namespaces.join(" "));
    std::fs::write(std::env::var_os("TRIMTAB_VICTIM").unwrap(), said).unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

/// A testbed of another process.
struct Victim {
    process: Child,
    keeper: i32,
    tag: String,
    work: PathBuf,
    namespaces: BTreeSet<String>,
}

impl Victim {
    /// Starts several at once, each in its temporary directory, and waits until all of them are up.
    fn start(temps: &[&Path]) -> Vec<Self> {
        let start = |temp: &&Path| {
            let file = tempfile::NamedTempFile::new().unwrap();
            let process = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "ends::crash_victim", "--ignored", "--nocapture"])
                .env("TRIMTAB_VICTIM", file.path())
                .env("TMPDIR", temp)
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            (process, file)
        };
        let started: Vec<_> = temps.iter().map(start).collect();
        started.into_iter().map(|(process, file)| Self::up(process, file.path())).collect()
    }

    fn up(mut process: Child, file: &Path) -> Self {
        let said = wait_for("the victim's testbed", Duration::from_secs(180), || {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}");
            if text.ends_with("\nup\n") { Ok(text) } else { Err(text) }
        })
        .unwrap();
        let lines: Vec<&str> = said.lines().collect();
        let work = PathBuf::from(lines[0]);
        Self {
            process,
            keeper: lines[1].parse().unwrap(),
            tag: work.file_name().unwrap().to_str().unwrap().to_owned(),
            work,
            namespaces: lines[2].split(' ').map(str::to_owned).collect(),
        }
    }

    fn traces(&self) -> Traces {
        Traces::of(&self.tag, &self.work, &self.namespaces)
    }

    fn end(&mut self, signal: Signal) {
        proc::signal(self.process.id() as i32, signal).unwrap();
        self.process.wait().unwrap();
    }

    fn is_gone(&self, after: &str) {
        wait_for(&format!("clean-up after {after}"), Duration::from_secs(20), || match self.traces() {
            left if left == Traces::none() => Ok(()),
            left => Err(format!("{left:?}")),
        })
        .unwrap();
    }
}

/// A directory as nobody would choose it, where users may go in.
fn odd_directory() -> tempfile::TempDir {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    tempfile::Builder::new().prefix("it's \"odd\" ").permissions(mode).tempdir().unwrap()
}

#[test]
fn live_nothing_is_left_after_a_crash() {
    if !can_run("live_nothing_is_left_after_a_crash") {
        return;
    }
    // All at once: testbeds run side by side, in any directory, and one's end is no other's.
    let (odd, usual) = (odd_directory(), std::env::temp_dir());
    let mut victims = Victim::start(&[odd.path(), odd.path(), usual.as_path()]);
    let all_there = |victims: &[Victim]| {
        for victim in victims {
            let seen = victim.traces();
            assert!(seen.processes.len() > 6 && !seen.groups.is_empty() && seen.files, "{seen:?}");
        }
    };
    all_there(&victims);
    assert!(victims[..2].iter().all(|victim| victim.work.starts_with(odd.path())));

    let mut orphaned = victims.pop().unwrap();
    proc::signal(orphaned.keeper, Signal::KILL).unwrap();
    orphaned.end(Signal::KILL);
    assert_ne!(orphaned.traces(), Traces::none(), "hosts outlive both until the next testbed");
    reap();
    orphaned.is_gone("the end of its keeper");
    for (how, signal) in [("kill", Signal::KILL), ("interrupt", Signal::INT)] {
        all_there(&victims);
        let mut victim = victims.pop().unwrap();
        victim.end(signal);
        victim.is_gone(how);
    }
}

#[test]
fn live_ctrl_c_takes_the_demo_down() {
    if !can_run("live_ctrl_c_takes_the_demo_down") {
        return;
    }
    let temp = odd_directory();
    let said = temp.path().join("said");
    let mut demo = Command::new(program("trimtab-scenario").unwrap())
        .args(["demo", "--report"])
        .arg(temp.path().join("report.html"))
        .env("TMPDIR", temp.path())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&said).unwrap())
        .process_group(0)
        .spawn()
        .unwrap();
    let (work, host) = wait_for("a guest of the demo", Duration::from_secs(120), || {
        let under = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten();
        let works = || under(temp.path()).map(|entry| entry.path());
        let hosts = works().flat_map(|work| under(&work).map(move |host| (work.clone(), host.path())));
        let booting = |host: &Path| under(&host.join("run/guests")).count() > 0;
        let ended = demo.try_wait().unwrap();
        assert!(ended.is_none(), "it ended: {ended:?}");
        hosts.into_iter().find(|(_, host)| booting(host)).ok_or_else(|| "none yet".to_owned())
    })
    .unwrap();
    let unshare: i32 = std::fs::read_to_string(host.join("unshare.pid")).unwrap().trim().parse().unwrap();
    let kinds = ["net", "pid_for_children", "mnt", "cgroup", "uts", "ipc"];
    let namespaces: BTreeSet<_> = kinds.iter().filter_map(|kind| proc::namespace(unshare, kind)).collect();
    assert_eq!(namespaces.len(), kinds.len());
    let tag = work.file_name().unwrap().to_str().unwrap().to_owned();
    let seen = Traces::of(&tag, &work, &namespaces);
    assert!(seen.processes.len() > 4 && !seen.groups.is_empty() && seen.files, "{seen:?}");

    // As a terminal does it: to the whole group, what the demo has started included.
    let group = Pid::from_raw(demo.id() as i32).unwrap();
    rustix::process::kill_process_group(group, Signal::INT).unwrap();
    let status = wait_for("its end", Duration::from_secs(60), || match demo.try_wait() {
        Ok(Some(status)) => Ok(status),
        other => Err(format!("{other:?}")),
    })
    .unwrap();
    // The prompt comes when all is gone.
    assert_eq!(Traces::of(&tag, &work, &namespaces), Traces::none());
    let said = std::fs::read_to_string(&said).unwrap();
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()), "{said}");
    assert!(said.contains("interrupted: taking the host down") && !said.contains("error:"), "{said}");
}

#[test]
fn missing_prerequisites_are_said() {
    // As a user without root, with a PATH that has nothing: one sentence with the packages.
    if !can_run("missing_prerequisites_are_said") {
        return;
    }
    let exe = std::env::current_exe().unwrap();
    let copy = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let target = copy.path().join("t");
    std::fs::copy(&exe, &target).unwrap();
    let run = |require: bool| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--clear-groups"]).arg(&target);
        command.args(["--exact", "live_processes_run_inside_the_host"]).env_remove("TRIMTAB_REQUIRE_LIVE");
        if require {
            command.env("TRIMTAB_REQUIRE_LIVE", "1");
        }
        let out = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        (
            out.status.success(),
            BufReader::new(&*out.stderr).lines().map(|l| l.unwrap()).collect::<Vec<_>>().join("\n"),
        )
    };
    let (ok, said) = run(false);
    assert!(
        ok && said.contains("SKIPPED live_processes_run_inside_the_host: real hosts need root"),
        "{said}"
    );
    assert!(!run(true).0);
}
