//! The shared host: a writer and two burners on all CPUs of the machine, as libvirt starts them. Each test finds them so.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use trimtab_tests::testbed::wait_for;
use trimtab_tests::trimtab::{Decision, Start, Status, Trimtab};
use trimtab_tests::{Guest, GuestSpec, GuestStats, Host, Options, Testbed, can_run};

/// What [`Stage::unlike`] says where everything is as it was.
pub(crate) const NONE: [String; 0] = [];
/// Patience with things that have to happen; a loaded machine is slow.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// Patience with a verdict, which may take several trials.
pub(crate) const VERDICT: Duration = Duration::from_secs(150);

/// The shared stage, or return: says why live tests cannot run.
macro_rules! stage {
    () => {{
        fn here() {}
        match $crate::stage::enter(std::any::type_name_of_val(&here)) {
            Some(stage) => stage,
            None => return,
        }
    }};
}

/// The host, for the one test whose turn it is.
pub(crate) struct Stage {
    pub(crate) host: &'static Host,
    pub(crate) writer: Guest,
    pub(crate) burners: [Guest; 2],
    name: &'static str,
    _turn: MutexGuard<'static, ()>,
}

/// The guests: something to fix.
fn cast() -> [GuestSpec; 3] {
    [
        GuestSpec::new("writer").vcpus(1).weight(2048).load("io"),
        GuestSpec::new("burner1").load("cpu:2"),
        GuestSpec::new("burner2").load("cpu:2"),
    ]
}

/// `None` when live tests cannot run here.
pub(crate) fn enter(place: &'static str) -> Option<Stage> {
    static TURN: Mutex<()> = Mutex::new(());
    static TESTBED: OnceLock<Testbed> = OnceLock::new();
    if !can_run(place) {
        return None;
    }
    // A test that failed in its turn has left the guests as they are; they are set right below.
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let host = TESTBED.get_or_init(|| Testbed::new(Options::plain(1)).unwrap()).host(0);
    evict_strangers(host);
    let guests = cast().map(|spec| present(host, &spec));
    guests.iter().for_each(|guest| guest.booted().unwrap());
    reset(host);
    // Every daemon writes to the end of it; what matters to a test is what its own ones say.
    let _ = std::fs::remove_file(host.dir().join("log/trimtabd.out"));
    let [writer, burner1, burner2] = guests;
    let name = place.rsplit("::").nth(1).unwrap();
    Some(Stage { host, writer, burners: [burner1, burner2], name, _turn: turn })
}

/// Guests of a test that failed: the next one counts three.
fn evict_strangers(host: &Host) {
    for name in host.virsh(&["list --all --name"]).unwrap().lines().filter(|name| !name.is_empty()) {
        if cast().iter().all(|spec| spec.name != name) {
            // It may be defined, or run, or both.
            let _ = host.virsh(&[&format!("destroy '{name}'")]);
            let _ = host.virsh(&[&format!("undefine '{name}'")]);
        }
    }
}

/// The running guest of this name, started if it does not run.
fn present(host: &Host, spec: &GuestSpec) -> Guest {
    static KNOWN: Mutex<BTreeMap<String, Guest>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    match known.get(&spec.name) {
        Some(guest) if guest.qemu_pid().is_ok() => {
            guest.cont().unwrap();
            guest.clone()
        }
        _ => {
            let guest = host.guest(spec).unwrap();
            known.insert(spec.name.clone(), guest.clone());
            guest
        }
    }
}

