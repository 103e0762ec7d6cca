//! Session mode: a user without root, qemu:///session, affinity and nice.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use trimtab_tests::testbed::{proc, wait_for};
use trimtab_tests::trimtab::program;
use trimtab_tests::{Host, Options, Process, live};

const SOON: Duration = Duration::from_secs(120);
/// Who has no rights on the host, but a name (libvirt wants one).
const USER: &str = "nobody";
const GROUP: &str = "nogroup";

/// Decides at once and believes any gain that is more likely than not.
const CONFIG: &str = "[sensors]\ninterval_ms = 500\n[policy.identify]\nwindow_ms = 2000\n\
    [policy.arbiter]\nhold_ms = 0\ncool_down_ms = 1000\nmin_gain_pct = 0.5\nfloor_pct = 0.0\n\
    backoff_first_ms = 1000\nbackoff_max_ms = 2000\nafter_command_ms = 0\n\
    [policy.trial]\nbefore_ms = 2000\nbefore_max_ms = 4000\nsettle_ms = 500\nconfidence_pct = 60.0\nafter_ms = 2000\nafter_max_ms = 4000\n";

/// The user's session: home, runtime directory, and a session bus.
struct Session<'a> {
    host: &'a Host,
    dir: PathBuf,
    _bus: Process,
}

impl<'a> Session<'a> {
    fn new(host: &'a Host) -> Self {
        let dir = host.dir().join("session");
        for sub in ["home", "rt", "config"] {
            std::fs::create_dir_all(dir.join(sub)).unwrap();
        }
        std::fs::write(dir.join("config/trimtab.toml"), CONFIG).unwrap();
        host.exec(&["chown", "-R", &format!("{USER}:{GROUP}"), &dir.display().to_string()]).unwrap();
        host.exec(&["chmod", "-R", "go=", &dir.join("rt").display().to_string()]).unwrap();
        let address = format!("unix:path={}/rt/bus", dir.display());
        let bus = as_user(host, &dir, None, &["dbus-daemon", "--session", "--nofork", "--address", &address]);
        let bus = host.spawn(bus, &host.dir().join("log/session-bus.out")).unwrap();
        let session = Self { host, dir, _bus: bus };
        wait_for("the session bus", SOON, || match session.dir.join("rt/bus").exists() {
            true => Ok(()),
            false => Err(session._bus.output()),
        })
        .unwrap();
        session
    }

    fn command(&self, words: &[&str]) -> Command {
        as_user(self.host, &self.dir, None, words)
    }

    fn run(&self, words: &[&str]) -> String {
        let out = self.command(words).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(out.status.success(), "{words:?}: {}{}", text(&out.stdout), text(&out.stderr));
        text(&out.stdout)
    }

