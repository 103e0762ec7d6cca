//! The noisy neighbour: gain of the writer, objective against untouched and against the oracle, rank correlation of the live
//! objective with the true one.

use super::rounds::{Rounds, WINDOW, promise};
use super::{Bench, Bound, Sheet};
use crate::scenario::Result;
use crate::scenario::arms::{Pass, Search, Solo, Tried, refine, screen};
use crate::scenario::objective::{median, spearman};
use crate::scenario::rig::{EQUAL, WEIGHTED, Window};
use crate::scenario::setting::Setting;
use crate::trimtab::{Start, Trimtab};
use std::time::Duration;

const ALONE: Duration = Duration::from_secs(6);
const SCREENING: Duration = Duration::from_secs(4);

const WEIGHTS: &str = "noisy neighbour";
const WRITER: &str = "noisy neighbour: writer, tuned / untouched";
const OBJECTIVE: &str = "noisy neighbour: objective, tuned / untouched";
const EVEN: &str = "equal weights";
const GAIN: &str = "equal weights: objective, tuned / untouched";

fn against() -> String {
    format!("equal weights: objective, tuned / best of {} static listed", Setting::all().len())
}

fn ranking() -> String {
    format!("rank correlation of live and true objective, {} settings", Setting::all().len())
}

pub(super) fn weighted_sheet() -> Sheet {
    let sheet = Sheet::default().with(WRITER, Bound::AtLeast(1.6), "1").with(OBJECTIVE, Bound::Reported, "1");
    promise(sheet, WEIGHTS)
}

/// Writer of weight 2048.
pub(super) fn weighted(bench: &Bench, sheet: &mut Sheet) -> Result<()> {
    bench.rig.weigh(WEIGHTED)?;
    let (solo, _) = Solo::measure(bench.rig, bench.progress, ALONE)?;
    let rounds = Rounds::run(bench)?;
    let objective = |w: &Window| solo.objective(WEIGHTED, w);
    let writer = rounds.each(|r| r.tuned.window.rates()[0] / r.untouched.rates()[0]);
    let gains = rounds.each(|r| objective(&r.tuned.window) / objective(&r.untouched));
    sheet.fill(WRITER, median(&writer));
    sheet.fill(OBJECTIVE, median(&gains));
    rounds.fill(sheet, WEIGHTS, &solo, WEIGHTED);
    Ok(())
}

pub(super) fn equal_sheet() -> Sheet {
    let sheet = Sheet::default()
        .with(GAIN, Bound::AtLeast(1.05), "1")
        .with(against(), Bound::AtLeast(0.90), "1")
        .with(ranking(), Bound::Reported, "1");
    promise(sheet, EVEN)
}

/// The same guests with equal weights.
pub(super) fn equal(bench: &Bench, sheet: &mut Sheet) -> Result<()> {
    let (first, _) = Solo::measure(bench.rig, bench.progress, ALONE)?;
    let tried = screened(bench, &first)?;
    let pairs: Vec<(f64, f64)> =
        tried.iter().filter_map(|t| Some((t.live?, first.objective(EQUAL, &t.window)))).collect();
    // Fewer pairs than the row says are no value of it.
    sheet.fill(&ranking(), spearman(&pairs).filter(|_| pairs.len() == Setting::all().len()));
    let rounds = Rounds::run(bench)?;
    let oracle = oracle(bench, &first, &rounds, &tried)?;
    let (again, _) = Solo::measure(bench.rig, bench.progress, ALONE)?;
    let solo = first.between(&again);
    let objective = |w: &Window| solo.objective(EQUAL, w);
    let gains = rounds.each(|r| objective(&r.tuned.window) / objective(&r.untouched));
    sheet.fill(GAIN, median(&gains));
    rounds.fill(sheet, EVEN, &solo, EQUAL);
    // Leaving everything alone is a static configuration too, and always allowed.
    let best = oracle
        .iter()
        .map(|t| (t.setting.name(), objective(&t.window)))
        .chain(median(&rounds.each(|r| objective(&r.untouched))).map(|u| (Setting::untouched().name(), u)))
        .max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((name, value)) = &best {
        bench.progress.say(&format!("  best static configuration: {name}, objective {value:.3}"));
    }
    let tuned = median(&rounds.each(|r| objective(&r.tuned.window)));
    sheet.fill(&against(), best.and_then(|(_, best)| Some(tuned? / best)));
    Ok(())
}

/// Every static configuration, the daemon watching.
fn screened(bench: &Bench, solo: &Solo) -> Result<Vec<Tried>> {
    let state = bench.rig.host().dir().join("trimtab-state-watch");
    let watcher =
        Trimtab::start(bench.rig.host(), &Start { state_dir: Some(state), ..Start::mode("observe") })?;
    let pass = Pass { length: SCREENING, watcher: Some(&watcher), ..Pass::default() };
    let tried = screen(bench.rig, bench.progress, &Setting::all(), pass)?;
    watcher.stop()?;
    for t in &tried {
        let rates = t.window.rates();
        bench.progress.say(&format!(
            "  {:<18} {:6.1} MB/s {:.2}+{:.2} CPU, objective {:.3}, live {:.3}, floor {:.2}",
            t.setting.name(),
            rates[0],
            rates[1],
            rates[2],
            solo.objective(EQUAL, &t.window),
            t.live.unwrap_or(f64::NAN),
            solo.floor(EQUAL, &t.window)
        ));
    }
    Ok(tried)
}

/// The best static configuration that harms nobody.
fn oracle(bench: &Bench, solo: &Solo, rounds: &Rounds, tried: &[Tried]) -> Result<Option<Tried>> {
    let Some(untouched) = &rounds.untouched() else { return Ok(None) };
    let search = Search { solo, weights: EQUAL, untouched, best: 10, length: WINDOW };
    refine(bench.rig, bench.progress, &search, tried)
}
