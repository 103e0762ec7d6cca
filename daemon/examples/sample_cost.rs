//! What one tick costs: CPU time and memory of a process that does nothing but sample stand-in guests and decide on them.
//!
//! Each stand-in is a real process with the threads of a small guest (main thread, IOThread, vCPUs), all of which run a
//! little in every interval, so that nothing can be skipped for being idle. What libvirt would say of them is made up:
//! every guest writes to a disk. The policy enforces; each change is at once reported as done, though nothing is turned.
//! Only this process' own CPU time counts.
//! Prints one JSON object a line: name, value, bound, unit, pass. Exit code 1 when a bound is missed.
//! May not: touch libvirt.

use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::parent_id;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::Builder;
use std::time::Duration;
use trimtab_policy::config::PolicyConfig;
use trimtab_policy::decision::{Effect, Mode, Outcome};
use trimtab_policy::engine::{Engine, Start};
use trimtab_policy::knob::{Knob, KnobValue};
use trimtab_policy::sample::{BlockSample, GuestSample, Sample};
use trimtab_policy::topology::CpuSet;
use trimtab_policy::units::{GuestId, MonoNs, UnixMs};
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
}

fn main() -> anyhow::Result<ExitCode> {
    let args = <Args as clap::Parser>::parse();
    if let Some(parent) = args.stand_in_of {
        stand_in(parent, args.vcpus)?;
        return Ok(ExitCode::SUCCESS);
    }
    let guests = (0..args.guests).map(|_| StandIn::start(args.vcpus)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut world = World {
        sensors: Sensors::new(SensorsConfig { perf: !args.no_perf, ..SensorsConfig::default() })?,
        engine: Engine::new(Start {
            config: PolicyConfig { mode: Mode::Enforce, ..PolicyConfig::default() },
            next_decision: 1,
            ..Start::default()
        }),
        guests,
        vcpus: args.vcpus,
        turned: BTreeMap::new(),
        costs: Vec::new(),
    };
    for tick in 0..args.ticks + UNMEASURED {
        std::thread::sleep(Duration::from_millis(args.interval_ms));
        world.tick(tick, args.interval_ms);
    }
    let rows = rows(&world.costs[UNMEASURED as usize..], rss_mib()?);
    eprintln!("{} guests of {} vCPUs; {:?}", args.guests, args.vcpus, world.sensors.status());
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

type Row = (&'static str, f64, Option<f64>, &'static str);

/// Means over the ticks, and the worst tick.
fn rows(costs: &[Cost], rss_mib: f64) -> Vec<Row> {
    let mean = |part: fn(&Cost) -> u64| costs.iter().map(part).sum::<u64>() as f64 / 1e6 / costs.len() as f64;
    let worst = costs.iter().map(Cost::total_ns).max().unwrap_or_default() as f64 / 1e6;
    vec![
        ("host", mean(|cost| cost.host_ns), None, "ms CPU"),
        ("guest threads", mean(|cost| cost.threads_ns), None, "ms CPU"),
        ("guest cgroups", mean(|cost| cost.groups_ns), None, "ms CPU"),
        ("rates and policy", mean(|cost| cost.policy_ns), None, "ms CPU"),
        ("worst tick", worst, None, "ms CPU"),
        ("sample + rates + policy", mean(Cost::total_ns), Some(CPU_MS_BOUND), "ms CPU"),
        ("sample + rates + policy: RSS", rss_mib, Some(RSS_MIB_BOUND), "MiB"),
    ]
}

/// CPU time of this process in one tick, by part.
#[derive(Clone, Copy)]
struct Cost {
    host_ns: u64,
    threads_ns: u64,
    groups_ns: u64,
    policy_ns: u64,
}

impl Cost {
    fn total_ns(&self) -> u64 {
        self.host_ns + self.threads_ns + self.groups_ns + self.policy_ns
    }
}

struct World {
    sensors: Sensors,
    engine: Engine,
    guests: Vec<StandIn>,
    vcpus: u32,
    /// Knobs that the policy turned: what a read-back would find.
    turned: BTreeMap<(GuestId, Knob), KnobValue>,
    costs: Vec<Cost>,
}

impl World {
    /// One tick as the control loop makes it.
    fn tick(&mut self, tick: u32, interval_ms: u64) {
        let ms = u64::from(tick) * interval_ms;
        let t0 = cpu_ns();
        let host = self.sensors.host();
        let t1 = cpu_ns();
        let mut sample = Sample {
            at: MonoNs(1_000_000_000 + ms * 1_000_000),
            wall: UnixMs(1_700_000_000_000 + ms as i64),
            host,
            guests: BTreeMap::new(),
        };
        let all_cpus = sample.host.topology.cpu_set();
        for (guest, n) in self.guests.iter().zip(0u32..) {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&n.to_be_bytes());
            let threads = self.sensors.guest(guest.pid()).unwrap_or_default();
            let seen = GuestSample { pid: Some(guest.pid()), threads, ..GuestSample::default() };
            sample.guests.insert(GuestId(id), seen);
        }
        let t2 = cpu_ns();
        for guest in sample.guests.values_mut() {
            if let Some(pid) = guest.pid {
                guest.psi = self.sensors.guest_psi(pid);
                guest.allowed_cpus = self.sensors.guest_allowed_cpus(pid);
            }
        }
        let t3 = cpu_ns();
        for (&id, guest) in &mut sample.guests {
            guest.stats_at = Some(sample.at);
            self.libvirt_says(id, guest, tick, &all_cpus);
        }
        let t4 = cpu_ns();
        let (at, wall) = (sample.at, sample.wall);
        let mut effects = self.engine.observe(sample).effects;
        while let Some(effect) = effects.pop() {
            if let Effect::Apply { decision, change } = effect {
                self.turned.insert((change.guest, change.knob), change.to.clone());
                effects.extend(self.engine.applied(at, wall, decision, &change, &Outcome::Done));
            }
        }
        let t5 = cpu_ns();
        self.costs.push(Cost {
            host_ns: t1 - t0,
            threads_ns: t2 - t1,
            groups_ns: t3 - t2,
            policy_ns: t5 - t4,
        });
    }

    /// The part of a sample that is libvirt's. Not measured.
    fn libvirt_says(&self, id: GuestId, guest: &mut GuestSample, tick: u32, all_cpus: &CpuSet) {
        guest.name = id.to_string();
        guest.vcpus = self.vcpus;
        let written = u64::from(tick) * 100;
        guest.blocks = vec![BlockSample {
            name: "vda".to_owned(),
            wr_reqs: Some(written),
            wr_bytes: Some(written * 65_536),
            wr_time_ns: Some(written * 100_000),
            ..BlockSample::default()
        }];
        let affinities = (0..self.vcpus)
            .map(Knob::VcpuAffinity)
            .chain([Knob::EmulatorAffinity, Knob::IothreadAffinity(1)])
            .map(|knob| (knob, KnobValue::Cpus(all_cpus.clone())));
        let untouched = affinities.chain([(Knob::CpuShares, KnobValue::Shares(1024))]);
        let now = |(knob, value)| (knob, self.turned.get(&(id, knob)).cloned().unwrap_or(value));
        guest.knobs = tick.is_multiple_of(5).then(|| untouched.map(now).collect());
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
struct StandIn(Child);

impl StandIn {
    fn start(vcpus: u32) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--stand-in-of", &std::process::id().to_string(), "--vcpus", &vcpus.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take();
        let stand_in = Self(child);
        let mut line = String::new();
        if let Some(output) = output {
            BufReader::new(output).read_line(&mut line)?;
        }
        anyhow::ensure!(line.trim() == "ready", "a stand-in guest did not start");
        Ok(stand_in)
    }
    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap_or(i32::MAX)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
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
