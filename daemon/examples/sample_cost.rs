//! What one tick costs: CPU time and memory of a process that does nothing but run the control loop over stand-in guests.
//!
//! Each stand-in is a real process with the threads of a small guest (main thread, IOThread, vCPUs), all of which run a
//! little in every interval, so that nothing can be skipped for being idle. What libvirt would say of them is made up:
//! every guest writes to a disk. The policy enforces; each change is at once reported as done, though nothing is turned.
//! Only this process' own CPU time counts, and of that what the loop spends: sampling, rates, policy, view.
//! Prints one JSON object a line: name, value, bound, unit, pass. Exit code 1 when a bound is missed.
//! May not: touch libvirt.

use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::parent_id;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;
use tokio::sync::watch;
use trimtab_policy::config::PolicyConfig;
use trimtab_policy::decision::{Effect, Mode, Outcome};
use trimtab_policy::engine::{Engine, Start};
use trimtab_policy::knob::{Knob, KnobValue};
use trimtab_policy::sample::{BlockSample, GuestState};
use trimtab_policy::topology::CpuSet;
use trimtab_policy::units::{GuestId, MonoNs, UnixMs};
use trimtabd::control_loop::guests::Ask;
use trimtabd::control_loop::{ControlLoop, Surroundings, Work};
use trimtabd::handle::View;
use trimtabd::libvirt::{GuestRef, GuestStats, LibvirtEvent};
use trimtabd::performer::Performed;
use trimtabd::sensors::{Sensors, SensorsConfig};

/// Bounds of docs/SPECIFICATION.md.
const CPU_MS_BOUND: f64 = 3.0;
const RSS_MIB_BOUND: f64 = 40.0;
/// Ticks in which threads are found and files opened.
const UNMEASURED: u32 = 3;
/// How long a stand-in's thread sleeps: every one runs in every interval.
const WAKE: Duration = Duration::from_millis(300);

