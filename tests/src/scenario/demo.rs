//! The demonstration: the noisy neighbour, untouched and under Trimtab, compared with the best that static tuning can do.

use super::arms::{Pass, Patience, Search, Solo, Tried, Tuned, refine, screen, under_trimtab};
use super::budget::{self, Budget};
use super::objective::median;
use super::progress::Progress;
use super::report;
use super::rig::{NAMES, Rig, VCPUS, WEIGHTED, Window};
use super::setting::Setting;
use super::{Result, ScenarioError};
use crate::trimtab::Decision;
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};

/// Rounds of untouched against Trimtab.
const ROUNDS: usize = 3;
/// A measured window.
const WINDOW: Duration = Duration::from_secs(10);
/// A window of the oracle's screening pass.
const SHORT: Duration = Duration::from_secs(4);
/// A window of a guest alone.
const ALONE: Duration = Duration::from_secs(6);
/// All of it is promised within so long.
const LIMIT: Duration = Duration::from_secs(480);
/// And the first table.
const FIRST: Duration = Duration::from_secs(180);
/// To end a round: the daemon stands still, is measured and ends.
const ROUND_END: Duration = Duration::from_secs(20);
/// To take the host down and write the report.
const DOWN: Duration = Duration::from_secs(20);
/// One configuration of the oracle's second pass.
const SECOND_PASS: Duration = Duration::from_secs(15);
/// Most of these.
const BEST: usize = 3;
/// About how long it all takes, for the progress bar.
const PLANNED: Duration = Duration::from_secs(400);

/// One guest of an arm, in the fixed JSON form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GuestResult {
    /// Name.
    pub name: String,
    /// `writer` or `burner`.
    pub role: &'static str,
    /// 10^6 bytes per second.
    pub write_mb_per_s: f64,
    /// CPUs' worth of time.
    pub cpu_cores: f64,
}

/// One arm, in the fixed JSON form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Arm {
    /// `untouched`, `trimtab`, `oracle`, `solo`.
    pub name: &'static str,
    /// Weighted speedup.
    pub objective: f64,
    /// The guests.
    pub guests: Vec<GuestResult>,
}

/// All of it, in the fixed JSON form (and what the report shows beyond it).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Demo {
    /// The arms.
    pub arms: Vec<Arm>,
    /// Writer's MB/s under Trimtab / untouched, median of the rounds.
    pub writer_gain: f64,
    /// Objective under Trimtab / of the oracle.
    pub objective_vs_oracle: f64,
    /// Every decision of every round, oldest first.
    pub decisions: Vec<DecisionResult>,
    /// The oracle's configuration: the best static one that harms nobody. Leaving everything alone is one too, and always allowed.
    pub oracle_setting: String,
    /// Of how many static configurations that one is the best.
    #[serde(skip)]
    pub static_settings: usize,
    /// Rounds in which Trimtab was measured with nothing kept: what is between their windows is luck.
    #[serde(skip)]
    pub nothing_kept: usize,
    /// Smallest share of a guest's entitlement floor under Trimtab, >= 1 when the floor holds.
    pub floor_margin: f64,
}

/// A decision in the JSON form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecisionResult {
    /// Round, from 1.
    pub round: usize,
    /// As the daemon told it, its number counted within the round.
    #[serde(flatten)]
    pub decision: Decision,
}

fn arm(name: &'static str, objective: f64, guests: &[crate::GuestRates; 3]) -> Arm {
    let guest = |i: usize| GuestResult {
        name: NAMES[i].to_owned(),
        role: if i == 0 { "writer" } else { "burner" },
        write_mb_per_s: guests[i].write_mb_per_s,
        cpu_cores: guests[i].cpu_cores,
    };
    Arm { name, objective, guests: (0..3).map(guest).collect() }
}

/// What has been measured so far.
#[derive(Default)]
struct Measured {
    untouched: Vec<Window>,
    tuned: Vec<Tuned>,
    solo_windows: Vec<[Window; 3]>,
    /// The best static configuration that harms nobody, if there is one.
    oracle: Option<Tried>,
    /// All that were tried.
    tried: Vec<Tried>,
}

impl Measured {
    /// A round in which Trimtab may take so long; how long the rest of the round took.
    fn round(&mut self, rig: &Rig, progress: &Progress, longest: Duration) -> Result<Duration> {
        let start = Instant::now();
        let verdict = Duration::from_secs(12);
        let patience =
            Patience { tuning: longest.saturating_sub(verdict), quiet: Duration::from_secs(6), verdict };
        let round = self.untouched.len() + 1;
        progress.step(format!("round {round}: untouched"));
        self.untouched.push(rig.measure(WINDOW)?);
        let tuned = under_trimtab(rig, progress, round, (patience, WINDOW))?;
        let rest = start.elapsed().saturating_sub(tuned.waited);
        self.tuned.push(tuned);
        Ok(rest)
    }

