//! The noisy neighbour: gain of the writer, objective against untouched and against the oracle, time to a kept decision,
//! rank correlation of the live objective with the true one.

use super::{Bench, Bound, Row};
use crate::scenario::Result;
use crate::scenario::arms::{Patience, SETTLE, Search, Solo, Tuned, refine, screen, under_trimtab};
use crate::scenario::objective::{median, spearman};
use crate::scenario::rig::{EQUAL, NOISY, WEIGHTED, Window};
use crate::scenario::setting::Setting;
use crate::trimtab::{Start, Trimtab};
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;
/// Small gains take several trials of up to a minute each; a host runs for weeks.
const PATIENCE: Patience = Patience {
    tuning: Duration::from_secs(150),
    quiet: Duration::from_secs(45),
    // No trial takes longer.
    verdict: Duration::from_secs(40),
};
const WINDOW: Duration = Duration::from_secs(12);
const ALONE: Duration = Duration::from_secs(6);
const SCREENING: Duration = Duration::from_secs(4);

/// Rounds of untouched, then Trimtab with an empty memory; what each did.
fn rounds(bench: &Bench) -> Result<Vec<(Window, Tuned)>> {
    (1..=ROUNDS)
        .map(|round| {
            bench.progress.step(format!("round {round}: untouched"));
            let untouched = bench.rig.measure(WINDOW)?;
            let tuned = under_trimtab(bench.rig, bench.progress, round, (PATIENCE, WINDOW))?;
            bench.progress.step(format!("round {round}: untouched again"));
            let after = bench.rig.measure(WINDOW)?;
            // On both sides of the tuned window: drift of the machine cancels to first order.
            let untouched = Window::mean(&[untouched, after]).unwrap_or(untouched);
            bench.progress.say(&format!(
                "  round {round}: writer {:.1} -> {:.1} MB/s, burners {:.2}+{:.2} -> {:.2}+{:.2} CPU, first kept after {}",
                untouched.rates()[0],
                tuned.window.rates()[0],
                untouched.rates()[1],
                untouched.rates()[2],
                tuned.window.rates()[1],
                tuned.window.rates()[2],
                tuned.first_kept.map_or_else(|| "-".to_owned(), |t| format!("{:.0} s", t.as_secs_f64())),
            ));
            bench.progress.say(&format!("    in force: {}", tuned.in_force()));
            for d in tuned.decisions.iter().rev() {
                bench.progress.say(&format!("    #{} {} {} | {} | {}", d.id, d.verdict, d.to, d.why, d.outcome));
            }
            Ok((untouched, tuned))
        })
        .collect()
}

/// How much was in force in each round while it was measured, and in how many nothing was: these show the luck of two
/// untouched windows and no work of Trimtab.
fn in_force(case: &str, rounds: &[(Window, Tuned)]) -> Vec<Row> {
    let counts = rounds.iter().map(|(_, tuned)| tuned.in_force.len());
    let nothing = counts.clone().filter(|&n| n == 0).count();
    let mut rows = vec![Row::new(
        &format!("{case}: rounds of {ROUNDS} with nothing kept"),
        Some(nothing as f64),
        Bound::Reported,
        "rounds",
    )];
    rows.extend(counts.enumerate().map(|(i, n)| {
        let name = format!("{case}, round {}: kept decisions in force", i + 1);
        Row::new(&name, Some(n as f64), Bound::Reported, "1")
    }));
    rows
}

/// What the worst guest got of its floor, and whether that was harm: by the same rule static configurations are admitted. A
/// constraint holds in every round or not at all, hence the worst one.
fn floor_rows(case: &str, solo: &Solo, weights: [u32; 3], rounds: &[(Window, Tuned)]) -> Vec<Row> {
    let parts: Vec<f64> = rounds.iter().map(|(_, t)| solo.floor(weights, &t.window)).collect();
    let fares = rounds.iter().map(|(untouched, t)| solo.harmless(weights, untouched, &t.window));
    let worst = fares.min_by(f64::total_cmp);
    vec![
        Row::new(
            &format!("{case}: nobody harmed beyond the noise, worst round"),
            worst,
            Bound::AtLeast(1.0),
            "1",
        ),
        Row::new(
            &format!("{case}: part of the floor that the worst guest got"),
            median(&parts),
            Bound::Reported,
            "1",
        ),
    ]
}

/// Writer of weight 2048.
pub(super) fn weighted(bench: &Bench) -> Result<Vec<Row>> {
    bench.rig.weigh(WEIGHTED)?;
    let (solo, _) = Solo::measure(bench.rig, bench.progress, ALONE)?;
    let rounds = rounds(bench)?;
    let gains: Vec<f64> = rounds.iter().map(|(u, t)| t.window.rates()[0] / u.rates()[0]).collect();
    let objectives: Vec<f64> = rounds
        .iter()
        .map(|(u, t)| solo.objective(WEIGHTED, &t.window) / solo.objective(WEIGHTED, u))
        .collect();
    let mut rows = vec![
        Row::new("noisy neighbour: writer, tuned / untouched", median(&gains), Bound::AtLeast(1.6), "1"),
        Row::new("noisy neighbour: objective, tuned / untouched", median(&objectives), Bound::Reported, "1"),
    ];
    rows.extend(floor_rows("noisy neighbour", &solo, WEIGHTED, &rounds));
    rows.extend(in_force("noisy neighbour", &rounds));
    Ok(rows)
}