    fn ctl(&self, words: &[&str]) -> String {
        let program = program("trimtabctl").unwrap();
        self.run(&[&[program.to_str().unwrap(), "--bus", "session"], words].concat())
    }

    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.ctl(&[&["--json"], words].concat())).unwrap()
    }

    /// A daemon of the user's, with this capability if any, that has found all guests.
    fn daemon(&self, capability: Option<&str>) -> Process {
        let (daemon, config) = (program("trimtabd").unwrap(), self.dir.join("config"));
        let [daemon, config] = [&daemon, &config].map(|path| path.to_str().unwrap());
        let words = [daemon, "--bus", "session", "--mode", "enforce", "--config-dir", config];
        let command = as_user(self.host, &self.dir, capability, &words);
        let trimtab = self.host.spawn(command, &self.host.dir().join("log/trimtabd.out")).unwrap();
        let ctl = program("trimtabctl").unwrap();
        wait_for("the guests", SOON, || {
            let mut ask = self.command(&[ctl.to_str().unwrap(), "--bus", "session", "--json", "guests"]);
            let out = ask.output().map_err(|error| error.to_string())?;
            let text =
                String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
            let all = ["writer", "burner1", "burner2"].iter().all(|name| text.contains(name));
            if all { Ok(()) } else { Err(text + &trimtab.output()) }
        })
        .unwrap();
        trimtab
    }

    /// Waits for a kept decision of this family, and stops the daemon's deciding.
    fn kept(&self, family: &str, trimtab: &Process) -> Value {
        let kept = wait_for(&format!("a kept decision: {family}"), SOON, || {
            let all = self.json(&["decisions"]);
            let kept = all.as_array().unwrap().iter().find(|d| d["verdict"] == "kept" && d["knob"] == family);
            kept.cloned().ok_or_else(|| format!("{all:#}\n{}", trimtab.output()))
        });
        self.ctl(&["pause"]);
        kept.unwrap()
    }

    /// Leaves one family of this guest alone from now on: what is left is the other one.
    fn exclude(&self, guest: &Guest, family: &str) {
        let (name, weight) = (guest.name, guest.weight);
        let set = format!(
            "metadata {name} --live --uri urn:trimtab:guest:1 --key t \
             --set '<guest><weight>{weight}</weight><exclude>{family}</exclude></guest>'"
        );
        self.run(&["virsh", "-q", "-c", "qemu:///session", &set]);
    }

    /// Starts a guest whose priority is not to be turned: what is left is placement.
    fn guest(&self, name: &'static str, vcpus: u32, weight: u32, load: &str) -> Guest {
        let (work, dir) = (self.host.work().display(), self.dir.display());
        let disk = format!("{dir}/home/{name}.raw");
        self.run(&["truncate", "-s", "16M", &disk]);
        let xml = format!(
            "<domain type='qemu'><name>{name}</name><metadata><t:guest xmlns:t='urn:trimtab:guest:1'><t:weight>{weight}</t:weight>\
             <t:exclude>priority</t:exclude></t:guest></metadata>\
             <memory unit='MiB'>96</memory><vcpu>{vcpus}</vcpu><iothreads>1</iothreads>\
             <os><type arch='x86_64' machine='pc'>hvm</type><kernel>{work}/guest/vmlinuz</kernel><initrd>{work}/guest/initrd</initrd>\
             <cmdline>console=ttyS0 quiet loglevel=4 panic=1 mitigations=off tb.load={load}</cmdline></os><features><acpi/></features>\
             <cpu mode='custom' match='exact'><model fallback='forbid'>qemu64</model></cpu>\
             <devices><emulator>/usr/bin/qemu-system-x86_64</emulator><disk type='file' device='disk'>\
             <driver name='qemu' type='raw' cache='unsafe' io='threads' iothread='1'/><source file='{disk}'/><target dev='vda' bus='virtio'/></disk>\
             <serial type='file'><source path='{dir}/rt/{name}.console'/><target port='0'/></serial>\
             <serial type='null'><target port='1'/></serial></devices></domain>"
        );
        let file = self.dir.join("home").join(format!("{name}.xml"));
        std::fs::write(&file, xml).unwrap();
        self.run(&["virsh", "-q", "-c", "qemu:///session", &format!("create {}", file.display())]);
        let wanted = format!("guest={name},");
        let is_it = |pid: &i32| proc::command_line(*pid).is_some_and(|line| line.contains(&wanted));
        let pid = self.host.processes("qemu-system-x86").into_iter().find(is_it).unwrap();
        Guest { name, weight, pid, vcpus, console: self.dir.join(format!("rt/{name}.console")) }
    }
}

/// A guest of the user's.
struct Guest {
    name: &'static str,
    weight: u32,
    pid: i32,
    vcpus: u32,
    console: PathBuf,
}

impl Guest {
    fn ticks(&self) -> usize {
        std::fs::read(&self.console)
            .map_or(0, |text| String::from_utf8_lossy(&text).matches("TB-TICK").count())
    }

    fn wait_ticks(&self, more: usize) {
        let wanted = self.ticks() + more;
        wait_for("ticks of a guest", Duration::from_secs(180), || match self.ticks() {
            now if now >= wanted => Ok(()),
            now => Err(format!("{now} of {wanted}")),
        })
        .unwrap();
    }

    /// Nice values that occur among its threads, as the kernel has them.
    fn nice(&self) -> BTreeSet<i32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap().flatten();
        // A worker thread may have ended meanwhile.
        tasks
            .map(|task| task.path())
            .filter(|task| task.join("stat").exists())
            .map(|task| nice(&task))
            .collect()
    }

    /// CPUs of each vCPU's thread, as the kernel has them.
    fn allowed(&self) -> Vec<String> {
        (0..self.vcpus).map(|vcpu| allowed(self.pid, vcpu)).collect()
    }
}