/// Every knob as libvirt has it at the start of a guest.
fn reset(host: &Host) {
    let all = host.exec(&["cat", "/sys/devices/system/cpu/online"]).unwrap();
    let mut commands = pins(all.trim());
    commands.extend(cast().iter().map(|spec| format!("schedinfo {} --live cpu_shares=1024", spec.name)));
    host.virsh(&commands.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
}

/// What pins every thread that can be pinned.
fn pins(cpus: &str) -> Vec<String> {
    let of_guest = |GuestSpec { name, vcpus, .. }: GuestSpec| {
        let vcpus = (0..vcpus).map(move |n| format!("vcpupin {name} {n} {cpus} --live"));
        vcpus.collect::<Vec<_>>()
    };
    let services = |GuestSpec { name, .. }: GuestSpec| {
        [format!("emulatorpin {name} {cpus} --live"), format!("iothreadpin {name} 1 {cpus} --live")]
    };
    cast().into_iter().flat_map(of_guest).chain(cast().into_iter().flat_map(services)).collect()
}

/// Ticks twice a second, decides at once, and believes any gain that is more likely than not.
pub(crate) const QUICK: &str = "[sensors]\ninterval_ms = 500\n[store]\nsample_every_s = 1\n\
    [policy.identify]\nwindow_ms = 2000\n\
    [policy.arbiter]\nhold_ms = 0\ncool_down_ms = 1000\ndecisions_per_min = 60\nmin_gain_pct = 0.5\nfloor_pct = 0.0\n\
    backoff_first_ms = 1000\nbackoff_max_ms = 2000\nafter_command_ms = 0\n\
    [policy.trial]\nbefore_ms = 2000\nbefore_max_ms = 4000\nsettle_ms = 500\nconfidence_pct = 60.0\n";

/// [`QUICK`] with short trials.
pub(crate) fn quick(mode: &str) -> Start {
    Start { config: format!("{QUICK}after_ms = 2000\nafter_max_ms = 4000\n"), ..Start::mode(mode) }
}

/// [`QUICK`] with trials that do not end by themselves.
pub(crate) fn endless_trial() -> Start {
    Start { config: format!("{QUICK}after_ms = 600000\nafter_max_ms = 600000\n"), ..Start::mode("enforce") }
}

/// What `trimtabctl --json guests` says of one guest, as far as tests need it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Shown {
    pub(crate) name: String,
    pub(crate) uuid: String,
    pub(crate) state: String,
    pub(crate) pid: Option<i32>,
    pub(crate) cpu_cores: Option<f64>,
    pub(crate) write_bytes_per_s: Option<f64>,
    pub(crate) left_alone: Option<String>,
    pub(crate) knobs: BTreeMap<String, String>,
    pub(crate) originals: Vec<ShownOriginal>,
}

/// A knob that Trimtab has turned.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ShownOriginal {
    pub(crate) knob: String,
    pub(crate) ours: String,
    going_back_to: Option<String>,
}

impl Stage {
    /// All guests on the first CPU, as if the admin had pinned them there. For tests that need a decision which is kept: on one
    /// CPU, more shares for the writer bring what the shares say, whatever the load balancer and the machine are doing.
    pub(crate) fn crowd(&self) {
        let all = self.host.exec(&["cat", "/sys/devices/system/cpu/online"]).unwrap();
        let first = all.trim().split(['-', ',']).next().unwrap();
        self.host.virsh(&pins(first).iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    }

    /// All three, the writer first.
    pub(crate) fn guests(&self) -> [&Guest; 3] {
        [&self.writer, &self.burners[0], &self.burners[1]]
    }

    /// The state directory of this test's daemons.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.host.dir().join("state").join(self.name)
    }

    /// A daemon, with this test's journal unless another one is named.
    pub(crate) fn daemon(&self, start: Start) -> Trimtab {
        let trimtab = Trimtab::spawn(self.host, &self.with_state(start)).unwrap();
        trimtab.wait_up().unwrap();
        trimtab
    }

    /// `start` with this test's journal unless it names another.
    pub(crate) fn with_state(&self, start: Start) -> Start {
        Start { state_dir: start.state_dir.clone().or_else(|| Some(self.state_dir())), ..start }
    }

    /// Every knob of every guest, as libvirt has it, as the kernel has it, and as the definition has it.
    pub(crate) fn knobs(&self) -> BTreeMap<String, String> {
        self.knobs_of(&self.guests())
    }

