//! The testbed itself: hosts run, guests obey, faults are real, and nothing is left behind, however the owner ends.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use trimtab_tests::testbed::{proc, reap, wait_for};
use trimtab_tests::{Accel, Daemon, GuestSpec, Init, Options, Testbed, live};

#[test]
fn live_guests_obey_and_daemons_restart() {
    let Some(tb) = live!(Options::plain(1)) else { return };
    let host = tb.host(0);
    let specs = [
        GuestSpec::new("busy").load("cpu:1").weight(2048),
        GuestSpec { shares: (tb.accel() == Accel::Tcg).then_some(512), ..GuestSpec::new("quiet") },
    ];
    let guests = host.guests(&specs).unwrap();
    let (busy, quiet) = (&guests[0], &guests[1]);
    let pids = [busy.qemu_pid().unwrap(), quiet.qemu_pid().unwrap()];
    assert_ne!(pids[0], pids[1]);
    let metadata = host.virsh(&["metadata busy --uri urn:trimtab:guest:1"]).unwrap();
    assert!(metadata.contains("2048"), "{metadata}");

    // The load is what was asked for, and changes while the guest runs.
    let rates = |guest: &trimtab_tests::Guest, seconds: u64| {
        let from = guest.stats().unwrap();
        std::thread::sleep(Duration::from_secs(seconds));
        from.rates(&guest.stats().unwrap())
    };
    let (one, idle) = (rates(busy, 2), rates(quiet, 2));
    // Ratios only: the machine may be busy with other tests.
    assert!(one.cpu_cores > 4.0 * idle.cpu_cores, "{one:?} {idle:?}");
    busy.load("io").unwrap();
    quiet.load("cpu:2").unwrap();
    let (writes, burns) = (rates(busy, 3), rates(quiet, 2));
    assert!(writes.write_mb_per_s > 20.0 * one.write_mb_per_s, "{writes:?} {one:?}");
    assert!(burns.cpu_cores > 4.0 * idle.cpu_cores, "{burns:?} {idle:?}");
    // What /proc says was written is what libvirt says.
    let by_libvirt = || -> f64 {
        let text = host.virsh(&["domstats busy --block"]).unwrap();
        text.lines().find_map(|l| l.trim().strip_prefix("block.0.wr.bytes=")).unwrap().parse().unwrap()
    };
    let (libvirt0, proc0) = (by_libvirt(), busy.stats().unwrap());
    std::thread::sleep(Duration::from_secs(4));
    let (libvirt1, proc1) = (by_libvirt(), busy.stats().unwrap());
    let ratio = (proc1.written - proc0.written) as f64 / (libvirt1 - libvirt0);
    assert!((0.8..1.25).contains(&ratio), "written by /proc / by libvirt = {ratio}");
    busy.load("idle").unwrap();
    quiet.load("idle").unwrap();

    // A stopped qemu stands still and goes on.
    quiet.stop().unwrap();
    assert_eq!(proc::state(pids[1]), Some('T'));
    let still = quiet.ticks();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(quiet.ticks(), still);
    quiet.cont().unwrap();
    quiet.wait_ticks(2).unwrap();

    // Daemons come back, guests never notice.
    let before = busy.ticks().unwrap();
    for daemon in [Daemon::Libvirtd, Daemon::LibvirtDbus, Daemon::Bus] {
        host.restart(daemon).unwrap();
        assert_eq!([busy.qemu_pid().unwrap(), quiet.qemu_pid().unwrap()], pids, "after {daemon:?}");
    }
    host.stop(Daemon::LibvirtDbus).unwrap();
    let call = ["org.libvirt", "/org/libvirt/QEMU", "org.libvirt.Connect", "ListDomains", "u", "0"];
    assert!(!host.busctl("call").args(call).output().unwrap().status.success());
    host.start_daemon(Daemon::LibvirtDbus).unwrap();
    let list = host.busctl("call").args(call).output().unwrap();
    assert!(String::from_utf8_lossy(&list.stdout).contains(busy.object_path().as_str()), "{list:?}");
    busy.wait_ticks(2).unwrap();
    assert!(busy.ticks().unwrap() > before);

    // Killed is killed.
    quiet.kill().unwrap();
    wait_for("libvirt sees the death", Duration::from_secs(10), || {
        let state = host.virsh(&["domstate quiet"]).map_err(|e| e.to_string())?;
        if state.trim() == "shut off" { Ok(()) } else { Err(state) }
    })
    .unwrap();
    assert!(quiet.qemu_pid().is_err());
    tb.down().unwrap();
}