/// The nice value of a thread, as the kernel has it.
fn nice(task: &std::path::Path) -> i32 {
    let stat = std::fs::read_to_string(task.join("stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(16).unwrap().parse().unwrap()
}

/// A command with that user's identity, home, runtime directory and bus, and no capability but perhaps one.
fn as_user(host: &Host, dir: &std::path::Path, capability: Option<&str>, words: &[&str]) -> Command {
    let mut command = host.command("setpriv");
    command.args(["--reuid", USER, "--regid", GROUP, "--clear-groups"]);
    let keep = capability.map(|name| format!(",+{name}")).unwrap_or_default();
    command.args(["inh-caps", "bounding-set", "ambient-caps"].map(|set| format!("--{set}=-all{keep}")));
    command.arg("--").args(words);
    command.env("HOME", dir.join("home")).env("XDG_RUNTIME_DIR", dir.join("rt"));
    command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}/rt/bus", dir.display()));
    command.env_remove("XDG_STATE_HOME").env_remove("XDG_CONFIG_HOME").env("NO_COLOR", "1");
    command
}

/// CPUs of the thread of this vCPU, as the kernel has them.
fn allowed(pid: i32, vcpu: u32) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let comm =
        |task: &std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    let wanted = format!("CPU {vcpu}/");
    let task = tasks.into_iter().find(|task| comm(task).starts_with(&wanted)).unwrap();
    let status = std::fs::read_to_string(task.path().join("status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned()
}

#[test]
fn live_a_user_without_root_is_served() {
    let Some(tb) = live!(Options::plain(1)) else { return };
    let session = Session::new(tb.host(0));
    let guests = [
        session.guest("writer", 1, 2048, "io"),
        session.guest("burner1", 2, 1024, "cpu:2"),
        session.guest("burner2", 2, 1024, "cpu:2"),
    ];
    guests.iter().for_each(|guest| guest.wait_ticks(1));
    places(&session, &guests);
    makes_nicer(&session, &guests);
    guests.iter().for_each(|guest| guest.wait_ticks(2));
    tb.down().unwrap();
}

fn pins(guests: &[Guest; 3]) -> [Vec<String>; 3] {
    guests.each_ref().map(Guest::allowed)
}

/// With no capability at all: affinity.
fn places(session: &Session<'_>, guests: &[Guest; 3]) {
    let untouched = pins(guests);
    let mut trimtab = session.daemon(None);
    let kept = session.kept("placement", &trimtab);
    assert_ne!(pins(guests), untouched, "{kept:#}");
    let shown = session.json(&["guest", "writer"]);
    // No cgroup of one's own, hence no shares: what there is instead is nice, where it can be undone.
    assert_eq!((shown["pid"].is_i64(), &shown["knobs"]["cpu.shares"]), (true, &Value::Null), "{shown:#}");
    assert!(session.dir.join("home/.local/state/trimtab/journal.db").exists());
    // What was kept after it is undone first.
    let all = session.json(&["decisions"]);
    for decision in all.as_array().unwrap().iter().filter(|decision| decision["verdict"] == "kept") {
        session.ctl(&["revert", &decision["id"].to_string()]);
    }
    // A trial that was open may still be on its way back.
    wait_for("every pin back", SOON, || {
        let now = pins(guests);
        if now == untouched { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .unwrap();
    session.ctl(&["restore", "--all"]);
    assert_eq!(pins(guests), untouched);
    assert!(trimtab.stop().unwrap().success(), "{}", trimtab.output());
}

/// Who may lower a nice value again: by the priority of single threads, which counts on any kernel. (Autogroups, the other way,
/// count for nothing in the cgroups of a testbed.)
fn makes_nicer(session: &Session<'_>, guests: &[Guest; 3]) {
    let (placed, untouched) = (pins(guests), guests.each_ref().map(Guest::nice));
    guests.iter().for_each(|guest| session.exclude(guest, "placement"));
    let mut trimtab = session.daemon(Some("sys_nice"));
    let kept = session.kept("priority", &trimtab);
    let nicer: Vec<_> = guests.iter().zip(&untouched).filter(|(guest, was)| guest.nice() != **was).collect();
    assert!(!nicer.is_empty() && nicer.iter().all(|(guest, _)| guest.name != "writer"), "{kept:#}");
    for (guest, was) in nicer {
        let told = session.json(&["guest", guest.name])["knobs"]["cpu.nice"].clone();
        let told: i32 = told.as_str().unwrap().parse().unwrap();
        assert_eq!(guest.nice(), BTreeSet::from([told]), "{kept:#}");
        assert!(was.iter().all(|was| *was < told), "{was:?} {told}");
    }
    session.ctl(&["restore", "--all"]);
    assert_eq!(
        (guests.each_ref().map(Guest::nice), pins(guests)),
        (untouched, placed),
        "{}",
        trimtab.output()
    );
    assert!(trimtab.stop().unwrap().success(), "{}", trimtab.output());
}
