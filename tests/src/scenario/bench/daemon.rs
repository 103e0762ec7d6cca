//! What the daemon itself costs, how soon it sees, and whether a hung guest disturbs its rhythm.

use super::times::rfc3339;
use super::{Bench, Bound, Sheet, Step};
use crate::scenario::objective::{median, percentile};
use crate::scenario::rig::NOISY;
use crate::scenario::{Result, ScenarioError};
use crate::testbed::{proc, wait_for};
use crate::trimtab::{Start, Trimtab};
use serde_json::Value;
use std::process::Command;
use std::time::{Duration, SystemTime};

/// How long CPU is watched.
const WATCH: Duration = Duration::from_secs(60);
/// Intervals between ticks in the rhythm: fewer have no 99th part but their greatest.
const INTERVALS: usize = 120;
/// Starts measured.
const STARTS: usize = 5;
/// Makes the daemon log each tick and each observation with the time.
const LOG: &str = "info,trimtabd::tick=trace";
/// The line of a tick.
const TICK: &[&str] = &["TRACE tick "];
/// The line of an observation of all three guests: one without them is worth nothing.
const OBSERVED: &[&str] = &["TRACE observed ", " guests=3"];

const MANY_CPU: &str = "sample + rates + policy, 100 guests x 4 vCPU threads: CPU";
const MANY_RSS: &str = "sample + rates + policy, 100 guests x 4 vCPU threads: RSS";
const COST_CPU: &str = "daemon at 1 Hz, 3 guests: CPU";
const COST_RSS: &str = "daemon at 1 Hz, 3 guests: RSS";
const START: &str = "start to first observation";

fn rhythm_name() -> String {
    format!("deviation of the 1 s tick with one hung qemu, p99 of {INTERVALS}")
}

/// All of it.
pub(super) fn steps() -> Vec<Step> {
    let many_sheet = || {
        Sheet::default().with(MANY_CPU, Bound::AtMost(3.0), "ms").with(MANY_RSS, Bound::AtMost(40.0), "MiB")
    };
    let cost_sheet = || {
        Sheet::default().with(COST_CPU, Bound::AtMost(0.3), "% core").with(
            COST_RSS,
            Bound::AtMost(24.0),
            "MiB",
        )
    };
    vec![
        Step { sheet: many_sheet, measure: many_guests },
        Step { sheet: || Sheet::default().with(START, Bound::AtMost(1.0), "s"), measure: starts },
        Step { sheet: cost_sheet, measure: cost },
        Step { sheet: || Sheet::default().with(rhythm_name(), Bound::AtMost(50.0), "ms"), measure: rhythm },
    ]
}

/// CPU and memory of the loop over 100 stand-in guests of 4 vCPU threads, which the example `sample_cost` of the daemon makes;
/// it was built beside this program.
fn many_guests(bench: &Bench, sheet: &mut Sheet) -> Result<()> {
    bench.rig.load(["idle", "idle", "idle"])?;
    bench.progress.step("a tick over 100 stand-in guests");
    let failed = |what: String| ScenarioError::Failed(format!("sample_cost: {what}"));
    let own = std::env::current_exe().map_err(|e| failed(e.to_string()))?;
    let program = own.with_file_name("examples").join("sample_cost");
    let output =
        Command::new(&program).output().map_err(|e| failed(format!("{}: {e}", program.display())))?;
    let said: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let value =
        |name: &str| said.iter().find(|row| row["name"] == name).and_then(|row| row["value"].as_f64());
    if said.is_empty() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    sheet.fill(MANY_CPU, value("sample + rates + policy"));
    sheet.fill(MANY_RSS, value("sample + rates + policy: RSS"));
    Ok(())
}

/// CPU and memory at 1 Hz with three busy guests.
fn cost(bench: &Bench, sheet: &mut Sheet) -> Result<()> {
    bench.rig.load(NOISY)?;
    let trimtab = Trimtab::start(bench.rig.host(), &Start::mode("enforce"))?;
    bench.progress.step("cost of the daemon");
    std::thread::sleep(Duration::from_secs(10));
    let pid = trimtab.process().pid();
    let cpu = || proc::threads_cpu_s(pid);
    let (before, start) = (cpu(), std::time::Instant::now());
    std::thread::sleep(WATCH);
    let percent = before.zip(cpu()).map(|(a, b)| 100.0 * (b - a) / start.elapsed().as_secs_f64());
    let rss = proc::rss_kib(pid).map(|kib| kib as f64 / 1024.0);
    sheet.fill(COST_CPU, percent);
    sheet.fill(COST_RSS, rss);
    trimtab.restore()?;
    Ok(trimtab.stop()?)
}

/// From exec to the first observation, median of some starts, on a loaded host.
fn starts(bench: &Bench, sheet: &mut Sheet) -> Result<()> {
    bench.rig.load(NOISY)?;
    let mut times = Vec::new();
    for n in 1..=STARTS {
        bench.progress.step(format!("start {n} of {STARTS}"));
        let seen = logged(bench, OBSERVED).len();
        let begin = SystemTime::now();
        let trimtab =
            Trimtab::spawn(bench.rig.host(), &Start { log: LOG.to_owned(), ..Start::mode("observe") })?;
        let first = wait_for("the first observation", Duration::from_secs(20), || {
            logged(bench, OBSERVED).get(seen).copied().ok_or_else(|| "no such line in its log".to_owned())
        });
        let begin = begin.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        match first {
            Ok(first) => times.push(first - begin),
            Err(error) => bench.progress.say(&format!("  {error}")),
        }
        trimtab.wait_up()?;
        trimtab.stop()?;
    }
    sheet.fill(START, median(&times));
    Ok(())
}

/// Deviation of the time between two ticks from one second, with one guest's qemu stopped and the others at full load.
fn rhythm(bench: &Bench, sheet: &mut Sheet) -> Result<()> {
    bench.rig.load(NOISY)?;
    let trimtab = Trimtab::start(bench.rig.host(), &Start { log: LOG.to_owned(), ..Start::mode("observe") })?;
    std::thread::sleep(Duration::from_secs(5));
    bench.progress.step("rhythm with one hung qemu");
    let hung = bench.rig.guest(2);
    hung.stop()?;
    let from = logged(bench, TICK).len();
    let limit = Duration::from_secs(INTERVALS as u64 + 10);
    let ticks = wait_for("the ticks of the daemon", limit, || {
        std::thread::sleep(Duration::from_secs(1));
        let ticks = logged(bench, TICK).get(from..).unwrap_or_default().to_vec();
        let enough = ticks.len() > INTERVALS;
        if enough { Ok(ticks) } else { Err(format!("{} of {}", ticks.len(), INTERVALS + 1)) }
    });
    hung.cont()?;
    trimtab.stop()?;
    let late: Vec<f64> =
        ticks?.windows(2).take(INTERVALS).map(|w| ((w[1] - w[0]) - 1.0).abs() * 1000.0).collect();
    sheet.fill(&rhythm_name(), percentile(&late, 0.99));
    Ok(())
}

/// Times, in seconds since the epoch, of the daemon's log lines with all of `what` in them.
fn logged(bench: &Bench, what: &[&str]) -> Vec<f64> {
    let log = std::fs::read_to_string(bench.rig.host().dir().join("log/trimtabd.out")).unwrap_or_default();
    log.lines()
        .filter(|line| what.iter().all(|part| line.contains(part)))
        .filter_map(|line| rfc3339(line.split_whitespace().next()?))
        .collect()
}