#[test]
fn live_processes_run_inside_the_host() {
    let Some(tb) = live!(Options::plain(2)) else { return };
    let (a, b) = (tb.host(0), tb.host(1));
    // Two hosts that see each other until the wire is cut.
    let ping = |to: &trimtab_tests::Host| {
        let script = format!("exec 3<>/dev/tcp/{}/16509", to.address());
        a.command("timeout").args(["1", "bash", "-c", &script]).output().unwrap().status.success()
    };
    let reached = || if ping(b) { Ok(()) } else { Err("no answer".to_owned()) };
    wait_for("the wire", Duration::from_secs(20), reached).unwrap();
    b.cut().unwrap();
    assert!(!ping(b));
    b.mend().unwrap();
    wait_for("the mended wire", Duration::from_secs(20), reached).unwrap();
    // exec and spawn are inside namespaces and cgroups.
    assert_eq!(a.exec(&["hostname"]).unwrap().trim(), "hosta");
    let groups = a.exec(&["cat", "/proc/self/cgroup"]).unwrap();
    assert!(groups.lines().all(|l| l.ends_with(":/") || l.ends_with(":/init.scope")), "{groups}");
    let mut sleeper = a.command("sleep");
    sleeper.arg("1000");
    let log = a.dir().join("log/sleeper.out");
    let mut sleeper = a.spawn(sleeper, &log).unwrap();
    assert_eq!(proc::command_line(sleeper.pid()).unwrap(), "sleep 1000");
    assert_eq!(proc::namespace(sleeper.pid(), "net"), proc::namespace(a.init_pid(), "net"));
    let pid = sleeper.pid();
    assert_eq!(sleeper.stop().unwrap().code(), None, "ended by the signal");
    assert!(!proc::alive(pid));
    let error = a.exec(&["sh", "-c", "echo why >&2; exit 3"]).unwrap_err().to_string();
    assert!(error.contains("why") && error.contains('3'), "{error}");
    tb.down().unwrap();
}

#[test]
fn live_systemd_host_runs_guests() {
    let unit =
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'echo ran > /run/tb-unit-ran'\n";
    let options = Options::systemd(1).each(|h| h.units.push(("probe.service".into(), unit.into())));
    let Some(tb) = live!(options) else { return };
    let host = tb.host(0);
    assert_eq!(host.spec().init, Init::Systemd);
    assert_eq!(proc::comm(host.init_pid()).unwrap(), "systemd");
    host.exec(&["systemctl", "start", "probe.service"]).unwrap();
    assert_eq!(host.exec(&["cat", "/run/tb-unit-ran"]).unwrap().trim(), "ran");
    let guest = host.guest(&GuestSpec::new("one")).unwrap();
    guest.booted().unwrap();
    let pid = guest.qemu_pid().unwrap();
    host.restart(Daemon::Libvirtd).unwrap();
    assert_eq!(guest.qemu_pid().unwrap(), pid);
    guest.wait_ticks(1).unwrap();
    host.virsh(&["vcpupin one 0 0 --live"]).unwrap();
    // The overlay swallows what is written to the root.
    host.exec(&["sh", "-c", "echo x > /etc/trimtab-testbed-was-here"]).unwrap();
    assert!(!Path::new("/etc/trimtab-testbed-was-here").exists());
    tb.down().unwrap();
}

/// What a testbed could leave on the machine.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    processes: Vec<String>,
    groups: Vec<PathBuf>,
    mounts: Vec<String>,
    files: bool,
}

