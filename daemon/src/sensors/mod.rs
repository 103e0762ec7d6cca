//! What the host's kernel tells about the host and its guests: everything below /proc, /sys and /sys/fs/cgroup.
//!
//! Problem: some hundred threads at every tick for at most a few microseconds each, without ever waiting. Approach: files
//! that are kept open, parsed on bytes; what changes rarely is read rarely; what this kernel lacks is absent and said so
//! once (`status`). Everything is synchronous: these reads never wait for a guest, libvirt or a disk.
//! May not: read a clock, call libvirt, decide anything, write anywhere.

mod allowed;
mod cgroup;
mod files;
mod guest;
mod host;
pub mod parse;
pub mod perf;
#[cfg(test)]
mod tests;
mod thread;
pub mod topology;
mod vhost;

use allowed::TopologySensor;
use cgroup::{GuestGroup, Hierarchies};
use files::Budget;
use guest::GuestSensor;
use host::HostSensor;
use perf::PerfSensor;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use trimtab_policy::knob::PriorityDomain;
use trimtab_policy::sample::{HostSample, PsiSet, ThreadSample};
use trimtab_policy::topology::CpuSet;
use vhost::VhostFinder;

/// Ticks after which a guest that was not asked for is forgotten and its files are closed.
const FORGET_TICKS: u64 = 3;
/// Ticks between two searches for vhost workers outside of qemu, unless a new guest calls for one.
const VHOST_TICKS: u64 = 30;
/// Context switches and migrations are read in the first two of so many ticks.
const SOFTWARE_EVENT_TICKS: u64 = 30;

/// Where and how to look. `default()` is a real host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SensorsConfig {
    /// `/proc`, or a fixture.
    pub proc_root: PathBuf,
    /// `/sys`, or a fixture.
    pub sys_root: PathBuf,
    /// `/sys/fs/cgroup`, or a fixture.
    pub cgroup_root: PathBuf,
    /// CPUs that guests may use; found by the sensors (see allowed.rs) unless given.
    pub allowed: Option<CpuSet>,
    /// How CPU priority can be turned; found from the cgroup tree unless given (session mode: `Nice`, or `None` where that
    /// could not be undone).
    pub priority: Option<PriorityDomain>,
    /// The CPU last run on is refreshed at least every so many ticks.
    pub stat_ticks: u64,
    /// Count perf events of the guests' threads, as far as the host allows it.
    pub perf: bool,
    /// File descriptors that the sensors may hold; from RLIMIT_NOFILE (whose soft limit is raised) unless given.
    pub descriptors: Option<usize>,
}

impl Default for SensorsConfig {
    fn default() -> Self {
        Self {
            proc_root: "/proc".into(),
            sys_root: "/sys".into(),
            cgroup_root: "/sys/fs/cgroup".into(),
            allowed: None,
            priority: None,
            stat_ticks: 30,
            perf: true,
            descriptors: None,
        }
    }
}