    /// The same of some of them.
    pub(crate) fn knobs_of(&self, guests: &[&Guest]) -> BTreeMap<String, String> {
        let questions = ["schedinfo", "vcpupin", "emulatorpin", "iothreadinfo", "dumpxml --inactive"];
        let names: Vec<&str> = guests.iter().map(|guest| guest.name()).collect();
        let commands: Vec<String> = names
            .iter()
            .flat_map(|name| {
                questions.map(|question| format!("echo '== {name}: {question}'; {question} {name}"))
            })
            .collect();
        let answers = self.host.virsh(&commands.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        let answers = answers.split("== ").filter_map(|part| part.split_once('\n'));
        let answers = answers.map(|(question, answer)| (question.to_owned(), answer.to_owned()));
        let threads = guests.iter().flat_map(|guest| {
            let of = |(thread, value)| (format!("{}: {thread}", guest.name()), value);
            threads(guest.qemu_pid().unwrap()).into_iter().map(of).collect::<Vec<_>>()
        });
        answers.chain(threads).collect()
    }

    /// Which knobs are not as they were, both values of each.
    pub(crate) fn unlike(&self, before: &BTreeMap<String, String>) -> Vec<String> {
        let (now, none) = (self.knobs(), String::from("nothing"));
        let all: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
        let of = |knobs: &BTreeMap<String, String>, knob| knobs.get(knob).unwrap_or(&none).clone();
        let both = all.into_iter().map(|knob| (knob, of(&now, knob), of(before, knob)));
        both.filter(|(_, now, was)| now != was)
            .map(|(knob, now, was)| format!("{knob}: {now}, was {was}"))
            .collect()
    }

    /// Every guest, from here on.
    pub(crate) fn pulse(&self) -> Pulse {
        Pulse::of(self.guests().into_iter().cloned())
    }
}

/// CPUs and nice value of each thread that libvirt or Trimtab may turn (worker threads come and go).
fn threads(pid: i32) -> Vec<(String, String)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let known =
        |comm: &str| ["CPU ", "IO iothread", "qemu-system"].iter().any(|start| comm.starts_with(start));
    tasks
        .filter_map(|task| {
            let comm = read(task.path().join("comm")).trim().to_owned();
            let status = read(task.path().join("status"));
            let stat = read(task.path().join("stat"));
            let cpus =
                status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.trim().to_owned();
            let nice = stat.rsplit_once(") ")?.1.split(' ').nth(16)?.to_owned();
            known(&comm).then(|| (comm, format!("on {cpus}, nice {nice}")))
        })
        .collect()
}

/// Guests that live: the same processes as at the beginning, whose loads go on.
pub(crate) struct Pulse(Vec<(Guest, i32)>);

impl Pulse {
    /// Of these guests, as they are now.
    pub(crate) fn of(guests: impl IntoIterator<Item = Guest>) -> Self {
        let with_pid = |guest: Guest| {
            let pid = guest.qemu_pid().unwrap();
            (guest, pid)
        };
        Self(guests.into_iter().map(with_pid).collect())
    }

    /// Fails unless every one is the same process, ticks, and its load makes progress.
    pub(crate) fn beats(&self) {
        let look = |(guest, pid): &(Guest, i32)| -> (u64, GuestStats) {
            assert_eq!(guest.qemu_pid().unwrap(), *pid, "{} is another process", guest.name());
            (guest.ticks().unwrap(), guest.stats_of(*pid).unwrap())
        };
        let before: Vec<_> = self.0.iter().map(look).collect();
        for ((guest, pid), (ticks, stats)) in self.0.iter().zip(before) {
            wait_for(&format!("progress of {}", guest.name()), SOON, || {
                let now = guest.stats_of(*pid).map_err(|error| error.to_string())?;
                let worked = match guest.spec().load.as_str() {
                    "io" => now.written > stats.written + (1 << 20),
                    "idle" => true,
                    _ => now.cpu_s > stats.cpu_s + 0.2,
                };
                let ticked = guest.ticks().is_some_and(|now| now >= ticks + 2);
                if worked && ticked { Ok(()) } else { Err(format!("worked {worked}, ticked {ticked}")) }
            })
            .unwrap();
        }
        for alive in &self.0 {
            look(alive);
        }
    }
}