    /// The best static configuration, beside what is known so far of the guests untouched. `until` is when that has to be found.
    fn search(&mut self, rig: &Rig, progress: &Progress, solo: &Solo, until: Duration) -> Result<()> {
        let Some(untouched) = &Window::mean(&self.untouched) else { return Ok(()) };
        let left = until.saturating_sub(progress.elapsed());
        let screening = left.saturating_sub(SECOND_PASS * (BEST as u32 + 1));
        let pass = Pass { length: SHORT, until: Some(Instant::now() + screening), watcher: None };
        self.tried = screen(rig, progress, &Setting::promising(), pass)?;
        let left = until.saturating_sub(progress.elapsed()).as_secs() / SECOND_PASS.as_secs();
        let best = (left as usize).saturating_sub(1).min(BEST);
        let search = Search { solo, weights: WEIGHTED, untouched, best, length: WINDOW };
        self.oracle = refine(rig, progress, &search, &self.tried)?;
        Ok(())
    }

    fn result(&self, solo: &Solo) -> Result<Demo> {
        let nothing = || ScenarioError::Failed("nothing was measured".to_owned());
        let untouched = Window::mean(&self.untouched).ok_or_else(nothing)?;
        let tuned_windows: Vec<Window> = self.tuned.iter().map(|t| t.window).collect();
        let tuned = Window::mean(&tuned_windows).ok_or_else(nothing)?;
        let gains: Vec<f64> =
            self.untouched.iter().zip(&tuned_windows).map(|(u, t)| t.rates()[0] / u.rates()[0]).collect();
        let objective = |w: &Window| solo.objective(WEIGHTED, w);
        let alone: [crate::GuestRates; 3] = std::array::from_fn(|i| {
            let windows: Vec<Window> = self.solo_windows.iter().map(|w| w[i]).collect();
            Window::mean(&windows).unwrap_or(untouched).guests[i]
        });
        let mut arms = vec![
            arm("untouched", objective(&untouched), &untouched.guests),
            arm("trimtab", objective(&tuned), &tuned.guests),
        ];
        // Leaving everything alone is a static configuration too, and always allowed.
        let (oracle_setting, oracle) = self
            .oracle
            .as_ref()
            .filter(|tried| objective(&tried.window) > objective(&untouched))
            .map_or_else(
                || (Setting::untouched().name(), untouched),
                |tried| (tried.setting.name(), tried.window),
            );
        arms.push(arm("oracle", objective(&oracle), &oracle.guests));
        arms.push(arm("solo", 1.0, &alone));
        Ok(Demo {
            objective_vs_oracle: objective(&tuned) / objective(&oracle),
            oracle_setting,
            static_settings: self.tried.len(),
            nothing_kept: self.tuned.iter().filter(|t| t.in_force.is_empty()).count(),
            writer_gain: median(&gains).unwrap_or(0.0),
            floor_margin: solo.floor(WEIGHTED, &tuned),
            decisions: self
                .tuned
                .iter()
                .enumerate()
                .flat_map(|(i, t)| {
                    let oldest_first = t.decisions.iter().rev().cloned();
                    oldest_first.map(move |decision| DecisionResult { round: i + 1, decision })
                })
                .collect(),
            arms,
        })
    }
}

/// Runs the demonstration, prints its tables, writes the report and, if wanted, the JSON.
pub fn run(json: Option<&Path>, report_file: &Path) -> Result<()> {
    let progress = Progress::new(PLANNED);
    progress.step("starting a private libvirt host with three guests");
    let rig = Rig::new(WEIGHTED, VCPUS)?;
    let alone = Instant::now();
    let (mut solo, windows) = Solo::measure(&rig, &progress, ALONE)?;
    let alone = alone.elapsed();
    let mut measured = Measured { solo_windows: vec![windows], ..Measured::default() };
    let longest = budget::first(FIRST, progress.elapsed(), WINDOW + ROUND_END);
    let round = measured.round(&rig, &progress, longest)?;
    let mut first = measured.result(&solo)?.arms;
    first.retain(|arm| arm.name != "oracle"); // not searched yet
    progress.say(&format!(
        "After {}, first round:
{}",
        of(progress.elapsed(), FIRST),
        report::table(&first)
    ));
    // A quarter more than it took: neighbours may come.
    let budget = Budget { limit: LIMIT, closing: alone * 5 / 4 + DOWN, round: round * 5 / 4 };
    measured.search(&rig, &progress, &solo, budget.begin(ROUNDS - 1))?;
    loop {
        let (rounds, longest) = budget.rounds(progress.elapsed(), ROUNDS - measured.untouched.len());
        if rounds == 0 {
            break;
        }
        measured.round(&rig, &progress, longest)?;
    }
    let (again, windows) = Solo::measure(&rig, &progress, ALONE)?;
    measured.solo_windows.push(windows);
    solo = solo.between(&again);
    let demo = measured.result(&solo)?;
    progress.step("taking the host down");
    drop(rig);
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&demo).map_err(|e| ScenarioError::Failed(e.to_string()))?;
        report::write(file, &(text + "\n"))?;
    }
    report::write(report_file, &report::html(&demo, &measured.tried, &solo))?;
    progress.say(&format!(
        "\nAfter {}, {} of {ROUNDS} rounds:\n{}\n{}\nReport: {}",
        of(progress.elapsed(), LIMIT),
        measured.untouched.len(),
        report::table(&demo.arms),
        report::story(&demo),
        report_file.display()
    ));
    Ok(())
}

/// `97 s (promised within 180 s)`.
fn of(elapsed: Duration, limit: Duration) -> String {
    format!("{:.0} s (promised within {} s)", elapsed.as_secs_f64(), limit.as_secs())
}