impl Traces {
    fn none() -> Self {
        Self { processes: Vec::new(), groups: Vec::new(), mounts: Vec::new(), files: false }
    }
    /// Looks for everything that carries the testbed's name, or lives in one of its namespaces.
    fn of(tag: &str, work: &Path, namespaces: &BTreeSet<String>) -> Self {
        let everything = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let processes = everything
            .filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok())
            .filter(|&pid| proc::alive(pid))
            .filter(|&pid| {
                let line = proc::command_line(pid).unwrap_or_default();
                let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                let lives_in = ["net", "pid", "mnt", "cgroup", "uts", "ipc"]
                    .iter()
                    .any(|kind| proc::namespace(pid, kind).is_some_and(|n| namespaces.contains(&n)));
                line.contains(tag) || String::from_utf8_lossy(&environment).contains(tag) || lives_in
            })
            .map(|pid| format!("{pid} {}", proc::command_line(pid).unwrap_or_default()))
            .collect();
        let mut groups = Vec::new();
        let mut todo = vec![PathBuf::from("/sys/fs/cgroup")];
        while let Some(dir) = todo.pop() {
            for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten().filter(|e| e.path().is_dir())
            {
                if entry.file_name().to_string_lossy().contains(tag) {
                    groups.push(entry.path());
                }
                if dir.components().count() < 5 {
                    todo.push(entry.path());
                }
            }
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("procfs");
        let mounts =
            mounts.lines().filter(|l| l.contains(tag) || l.contains("nsfs")).map(str::to_owned).collect();
        Self { processes, groups, mounts, files: work.exists() }
    }
}

fn namespaces_of(tb: &Testbed) -> BTreeSet<String> {
    let kinds = ["net", "pid", "mnt", "cgroup", "uts", "ipc"];
    let own: BTreeSet<String> =
        kinds.iter().filter_map(|k| proc::namespace(std::process::id() as i32, k)).collect();
    let theirs =
        tb.hosts().iter().flat_map(|h| kinds.iter().filter_map(|k| proc::namespace(h.init_pid(), k)));
    let theirs: BTreeSet<String> = theirs.filter(|n| !own.contains(n)).collect();
    assert_eq!(theirs.len(), kinds.len() * tb.hosts().len(), "each host has namespaces of its own");
    theirs
}

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
    tb.host(0).guest(&GuestSpec::new("g")).unwrap();
    let namespaces: Vec<String> = namespaces_of(&tb).into_iter().collect();
    let line = format!("VICTIM {} {} {}", tb.work().display(), tb.keeper_pid(), namespaces.join(" "));
    std::fs::write(std::env::var_os("TRIMTAB_VICTIM").unwrap(), line).unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn live_nothing_is_left_after_a_crash() {
    if Testbed::available().is_err() {
        // Says why, or fails when live tests are required.
        assert!(live!().is_none());
        return;
    }
    for how in ["interrupt", "kill", "kill with its keeper"] {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash_victim", "--ignored", "--nocapture"])
            .env("TRIMTAB_VICTIM", file.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let said = wait_for("the victim's testbed", Duration::from_secs(120), || {
            let text = std::fs::read_to_string(file.path()).unwrap_or_default();
            if text.starts_with("VICTIM ") { Ok(text) } else { Err(format!("{:?}", victim.try_wait())) }
        })
        .unwrap();
        let mut words = said.split_whitespace().skip(1);
        let work = PathBuf::from(words.next().unwrap());
        let keeper: i32 = words.next().unwrap().parse().unwrap();
        let namespaces: BTreeSet<String> = words.map(str::to_owned).collect();
        let tag = work.file_name().unwrap().to_str().unwrap().to_owned();
        assert_ne!(Traces::of(&tag, &work, &namespaces), Traces::none());
        if how == "kill with its keeper" {
            proc::signal(keeper, rustix::process::Signal::KILL).unwrap();
        }
        let signal =
            if how == "interrupt" { rustix::process::Signal::INT } else { rustix::process::Signal::KILL };
        proc::signal(victim.id() as i32, signal).unwrap();
        victim.wait().unwrap();
        if how == "kill with its keeper" {
            assert_ne!(
                Traces::of(&tag, &work, &namespaces),
                Traces::none(),
                "hosts outlive both until the next testbed"
            );
            reap();
        }
        wait_for(&format!("clean-up after {how}"), Duration::from_secs(20), || {
            let left = Traces::of(&tag, &work, &namespaces);
            if left == Traces::none() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .unwrap();
    }
}

#[test]
fn missing_prerequisites_are_said() {
    // As a user without root, with a PATH that has nothing: one sentence with the packages.
    let Some(nobody) = ["/usr/bin/setpriv"].iter().find(|p| Path::new(p).exists()) else { return };
    if !rustix::process::geteuid().is_root() {
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
        let mut command = Command::new(nobody);
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