/// Questions that every test asks.
pub(crate) trait Ask {
    /// Waits until the status is so.
    fn until(&self, what: &str, fits: impl Fn(&Status) -> bool) -> Status;
    /// Waits for this many more ticks.
    fn ticks(&self, more: u64) -> Status;
    /// Waits for the newest decision that fits.
    fn decision(&self, what: &str, fits: impl Fn(&Decision) -> bool) -> Decision;
    /// Waits for a trial whose changes have been made, and gives its decision.
    fn open_trial(&self) -> Decision;
    /// Stops deciding, and waits until no trial is left, nor a knob on its way back.
    fn quiet(&self);
    /// All guests as shown.
    fn shown(&self) -> Vec<Shown>;
    /// Waits until they are so: one look may fall into a moment in which libvirt, or a guest, is late.
    fn until_shown(&self, what: &str, fits: impl Fn(&[Shown]) -> bool) -> Vec<Shown>;
    /// One guest as shown.
    fn shown_one(&self, name: &str) -> Shown;
    /// Waits for word that a family of this guest's knobs is left alone, because somebody else turned one.
    fn leaves_to_admin(&self, guest: &str, family: &str);
    /// Waits until a line of the log, written since `from` bytes of it, contains all of these.
    fn says(&self, from: usize, parts: &[&str]) -> String;
    /// trimtabctl's exit code and what it said on both streams.
    fn refused(&self, arguments: &[&str]) -> String;
}

impl Ask for Trimtab {
    fn until(&self, what: &str, fits: impl Fn(&Status) -> bool) -> Status {
        wait_for(what, SOON, || match self.status() {
            Ok(status) if fits(&status) => Ok(status),
            other => Err(format!("{other:?}")),
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    fn ticks(&self, more: u64) -> Status {
        let from = self.until("a status", |_| true).ticks;
        self.until(&format!("{more} ticks after {from}"), |status| status.ticks >= from + more)
    }

    fn decision(&self, what: &str, fits: impl Fn(&Decision) -> bool) -> Decision {
        wait_for(what, VERDICT, || {
            let all = self.decisions().map_err(|error| error.to_string())?;
            all.iter().find(|decision| fits(decision)).cloned().ok_or_else(|| format!("{all:#?}"))
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    fn open_trial(&self) -> Decision {
        wait_for("a trial whose changes are made", VERDICT, || {
            let all = self.decisions().map_err(|error| error.to_string())?;
            let open = all.iter().find(|decision| decision.verdict == "pending").ok_or("no trial")?;
            // The log tells of each change; `to` names them all.
            let changes = open.to.split(' ').count();
            let made: usize = self.shown().iter().map(|guest| guest.originals.len()).sum();
            let done = self.log().matches(&format!("decision={}", open.id)).count();
            if made >= changes && done >= changes { Ok(open.clone()) } else { Err(format!("{open:?}")) }
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    fn quiet(&self) {
        self.ctl(&["pause"]).unwrap();
        wait_for("the end of all trials", SOON, || {
            let all = self.decisions().map_err(|error| error.to_string())?;
            if let Some(open) = all.into_iter().find(|decision| decision.verdict == "pending") {
                return Err(format!("{open:?}"));
            }
            let shown = self.shown();
            let going = |guest: &&Shown| guest.originals.iter().any(|o| o.going_back_to.is_some());
            shown.iter().find(going).map_or(Ok(()), |guest| Err(format!("{guest:?}")))
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
    }

    fn shown(&self) -> Vec<Shown> {
        self.json(&["guests"]).unwrap()
    }

    fn until_shown(&self, what: &str, fits: impl Fn(&[Shown]) -> bool) -> Vec<Shown> {
        wait_for(what, SOON, || {
            let shown = self.shown();
            if fits(&shown) { Ok(shown) } else { Err(format!("{shown:#?}")) }
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    fn shown_one(&self, name: &str) -> Shown {
        self.json(&["guest", name]).unwrap()
    }

    fn leaves_to_admin(&self, guest: &str, family: &str) {
        wait_for(&format!("{family} of {guest} left to the admin"), SOON, || {
            let left_alone = self.shown_one(guest).left_alone.unwrap_or_default();
            let said = left_alone.contains(family) && left_alone.contains("by somebody else");
            if said { Ok(()) } else { Err(left_alone) }
        })
        .unwrap();
    }

    fn says(&self, from: usize, parts: &[&str]) -> String {
        wait_for(&format!("a line with {parts:?}"), SOON, || {
            let log = self.log();
            let new = log.get(from..).unwrap_or_default();
            let line = new.lines().find(|line| parts.iter().all(|part| line.contains(part)));
            line.map(str::to_owned).ok_or_else(|| new.to_owned())
        })
        .unwrap()
    }

    fn refused(&self, arguments: &[&str]) -> String {
        self.ctl(arguments).expect_err("it was not refused").to_string()
    }
}
