//! Cases where there is nothing to fix: Trimtab must cost nothing and keep still.

use super::times::rfc3339;
use super::{Bench, Bound, Sheet};
use crate::scenario::Result;
use crate::scenario::arms::SETTLE;
use crate::scenario::setting::Setting;
use crate::trimtab::{Start, Trimtab};
use serde::Deserialize;
use std::time::{Duration, Instant};

/// How long Trimtab watches a case.
const UNDER: Duration = Duration::from_secs(180);
/// Untouched, before and after.
const BESIDE: Duration = Duration::from_secs(60);
/// Changes are counted within so many seconds.
const MINUTE: f64 = 60.0;

const BURNERS: &str = "three equal burners";
const IDLE: &str = "all idle";
const LONE: &str = "lone writer";

fn loss(case: &str) -> String {
    format!("nothing to fix, {case}: loss")
}

fn worst(case: &str) -> String {
    format!("nothing to fix, {case}: worst guest, under Trimtab / untouched")
}

fn changes(case: &str) -> String {
    format!("nothing to fix, {case}: most changes in a minute after the first")
}

fn sheet(case: &str) -> Sheet {
    Sheet::default()
        .with(loss(case), Bound::AtMost(2.0), "%")
        // Who of equal guests is ahead is the kernel's chance, Trimtab or not: no bound.
        .with(worst(case), Bound::Reported, "1")
        .with(changes(case), Bound::AtMost(1.0), "/min")
}

pub(super) fn burners_sheet() -> Sheet {
    sheet(BURNERS)
}

pub(super) fn idle_sheet() -> Sheet {
    sheet(IDLE)
}

pub(super) fn lone_sheet() -> Sheet {
    sheet(LONE)
}

/// Three equal burners; the rate is their CPU time.
pub(super) fn burners(bench: &Bench, sheet: &mut Sheet) -> Result<()> {
    bench.rig.load(["cpu:2"; 3])?;
    case((bench, sheet), BURNERS, |length| Ok(bench.rig.measure(length)?.cpu().to_vec()))
}

/// All idle; the rate is how often they come round to tick.
pub(super) fn idle(bench: &Bench, sheet: &mut Sheet) -> Result<()> {
    bench.rig.load(["idle"; 3])?;
    case((bench, sheet), IDLE, |length| {
        let (before, start) = (bench.rig.ticks(), Instant::now());
        std::thread::sleep(length);
        let (after, seconds) = (bench.rig.ticks(), start.elapsed().as_secs_f64());
        Ok(before.iter().zip(after).map(|(b, a)| a.saturating_sub(*b) as f64 / seconds).collect())
    })
}

/// A lone writer; the rate is its throughput.
pub(super) fn lone(bench: &Bench, sheet: &mut Sheet) -> Result<()> {
    bench.rig.load(["io", "idle", "idle"])?;
    case((bench, sheet), LONE, |length| Ok(vec![bench.rig.measure(length)?.rates()[0]]))
}

/// `rate` gives the rate of every guest that counts.
fn case(
    (bench, sheet): (&Bench, &mut Sheet),
    name: &str,
    rate: impl Fn(Duration) -> Result<Vec<f64>>,
) -> Result<()> {
    std::thread::sleep(SETTLE);
    bench.progress.step(format!("{name}: untouched"));
    let before = rate(BESIDE)?;
    bench.progress.step(format!("{name}: under Trimtab"));
    let trimtab = Trimtab::start(bench.rig.host(), &Start::mode("enforce"))?;
    let under = rate(UNDER)?;
    let decisions = trimtab.decisions()?;
    let turns: Vec<Turned> = trimtab.json(&["decisions", "-n", "1000"])?;
    sheet.fill(&changes(name), most_a_minute(&turns));
    trimtab.restore()?;
    trimtab.stop()?;
    bench.rig.apply(&Setting::untouched())?;
    bench.progress.step(format!("{name}: untouched again"));
    let after = rate(BESIDE)?;
    bench.progress.say(&format!("  {name}: {before:.2?}, {under:.2?} under Trimtab, {after:.2?}"));
    for d in decisions.iter().rev() {
        bench.progress.say(&format!("    #{} {} {} | {} | {}", d.id, d.verdict, d.to, d.why, d.outcome));
    }
    // On both sides: drift of the machine cancels to first order.
    let beside: Vec<f64> = before.iter().zip(after).map(|(b, a)| f64::midpoint(*b, a)).collect();
    let (under_sum, beside_sum) = (under.iter().sum::<f64>(), beside.iter().sum::<f64>());
    sheet.fill(&loss(name), Some(100.0 * (1.0 - under_sum / beside_sum)));
    sheet.fill(&worst(name), under.iter().zip(beside).map(|(u, b)| u / b).min_by(f64::total_cmp));
    Ok(())
}

/// When a decision was made and, if it was taken back, when that was done.
#[derive(Clone, Debug, Deserialize)]
struct Turned {
    time: String,
    verdict: String,
    closed: Option<String>,
}

/// The most changes within any minute, the first of all aside. What is taken back is turned twice.
fn most_a_minute(decisions: &[Turned]) -> Option<f64> {
    let mut times = Vec::new();
    for d in decisions {
        times.push(rfc3339(&d.time)?);
        if d.verdict == "reverted" {
            times.push(rfc3339(d.closed.as_ref()?)?);
        }
    }
    times.sort_by(f64::total_cmp);
    let after_first = times.get(1..).unwrap_or_default();
    let from = |start: &f64| after_first.iter().filter(|t| (*start..start + MINUTE).contains(*t)).count();
    Some(after_first.iter().map(from).max().unwrap_or(0) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(time: u32, back: Option<u32>) -> Turned {
        let at = |s: u32| format!("2026-11-20T09:{:02}:{:02}.000Z", s / 60, s % 60);
        let verdict = if back.is_some() { "reverted" } else { "kept" };
        Turned { time: at(time), verdict: verdict.to_owned(), closed: Some(at(back.unwrap_or(time + 10))) }
    }

    #[test]
    fn changes_are_counted_both_ways_in_the_worst_minute() {
        let most = |turns: &[Turned]| most_a_minute(turns).unwrap();
        assert_eq!(most(&[]), 0.0);
        assert_eq!(most(&[turned(5, None)]), 0.0, "the first is free");
        assert_eq!(most(&[turned(5, Some(15))]), 1.0, "its way back is not");
        assert_eq!(most(&[turned(90, Some(100)), turned(5, Some(15))]), 2.0, "newest first, as they come");
        assert_eq!(most(&[turned(5, None), turned(50, None), turned(109, None), turned(110, None)]), 2.0);
        let unclosed = Turned { closed: None, ..turned(5, Some(15)) };
        assert_eq!(most_a_minute(&[unclosed]), None, "unknown is not none");
    }
}
