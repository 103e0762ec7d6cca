//! What the daemon itself costs, how soon it sees, and whether a hung guest disturbs its rhythm.

use super::{Bench, Bound, Row};
use crate::scenario::objective::{median, percentile};
use crate::scenario::rig::NOISY;
use crate::scenario::{Result, ScenarioError};
use crate::testbed::{proc, wait_for};
use crate::trimtab::{Start, Trimtab};
use serde_json::Value;
use std::process::Command;
use std::time::{Duration, SystemTime};

/// How long CPU and rhythm are watched.
const WATCH: Duration = Duration::from_secs(60);
/// Starts measured.
const STARTS: usize = 5;
/// Makes the daemon log each tick and each observation with the time.
const LOG: &str = "info,trimtabd::tick=trace";
/// The line of a tick.
const TICK: &[&str] = &["TRACE tick "];
/// The line of an observation of all three guests: one without them is worth nothing.
const OBSERVED: &[&str] = &["TRACE observed ", " guests=3"];

/// All of it.
pub(super) fn all(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = many_guests(bench)?;
    bench.rig.load(NOISY)?;
    rows.extend(starts(bench)?);
    rows.extend(cost(bench)?);
    rows.push(rhythm(bench)?);
    Ok(rows)
}

/// CPU and memory of the loop over 100 stand-in guests of 4 vCPU threads, which the example `sample_cost` of the daemon makes;
/// it was built beside this program.
fn many_guests(bench: &Bench) -> Result<Vec<Row>> {
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
    let name = "sample + rates + policy, 100 guests x 4 vCPU threads";
    Ok(vec![
        Row::new(&format!("{name}: CPU"), value("sample + rates + policy"), Bound::AtMost(3.0), "ms"),
        Row::new(&format!("{name}: RSS"), value("sample + rates + policy: RSS"), Bound::AtMost(40.0), "MiB"),
    ])
}

/// CPU and memory at 1 Hz with three busy guests.
fn cost(bench: &Bench) -> Result<Vec<Row>> {
    let trimtab = Trimtab::start(bench.rig.host(), &Start::mode("enforce"))?;
    bench.progress.step("cost of the daemon");
    std::thread::sleep(Duration::from_secs(10));
    let pid = trimtab.process().pid();
    let cpu = || proc::threads_cpu_s(pid);
    let (before, start) = (cpu(), std::time::Instant::now());
    std::thread::sleep(WATCH);
    let percent = before.zip(cpu()).map(|(a, b)| 100.0 * (b - a) / start.elapsed().as_secs_f64());
    let rss = proc::rss_kib(pid).map(|kib| kib as f64 / 1024.0);
    trimtab.restore()?;
    trimtab.stop()?;
    Ok(vec![
        Row::new("daemon at 1 Hz, 3 guests: CPU", percent, Bound::AtMost(0.3), "% core"),
        Row::new("daemon at 1 Hz, 3 guests: RSS", rss, Bound::AtMost(24.0), "MiB"),
    ])
}

/// From exec to the first observation, median of some starts, on a loaded host.
fn starts(bench: &Bench) -> Result<Vec<Row>> {
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
    Ok(vec![Row::new("start to first observation", median(&times), Bound::AtMost(1.0), "s")])
}

/// Deviation of the time between two ticks from one second, with one guest's qemu stopped.
fn rhythm(bench: &Bench) -> Result<Row> {
    bench.rig.load(["idle", "idle", "idle"])?;
    let before = logged(bench, TICK).len();
    let trimtab = Trimtab::start(bench.rig.host(), &Start { log: LOG.to_owned(), ..Start::mode("observe") })?;
    std::thread::sleep(Duration::from_secs(5));
    bench.progress.step("rhythm with one hung qemu");
    let hung = bench.rig.guest(2);
    hung.stop()?;
    let from = logged(bench, TICK).len().max(before);
    std::thread::sleep(WATCH);
    let ticks = logged(bench, TICK);
    hung.cont()?;
    trimtab.stop()?;
    let late: Vec<f64> = ticks
        .get(from..)
        .unwrap_or_default()
        .windows(2)
        .map(|w| ((w[1] - w[0]) - 1.0).abs() * 1000.0)
        .collect();
    Ok(Row::new(
        "deviation of the 1 s tick with one hung qemu, p99",
        percentile(&late, 0.99),
        Bound::AtMost(50.0),
        "ms",
    ))
}

/// Times, in seconds since the epoch, of the daemon's log lines with all of `what` in them.
fn logged(bench: &Bench, what: &[&str]) -> Vec<f64> {
    let log = std::fs::read_to_string(bench.rig.host().dir().join("log/trimtabd.out")).unwrap_or_default();
    log.lines()
        .filter(|line| what.iter().all(|part| line.contains(part)))
        .filter_map(|line| rfc3339(line.split_whitespace().next()?))
        .collect()
}

/// `2026-11-20T09:42:00.123456Z` in seconds since the epoch.
fn rfc3339(text: &str) -> Option<f64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (y, m, d) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let mut time = time.splitn(3, ':').map(str::parse::<f64>);
    let (h, min, s) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    // Days since 1970-01-01 of the proleptic Gregorian calendar, years counted from March.
    let (y, m) = if m <= 2 { (y - 1, m + 9) } else { (y, m - 3) };
    let days =
        365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + d - 719_469;
    Some(days as f64 * 86400.0 + h * 3600.0 + min * 60.0 + s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_times() {
        assert_eq!(rfc3339("1970-01-01T00:00:01.5Z"), Some(1.5));
        assert_eq!(rfc3339("2024-02-29T12:00:00Z"), Some(1_709_208_000.0));
        assert_eq!(rfc3339("2026-11-20T09:42:00Z"), Some(1_795_167_720.0));
        assert_eq!(rfc3339("yesterday"), None);
    }
}
