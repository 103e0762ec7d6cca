//! trimtabd inside a testbed host, started as an admin would and asked through trimtabctl.
//!
//! May not: know anything of the daemon but its command line, its D-Bus name and trimtabctl's `--json`.

use crate::testbed::wait_for;
use crate::{Error, Host, Process, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Lets root own the daemon's name: the testbed's bus has the policy files that the host was given and no others.
pub const BUS_POLICY: &str = "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN\" \
    \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\"><busconfig><policy user=\"root\">\
    <allow own=\"org.trimtab1\"/></policy><policy context=\"default\"><allow send_destination=\"org.trimtab1\"/></policy></busconfig>";

/// How to start trimtabd.
#[derive(Clone, Debug)]
pub struct Start {
    /// `--mode`, or what the configuration says.
    pub mode: Option<String>,
    /// Text of trimtab.toml; without it the file is empty.
    pub config: String,
    /// State directory, a path that the host sees; one of its own, kept between starts, by default.
    pub state_dir: Option<PathBuf>,
    /// Log filter (`TRIMTAB_LOG`).
    pub log: String,
    /// Further environment.
    pub env: Vec<(String, String)>,
}

impl Start {
    /// In this mode, with the defaults of everything else.
    pub fn mode(mode: &str) -> Self {
        Self {
            mode: Some(mode.to_owned()),
            config: String::new(),
            state_dir: None,
            log: "info".to_owned(),
            env: Vec::new(),
        }
    }
}

/// One decision as `trimtabctl --json decisions` tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Number.
    pub id: u64,
    /// When it was made, RFC 3339.
    pub time: String,
    /// The guest that should gain.
    pub guest: String,
    /// Knob family.
    pub knob: String,
    /// Values before.
    pub from: String,
    /// Values after.
    pub to: String,
    /// Reasoning.
    pub why: String,
    /// Expected relative gain.
    pub expected: f64,
    /// Live objective before.
    pub before: Option<f64>,
    /// Live objective after.
    pub after: Option<f64>,
    /// `kept`, `reverted`, `pending`, `advised`.
    pub verdict: String,
    /// Why that verdict.
    #[serde(default)]
    pub outcome: String,
}

/// What `trimtabctl --json status` tells, as far as tests need it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Status {
    /// Mode in force.
    pub mode: String,
    /// Paused by command.
    pub paused: bool,
    /// `connected`, or why not.
    pub libvirt: String,
    /// `ok`, or what the journal lost.
    pub store: String,
    /// Usable CPUs, list format.
    pub cpus: String,
    /// Live objective, 0..=1.
    pub objective: Option<f64>,
    /// Number of guests.
    pub guests: u32,
    /// Ticks since start.
    pub ticks: u64,
}

/// A running trimtabd. Killed when dropped, like everything in a host.
#[derive(Debug)]
pub struct Trimtab {
    host: Host,
    process: Process,
}

/// A program of ours, beside the running one or one directory up (tests are in deps/).
pub fn program(name: &str) -> Result<PathBuf> {
    let exe = std::env::current_exe().map_err(Error::io("find this program"))?;
    exe.ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| Error::NotBuilt(name.to_owned()))
}

/// The command line of trimtabd inside `host`, its files below the host's directory.
pub fn command(host: &Host, start: &Start) -> Result<Command> {
    let config = host.dir().join("trimtab");
    let state = start.state_dir.clone().unwrap_or_else(|| host.dir().join("trimtab-state"));
    let make =
        |dir: &Path| std::fs::create_dir_all(dir).map_err(Error::io(format!("create {}", dir.display())));
    make(&config)?;
    make(&state)?;
    let file = config.join("trimtab.toml");
    std::fs::write(&file, &start.config).map_err(Error::io(format!("write {}", file.display())))?;
    let mut command = host.command(program("trimtabd")?);
    command.args(["--bus", "system", "--config-dir"]).arg(&config).arg("--state-dir").arg(&state);
    if let Some(mode) = &start.mode {
        command.args(["--mode", mode]);
    }
    command.env("TRIMTAB_LOG", &start.log).env("NO_COLOR", "1").envs(start.env.iter().cloned());
    Ok(command)
}