/// The same guests with equal weights.
pub(super) fn equal(bench: &Bench) -> Result<Vec<Row>> {
    let (solo, _) = Solo::measure(bench.rig, bench.progress, ALONE)?;
    let state = bench.rig.host().dir().join("trimtab-state-watch");
    let watcher =
        Trimtab::start(bench.rig.host(), &Start { state_dir: Some(state), ..Start::mode("observe") })?;
    let tried = screen(bench.rig, bench.progress, &Setting::all(), SCREENING, Some(&watcher))?;
    watcher.stop()?;
    let pairs: Vec<(f64, f64)> =
        tried.iter().filter_map(|t| Some((t.live?, solo.objective(EQUAL, &t.window)))).collect();
    for t in &tried {
        bench.progress.say(&format!(
            "  {:<18} {:6.1} MB/s {:.2}+{:.2} CPU, objective {:.3}, live {:.3}, floor {:.2}",
            t.setting.name(),
            t.window.rates()[0],
            t.window.rates()[1],
            t.window.rates()[2],
            solo.objective(EQUAL, &t.window),
            t.live.unwrap_or(f64::NAN),
            solo.floor(EQUAL, &t.window)
        ));
    }
    let rounds = rounds(bench)?;
    let windows: Vec<Window> = rounds.iter().map(|(untouched, _)| *untouched).collect();
    let oracle = match &Window::mean(&windows) {
        Some(untouched) => {
            let search = Search { solo: &solo, weights: EQUAL, untouched, best: 5, length: WINDOW };
            refine(bench.rig, bench.progress, &search, &tried)?
        }
        None => None,
    };
    let (again, _) = Solo::measure(bench.rig, bench.progress, ALONE)?;
    let solo = solo.between(&again);
    let gains: Vec<f64> =
        rounds.iter().map(|(u, t)| solo.objective(EQUAL, &t.window) / solo.objective(EQUAL, u)).collect();
    let tuned: Vec<f64> = rounds.iter().map(|(_, t)| solo.objective(EQUAL, &t.window)).collect();
    let untouched: Vec<f64> = rounds.iter().map(|(u, _)| solo.objective(EQUAL, u)).collect();
    // Leaving everything alone is a static configuration too, and always allowed.
    let best = oracle
        .iter()
        .map(|t| (t.setting.name(), solo.objective(EQUAL, &t.window)))
        .chain(median(&untouched).map(|u| (Setting::untouched().name(), u)))
        .max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((name, value)) = &best {
        bench.progress.say(&format!("  best static configuration: {name}, objective {value:.3}"));
    }
    let against = best.and_then(|(_, best)| Some(median(&tuned)? / best));
    let mut rows = vec![
        Row::new("equal weights: objective, tuned / untouched", median(&gains), Bound::AtLeast(1.05), "1"),
        Row::new(
            &format!("equal weights: objective, tuned / best of {} static listed", tried.len()),
            against,
            Bound::AtLeast(0.90),
            "1",
        ),
        Row::new(
            &format!("rank correlation of live and true objective, {} settings", pairs.len()),
            spearman(&pairs),
            Bound::Reported,
            "1",
        ),
    ];
    rows.extend(floor_rows("equal weights", &solo, EQUAL, &rounds));
    rows.extend(in_force("equal weights", &rounds));
    Ok(rows)
}

/// From a change of load to the first decision kept after it.
pub(super) fn react(bench: &Bench) -> Result<Vec<Row>> {
    const LIMIT: Duration = Duration::from_secs(90);
    bench.rig.weigh(WEIGHTED)?;
    bench.rig.load(["idle", "cpu:2", "cpu:2"])?;
    let trimtab = Trimtab::start(bench.rig.host(), &Start::mode("enforce"))?;
    bench.progress.step("the writer idles");
    std::thread::sleep(SETTLE + Duration::from_secs(15));
    let known: Vec<u64> = trimtab.decisions()?.iter().map(|d| d.id).collect();
    bench.rig.load(NOISY)?;
    let start = Instant::now();
    bench.progress.step("the writer writes: waiting for a kept decision");
    let mut kept = None;
    while kept.is_none() && start.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(250));
        let helped = trimtab.decisions()?.into_iter().any(|d| d.verdict == "kept" && !known.contains(&d.id));
        kept = helped.then(|| start.elapsed().as_secs_f64());
    }
    trimtab.stop()?;
    Ok(vec![Row::new("load change to kept decision", kept, Bound::AtMost(30.0), "s")])
}