/// The sensors could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SensorsError {
    /// `/proc` is not there: nothing can be sensed.
    #[error("cannot open {path}")]
    Proc {
        /// The path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

/// What every thread's reading needs to know.
#[derive(Clone, Copy, Debug)]
struct Rules {
    /// Ticks since start.
    tick: u64,
    /// One USER_HZ tick, ns.
    tick_ns: u64,
    /// See `SensorsConfig`.
    stat_ticks: u64,
    /// The kernel keeps `schedstat`; otherwise run time comes from `stat`, coarser, and waits are absent.
    has_sched_stat: bool,
    /// The kernel accounts block I/O delays.
    has_delay_accounting: bool,
    /// Context switches and migrations are due for this guest at this tick.
    with_software_events: bool,
}

#[derive(Debug)]
struct Guest {
    threads: GuestSensor,
    group: GuestGroup,
    asked_at: u64,
}

/// All sensors of one host.
#[derive(Debug)]
pub struct Sensors {
    config: SensorsConfig,
    proc_dir: OwnedFd,
    hierarchies: Hierarchies,
    priority: PriorityDomain,
    host: HostSensor,
    topology: TopologySensor,
    perf: PerfSensor,
    vhost: VhostFinder,
    vhost_due: u64,
    guests: BTreeMap<i32, Guest>,
    rules: Rules,
    budget: Budget,
    /// The host in one line.
    about: String,
}

impl Sensors {
    /// Opens the host's files and finds out what this kernel has.
    ///
    /// # Errors
    /// Only if there is no /proc; anything else that is missing is absent from the samples.
    pub fn new(config: SensorsConfig) -> Result<Self, SensorsError> {
        let proc_dir = files::open(&config.proc_root, OFlags::DIRECTORY)
            .map_err(|errno| SensorsError::Proc { path: config.proc_root.clone(), source: errno.into() })?;
        let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
        let rules = Rules {
            tick: 0,
            tick_ns,
            stat_ticks: config.stat_ticks.max(1),
            has_sched_stat: has_sched_stat(&config.proc_root),
            has_delay_accounting: has_delay_accounting(&config.proc_root),
            with_software_events: false,
        };
        let hierarchies = Hierarchies::find(&config.cgroup_root);
        Ok(Self {
            proc_dir,
            priority: config.priority.unwrap_or_else(|| hierarchies.priority()),
            host: HostSensor::open(&config.proc_root, tick_ns),
            topology: TopologySensor::open(&config, &hierarchies),
            perf: PerfSensor::probe(&config.proc_root, config.perf),
            vhost: VhostFinder::default(),
            vhost_due: 0,
            guests: BTreeMap::new(),
            rules,
            budget: config.descriptors.map_or_else(Budget::of_process, Budget::new),
            hierarchies,
            config,
            about: about_host(),
        })
    }

    /// Begins a tick and reads the host. Call it once a tick, before the guests.
    pub fn host(&mut self) -> HostSample {
        self.rules.tick += 1;
        let tick = self.rules.tick;
        self.guests.retain(|_, guest| guest.asked_at + FORGET_TICKS >= tick);
        let held: usize = self.guests.values().map(|g| g.threads.descriptors() + g.group.descriptors()).sum();
        self.budget.set_used(held + self.host.descriptors() + self.topology.descriptors());
        if tick >= self.vhost_due {
            self.vhost_due = tick + VHOST_TICKS;
            self.adopt_vhost();
        }
        let memory = self.host.memory();
        HostSample {
            topology: self.topology.topology(),
            priority: self.priority,
            cpus: self.host.cpus(),
            psi: self.host.psi(),
            mem_total_kib: memory.total_kib,
            mem_available_kib: memory.available_kib,
        }
    }

    /// The threads of the guest whose qemu is process `pid`, in ascending order of id; `None` if there is no such
    /// process (any more). A guest not asked for in some ticks is forgotten.
    pub fn guest(&mut self, pid: i32) -> Option<Vec<ThreadSample>> {
        if !self.guests.contains_key(&pid) {
            self.open_guest(pid).ok()?;
        }
        let guest = self.guests.get_mut(&pid)?;
        guest.asked_at = self.rules.tick;
        // Guests take turns, so that every tick costs the same.
        let turn = self.rules.tick.wrapping_add(u64::from(pid.unsigned_abs())) % SOFTWARE_EVENT_TICKS;
        self.rules.with_software_events = turn < 2;
        let threads =
            guest.threads.sample(self.proc_dir.as_fd(), &self.rules, &mut self.perf, &mut self.budget);
        if threads.is_none() {
            self.guests.remove(&pid);
        }
        threads
    }

    /// Pressure of the guest's own cgroup, where it has one (v2). Absent for a pid that `guest` has not seen.
    pub fn guest_psi(&self, pid: i32) -> PsiSet {
        self.guests.get(&pid).map(|guest| guest.group.psi()).unwrap_or_default()
    }

    /// Asks for the storage traffic of each thread of this guest (three times the cost of the rest), or no longer.
    pub fn want_thread_io(&mut self, pid: i32, wanted: bool) {
        if let Some(guest) = self.guests.get_mut(&pid) {
            guest.threads.set_with_io(wanted);
        }
    }

    /// The sensors in use and the ones that this host lacks, for the daemon's view.
    pub fn status(&self) -> BTreeMap<String, String> {
        let mut status = BTreeMap::new();
        let mut say = |name: &str, text: String| status.insert(name.to_owned(), text);
        let on = |has: bool, without: &str| if has { "on".to_owned() } else { without.to_owned() };
        let rules = &self.rules;
        say("host", self.about.clone());
        say(
            "schedstat",
            on(rules.has_sched_stat, "off: not in this kernel; run time from stat, waits unknown"),
        );
        say("blkio-delay", on(rules.has_delay_accounting, "off: kernel.task_delayacct is 0"));
        say("psi", on(self.host.has_psi(), "off: no /proc/pressure (old kernel, or booted with psi=0)"));
        say("perf", self.perf.text());
        say(
            "priority",
            match (self.priority, self.config.priority) {
                (PriorityDomain::CgroupV1, _) => "CPU shares of cgroup v1".to_owned(),
                (PriorityDomain::CgroupV2, _) => "CPU weight of cgroup v2".to_owned(),
                (PriorityDomain::Nice, _) => "nice".to_owned(),
                (PriorityDomain::None, Some(_)) => "off: a nice value could not be lowered again".to_owned(),
                (PriorityDomain::None, None) => "off: no cpu controller of cgroups".to_owned(),
            },
        );
        let reopened: usize = self.guests.values().map(|guest| guest.threads.reopened()).sum();
        let files = match reopened {
            0 => format!("kept open, at most {}", self.budget.limit()),
            n => format!("{n} threads opened for each read: more than {} files needed", self.budget.limit()),
        };
        say("files", files);
        status
    }

    fn open_guest(&mut self, pid: i32) -> Result<(), Errno> {
        let threads = GuestSensor::open(&self.config.proc_root, pid)?;
        let group = GuestGroup::find(&self.config.proc_root, pid, &self.hierarchies);
        self.guests.insert(pid, Guest { threads, group, asked_at: self.rules.tick });
        // Its vhost workers were there before it ran: look at the next tick.
        self.vhost_due = self.rules.tick + 1;
        Ok(())
    }

    fn adopt_vhost(&mut self) {
        for (worker, owner) in self.vhost.find(self.proc_dir.as_fd()) {
            let guest = self.guests.values_mut().find(|guest| guest.threads.owns(owner));
            if let Some(guest) = guest {
                guest.threads.adopt_vhost(worker);
            }
        }
    }
}

/// Kernel, system and totals of the host that we run on, for humans; read once, because it costs a hundred samples' worth.
fn about_host() -> String {
    use sysinfo::{MemoryRefreshKind, RefreshKind, System};
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let total = System::new_with_specifics(memory).map_or_else(
        |_| "memory unknown".to_owned(),
        |system| format!("{:.1} GiB", system.total_memory() as f64 / f64::from(1 << 30)),
    );
    let name = System::long_os_version().unwrap_or_else(|_| "unknown system".to_owned());
    let kernel = System::kernel_version().unwrap_or_else(|_| "of unknown version".to_owned());
    format!("{name}, kernel {kernel}, {total}")
}

/// Whether the kernel keeps `schedstat`. Where it does not, the file is missing or all zero even for ourselves, who run.
fn has_sched_stat(proc_root: &Path) -> bool {
    let text = std::fs::read(proc_root.join("self/schedstat")).unwrap_or_default();
    parse::sched_stat(&text).is_some_and(|seen| seen != parse::SchedStat::default())
}

/// Whether block I/O delays are accounted: a switch since Linux 5.14; before, on unless booted with `nodelayacct`.
fn has_delay_accounting(proc_root: &Path) -> bool {
    let text = |name: &str| std::fs::read_to_string(proc_root.join(name)).ok();
    if let Some(switch) = text("sys/kernel/task_delayacct") {
        return switch.trim() == "1";
    }
    let release = text("sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().ok());
    let version = (numbers.next().flatten(), numbers.next().flatten());
    let before_switch = matches!(version, (Some(major), Some(minor)) if (major, minor) < (5, 14));
    before_switch && text("cmdline").is_some_and(|line| !line.split_whitespace().any(|w| w == "nodelayacct"))
}