impl Trimtab {
    /// Starts trimtabd in `host` and waits until it answers.
    pub fn start(host: &Host, start: &Start) -> Result<Self> {
        let trimtab = Self::spawn(host, start)?;
        trimtab.wait_up()?;
        Ok(trimtab)
    }

    /// Starts trimtabd without waiting.
    pub fn spawn(host: &Host, start: &Start) -> Result<Self> {
        if !host.dir().join("bus-policy/org.trimtab1.conf").exists() {
            host.add_bus_policy("org.trimtab1.conf", BUS_POLICY)?;
        }
        let process = host.spawn(command(host, start)?, &host.dir().join("log/trimtabd.out"))?;
        Ok(Self { host: host.clone(), process })
    }

    /// Waits until it answers on the bus.
    pub fn wait_up(&self) -> Result<()> {
        wait_for("trimtabd on the bus", Duration::from_secs(30), || {
            if !self.process.running() {
                return Err(format!("it ended: {}", self.process.output()));
            }
            self.status().map(|_| ()).map_err(|e| e.to_string())
        })
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The process, to be signalled and waited for.
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its log so far (all starts of it in this host).
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Ticks in the log (with the filter `trimtabd::tick=trace`) since `from` bytes of it. An error unless the engine has looked
    /// once for each, at the latest while the next one was on: more than a tick late, somebody has held the loop up.
    pub fn rhythm(&self, from: usize) -> Result<usize> {
        let log = self.log();
        let log = log.get(from..).unwrap_or_default();
        let numbers = |word: &str| -> Vec<u64> {
            let number = |line: &str| line.split_once("tick=")?.1.split(' ').next()?.trim().parse().ok();
            log.lines().filter(|line| line.contains(word)).filter_map(number).collect()
        };
        let (ticks, looks) = (numbers(" tick tick="), numbers("observed"));
        let in_time = |tick: &u64| looks.contains(tick) || looks.contains(&(tick + 1));
        // The look at the last one may be under way.
        let due = &ticks[..ticks.len().saturating_sub(1)];
        let consecutive = ticks.windows(2).all(|pair| pair[1] == pair[0] + 1);
        if consecutive && due.iter().rev().skip(1).all(in_time) && looks.len() + 1 >= due.len() {
            return Ok(ticks.len());
        }
        Err(Error::Answer(format!("ticks {ticks:?}, looked during {looks:?}")))
    }

    /// Runs trimtabctl inside the host; its standard output.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let program = program("trimtabctl")?;
        let program = program.to_string_lossy();
        let mut all = vec![program.as_ref()];
        all.extend(arguments);
        self.host.exec(&all)
    }

    /// Runs `trimtabctl --json` inside the host.
    pub fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let mut all = vec!["--json"];
        all.extend(arguments);
        let text = self.ctl(&all)?;
        serde_json::from_str(&text)
            .map_err(|e| Error::Answer(format!("trimtabctl --json {}: {e}: {text}", arguments.join(" "))))
    }

    /// All decisions of the journal, newest first.
    pub fn decisions(&self) -> Result<Vec<Decision>> {
        self.json(&["decisions", "-n", "1000"])
    }

    /// Its state.
    pub fn status(&self) -> Result<Status> {
        self.json(&["status"])
    }

    /// Puts every knob back to what it was before the daemon touched it. A guest that is late in that moment, as emulated ones
    /// are now and then, gets its own later.
    pub fn restore(&self) -> Result<()> {
        match self.ctl(&["restore", "--all"]) {
            Err(error) if error.to_string().contains("goes on trying") => self.given_back(),
            answer => answer.map(|_| ()),
        }
    }

    /// Waits until no knob is turned: what could not be put back at once is tried again, ever more rarely.
    pub fn given_back(&self) -> Result<()> {
        #[derive(Debug, Deserialize)]
        struct Held {
            originals: Vec<serde_json::Value>,
        }
        wait_for("every knob back", Duration::from_secs(120), || {
            let all: Vec<Held> = self.json(&["guests"]).map_err(|error| error.to_string())?;
            if all.iter().all(|guest| guest.originals.is_empty()) { Ok(()) } else { Err(format!("{all:?}")) }
        })
    }

    /// Stops it as systemd would.
    pub fn stop(mut self) -> Result<()> {
        let status = self.process.stop()?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Answer(format!("trimtabd ended with {status}: {}", self.process.output())))
    }
}