#[derive(clap::Parser)]
struct Args {
    /// Guests
    #[arg(long, default_value_t = 100)]
    guests: u32,
    /// vCPU threads of each
    #[arg(long, default_value_t = 4)]
    vcpus: u32,
    /// Ticks that are measured, after some that are not
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    ticks: u32,
    /// Between two samples
    #[arg(long, default_value_t = 1000)]
    interval_ms: u64,
    /// Leave perf events out
    #[arg(long)]
    no_perf: bool,
    /// Be a stand-in guest of this process until it is gone
    #[arg(long, hide = true)]
    stand_in_of: Option<u32>,
    /// What the command line of a guest's qemu says
    #[arg(last = true, hide = true)]
    as_qemu: Vec<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = <Args as clap::Parser>::parse();
    if let Some(parent) = args.stand_in_of {
        stand_in(parent, args.vcpus)?;
        return Ok(ExitCode::SUCCESS);
    }
    let pids = std::env::temp_dir().join(format!("trimtab-sample-cost-{}", std::process::id()));
    std::fs::create_dir_all(&pids)?;
    let result = measure(&args, &pids);
    std::fs::remove_dir_all(&pids)?;
    let rows = result?;
    let mut all_pass = true;
    for (name, value, bound, unit) in rows {
        let pass = bound.map(|bound| value <= bound);
        all_pass &= pass != Some(false);
        println!(
            "{}",
            serde_json::json!({"name": name, "value": value, "bound": bound, "unit": unit, "pass": pass})
        );
    }
    Ok(if all_pass { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(args: &Args, pids: &Path) -> anyhow::Result<Vec<Row>> {
    let guests =
        (0..args.guests).map(|n| StandIn::start(n, args.vcpus, pids)).collect::<anyhow::Result<Vec<_>>>()?;
    let engine = Engine::new(Start {
        config: PolicyConfig { mode: Mode::Enforce, ..PolicyConfig::default() },
        next_decision: 1,
        ..Start::default()
    });
    let sensors = Sensors::new(SensorsConfig { perf: !args.no_perf, ..SensorsConfig::default() })?;
    let around = Surroundings { pid_dir: pids.to_owned(), journal_every_ticks: 5, questions: 2 };
    let (sender, view) = watch::channel(Arc::new(View::default()));
    let control = ControlLoop::new(engine, sensors, around, Vec::new(), String::new(), sender);
    let mut world =
        World { control, guests, vcpus: args.vcpus, turned: BTreeMap::new(), now_ms: 1_000, spent_ns: 0 };
    world.begin();
    let mut costs = Vec::new();
    for tick in 0..args.ticks + UNMEASURED {
        std::thread::sleep(Duration::from_millis(args.interval_ms));
        costs.push(world.tick(tick, args.interval_ms));
    }
    let seen = view.borrow().clone();
    anyhow::ensure!(
        seen.guests.len() == args.guests as usize && seen.guests.values().all(|g| g.cpu_cores.is_some()),
        "the loop did not see every stand-in"
    );
    eprintln!("{} guests of {} vCPUs; {:?}", args.guests, args.vcpus, seen.sensors);
    Ok(rows(&costs[UNMEASURED as usize..], rss_mib()?))
}

type Row = (&'static str, f64, Option<f64>, &'static str);

/// Means over the ticks, and the worst tick.
fn rows(costs: &[Cost], rss_mib: f64) -> Vec<Row> {
    let mean = |part: fn(&Cost) -> u64| costs.iter().map(part).sum::<u64>() as f64 / 1e6 / costs.len() as f64;
    let worst = costs.iter().map(Cost::total_ns).max().unwrap_or_default() as f64 / 1e6;
    vec![
        ("sample of the host and its guests", mean(|cost| cost.sample_ns), None, "ms CPU"),
        ("rates, policy and view", mean(|cost| cost.policy_ns), None, "ms CPU"),
        ("answers of libvirt and of changes", mean(|cost| cost.answers_ns), None, "ms CPU"),
        ("worst tick", worst, None, "ms CPU"),
        ("sample + rates + policy", mean(Cost::total_ns), Some(CPU_MS_BOUND), "ms CPU"),
        ("sample + rates + policy: RSS", rss_mib, Some(RSS_MIB_BOUND), "MiB"),
    ]
}

/// CPU time of the control loop in one tick, by part.
#[derive(Clone, Copy)]
struct Cost {
    sample_ns: u64,
    policy_ns: u64,
    answers_ns: u64,
}

impl Cost {
    fn total_ns(&self) -> u64 {
        self.sample_ns + self.policy_ns + self.answers_ns
    }
}

struct World {
    control: ControlLoop,
    guests: Vec<StandIn>,
    vcpus: u32,
    /// Knobs that the policy turned: what a read-back would find.
    turned: BTreeMap<(GuestId, Knob), KnobValue>,
    now_ms: u64,
    /// CPU time that the loop spent since it was last asked for.
    spent_ns: u64,
}

impl World {
    fn now(&self) -> (MonoNs, UnixMs) {
        (MonoNs(self.now_ms * 1_000_000), UnixMs(1_700_000_000_000 + self.now_ms as i64))
    }

    /// Lets the loop do something and counts what that costs.
    fn counted(&mut self, what: impl FnOnce(&mut ControlLoop) -> Vec<Work>) -> Vec<Work> {
        let begin = cpu_ns();
        let work = what(&mut self.control);
        self.spent_ns += cpu_ns() - begin;
        work
    }

    /// libvirt is there, with every guest.
    fn begin(&mut self) {
        let mut work = self.counted(|control| control.on_libvirt(LibvirtEvent::Connected));
        let all = self.guests.iter().map(|g| GuestRef { id: g.id, name: g.name.clone() }).collect();
        work.extend(self.counted(|control| control.on_guests(Ok(all))));
        self.answer(work);
    }

    /// One tick with everything that libvirt and the performer would answer.
    fn tick(&mut self, tick: u32, interval_ms: u64) -> Cost {
        self.now_ms += interval_ms;
        self.spent_ns = 0;
        let (now, wall) = self.now();
        let asked = self.counted(|control| control.on_tick(now, wall, "ok".to_owned()));
        let sample_ns = std::mem::take(&mut self.spent_ns);
        let stats = self.guests.iter().map(|g| g.stats(self.vcpus, tick)).collect();
        let decided = self.counted(|control| control.on_stats(now, Ok(stats)));
        let policy_ns = std::mem::take(&mut self.spent_ns);
        self.answer(asked);
        self.answer(decided);
        Cost { sample_ns, policy_ns, answers_ns: self.spent_ns }
    }

    fn answer(&mut self, mut work: Vec<Work>) {
        let (now, wall) = self.now();
        while let Some(item) = work.pop() {
            let more = match item {
                Work::AskGuest(id, _, Ask::Knobs) => {
                    let knobs = self.knobs(id);
                    self.counted(|control| control.on_knobs(id, Ok(knobs)))
                }
                Work::AskGuest(id, _, Ask::Metadata) => {
                    self.counted(|control| control.on_metadata(id, Ok(None)))
                }
                Work::AskGuest(id, _, Ask::Job) => self.counted(|control| control.on_job(id, &Ok(false))),
                Work::Perform(batch) => {
                    let mut more = Vec::new();
                    for effect in batch.effects {
                        let Effect::Apply { decision, change } = effect else { continue };
                        self.turned.insert((change.guest, change.knob), change.to.clone());
                        let done = Performed { decision, change, outcome: Outcome::Done };
                        more.extend(self.counted(|control| control.on_performed(now, wall, &done)));
                    }
                    more
                }
                // Asked by the tick itself, or not asked here.
                _ => Vec::new(),
            };
            work.extend(more);
        }
    }

    /// What a read-back finds.
    fn knobs(&self, id: GuestId) -> BTreeMap<Knob, KnobValue> {
        let all = KnobValue::Cpus(CpuSet::first(64));
        let affinities = (0..self.vcpus)
            .map(Knob::VcpuAffinity)
            .chain([Knob::EmulatorAffinity, Knob::IothreadAffinity(1)])
            .map(|knob| (knob, all.clone()));
        let untouched = affinities.chain([(Knob::CpuShares, KnobValue::Shares(1024))]);
        untouched
            .map(|(knob, value)| (knob, self.turned.get(&(id, knob)).cloned().unwrap_or(value)))
            .collect()
    }
}

fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Highest resident set so far.
fn rss_mib() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<f64>().ok());
    Ok(kib.ok_or_else(|| anyhow::anyhow!("/proc/self/status has no VmHWM"))? / 1024.0)
}

/// A child that ends with this process, however that ends.
struct StandIn {
    child: Child,
    id: GuestId,
    name: String,
}

impl StandIn {
    /// Starts guest `n` and writes its pid file, as libvirt does.
    fn start(n: u32, vcpus: u32, pids: &Path) -> anyhow::Result<Self> {
        let name = format!("stand-in-{n}");
        // The loop takes for qemu whose arguments say so.
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--stand-in-of", &std::process::id().to_string(), "--vcpus", &vcpus.to_string()])
            .args(["--", "-name", &format!("guest={name},debug-threads=on")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take();
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        let stand_in = Self { child, id: GuestId(id), name };
        let mut line = String::new();
        if let Some(output) = output {
            BufReader::new(output).read_line(&mut line)?;
        }
        anyhow::ensure!(line.trim() == "ready", "a stand-in guest did not start");
        std::fs::write(pids.join(format!("{}.pid", stand_in.name)), stand_in.child.id().to_string())?;
        Ok(stand_in)
    }

    /// What libvirt would say of it: some writing.
    fn stats(&self, vcpus: u32, tick: u32) -> GuestStats {
        let written = u64::from(tick) * 100;
        let disk = BlockSample {
            name: "vda".to_owned(),
            wr_reqs: Some(written),
            wr_bytes: Some(written * 65_536),
            wr_time_ns: Some(written * 100_000),
            ..BlockSample::default()
        };
        GuestStats {
            name: self.name.clone(),
            id: Some(self.id),
            state: GuestState::Running,
            vcpus: Some(vcpus),
            blocks: Some(vec![disk]),
            ..GuestStats::default()
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stand_in(parent: u32, vcpus: u32) -> anyhow::Result<()> {
    let names = (0..vcpus).map(|n| format!("CPU {n}/KVM")).chain(["IO iothread1".to_owned()]);
    for name in names {
        Builder::new().name(name).stack_size(64 * 1024).spawn(|| {
            loop {
                std::thread::sleep(WAKE);
            }
        })?;
    }
    // Threads name themselves; the names have to be there before anybody looks.
    std::thread::sleep(Duration::from_millis(20));
    println!("ready");
    while parent_id() == parent {
        std::thread::sleep(WAKE);
    }
    Ok(())
}
