//! Cases where there is nothing to fix: Trimtab must cost nothing and keep still.

use super::{Bench, Bound, Sheet};
use crate::scenario::Result;
use crate::scenario::arms::SETTLE;
use crate::scenario::objective::mean;
use crate::scenario::setting::Setting;
use crate::trimtab::{Start, Trimtab};
use std::time::{Duration, Instant};

/// How long Trimtab watches a case.
const UNDER: Duration = Duration::from_secs(180);
/// Untouched, before and after.
const BESIDE: Duration = Duration::from_secs(60);

const BURNERS: &str = "three equal burners";
const IDLE: &str = "all idle";
const LONE: &str = "lone writer";

fn loss(case: &str) -> String {
    format!("nothing to fix, {case}: loss")
}

fn changes(case: &str) -> String {
    format!("nothing to fix, {case}: changes after the first")
}

fn sheet(case: &str) -> Sheet {
    Sheet::default()
        .with(loss(case), Bound::AtMost(2.0), "%")
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
    case((bench, sheet), BURNERS, |length| Ok(bench.rig.measure(length)?.cpu().iter().sum()))
}

/// All idle; the rate is how often they come round to tick.
pub(super) fn idle(bench: &Bench, sheet: &mut Sheet) -> Result<()> {
    bench.rig.load(["idle"; 3])?;
    case((bench, sheet), IDLE, |length| {
        let (ticks, start) = (bench.rig.ticks(), Instant::now());
        std::thread::sleep(length);
        Ok((bench.rig.ticks() - ticks) as f64 / start.elapsed().as_secs_f64())
    })
}

/// A lone writer; the rate is its throughput.
pub(super) fn lone(bench: &Bench, sheet: &mut Sheet) -> Result<()> {
    bench.rig.load(["io", "idle", "idle"])?;
    case((bench, sheet), LONE, |length| Ok(bench.rig.measure(length)?.rates()[0]))
}

fn case(
    (bench, sheet): (&Bench, &mut Sheet),
    name: &str,
    rate: impl Fn(Duration) -> Result<f64>,
) -> Result<()> {
    std::thread::sleep(SETTLE);
    bench.progress.step(format!("{name}: untouched"));
    let before = rate(BESIDE)?;
    bench.progress.step(format!("{name}: under Trimtab"));
    let trimtab = Trimtab::start(bench.rig.host(), &Start::mode("enforce"))?;
    let under = rate(UNDER)?;
    let decisions = trimtab.decisions()?;
    trimtab.restore()?;
    trimtab.stop()?;
    bench.rig.apply(&Setting::untouched())?;
    bench.progress.step(format!("{name}: untouched again"));
    let after = rate(BESIDE)?;
    bench.progress.say(&format!("  {name}: {before:.2}, {under:.2} under Trimtab, {after:.2}"));
    for d in decisions.iter().rev() {
        bench.progress.say(&format!("    #{} {} {} | {} | {}", d.id, d.verdict, d.to, d.why, d.outcome));
    }
    let beside = mean(&[before, after]);
    sheet.fill(&loss(name), beside.map(|beside| 100.0 * (1.0 - under / beside)));
    let after_first = decisions.len().saturating_sub(1) as f64;
    sheet.fill(&changes(name), Some(after_first / (UNDER.as_secs_f64() / 60.0)));
    Ok(())
}
