//! The `loop` bench: every promised number of the control loop, printed beside its bound.
//!
//! Ratios are measured in one run, arms next to each other in time. A value that cannot be measured fails its row and says
//! why; the other steps go on. May not: assume a value.

mod daemon;
mod noisy;
mod nothing;
mod react;
mod rounds;
mod sheet;
mod times;

use super::progress::Progress;
use super::rig::{EQUAL, Rig, VCPUS};
use super::{Result, ScenarioError, report};
use crate::testbed::interrupt;
use sheet::{Bound, Sheet};
use std::path::Path;
use std::time::Duration;

pub use sheet::Row;

/// Parts of the bench, each of some minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Noisy neighbour, writer of weight 2048: gain of the writer
    Weighted,
    /// Noisy neighbour, equal weights: objective against untouched and against the oracle, rank correlation
    Equal,
    /// Load change to kept decision
    React,
    /// Three equal burners
    Burners,
    /// All idle
    Idle,
    /// A lone writer
    Lone,
    /// CPU, memory, start and rhythm of the daemon
    Daemon,
}

/// Some rows and how to measure them. If it fails, the rows that it has not filled have no value.
struct Step {
    sheet: fn() -> Sheet,
    measure: fn(&Bench, &mut Sheet) -> Result<()>,
}

impl Part {
    /// About how long it takes.
    fn planned(self) -> Duration {
        Duration::from_secs(match self {
            Self::Weighted => 350,
            Self::Equal => 900,
            Self::React => 60,
            Self::Burners | Self::Idle | Self::Lone => 320,
            Self::Daemon => 290,
        })
    }

    fn steps(self) -> Vec<Step> {
        match self {
            Self::Weighted => vec![Step { sheet: noisy::weighted_sheet, measure: noisy::weighted }],
            Self::Equal => vec![Step { sheet: noisy::equal_sheet, measure: noisy::equal }],
            Self::React => vec![Step { sheet: react::sheet, measure: react::measure }],
            Self::Burners => vec![Step { sheet: nothing::burners_sheet, measure: nothing::burners }],
            Self::Idle => vec![Step { sheet: nothing::idle_sheet, measure: nothing::idle }],
            Self::Lone => vec![Step { sheet: nothing::lone_sheet, measure: nothing::lone }],
            Self::Daemon => daemon::steps(),
        }
    }

    /// A host of its own for each part: what one leaves (knob memory, drift of a guest) must not help the next.
    fn rig(self) -> Result<Rig> {
        Rig::new(EQUAL, if self == Self::Burners { [2; 3] } else { VCPUS })
    }
}

/// What a part runs on.
pub(crate) struct Bench<'a> {
    pub(crate) rig: &'a Rig,
    pub(crate) progress: &'a Progress,
}

/// Runs the wanted parts (none named: all); whether every bound is met. The JSON is written anew after each part.
pub fn run(json: Option<&Path>, parts: &[Part]) -> Result<bool> {
    let all = <Part as clap::ValueEnum>::value_variants();
    let parts = if parts.is_empty() { all } else { parts };
    let progress = Progress::new(Duration::from_secs(20) + parts.iter().map(|p| p.planned()).sum());
    let mut rows = Vec::new();
    for &part in parts {
        progress.step(format!("{part:?}: starting a private libvirt host with three guests"));
        let rig = part.rig();
        for step in part.steps() {
            rows.extend(take(&progress, rig.as_ref(), &step));
        }
        drop(rig);
        if let Some(file) = json {
            let text =
                serde_json::to_string_pretty(&rows).map_err(|e| ScenarioError::Failed(e.to_string()))?;
            report::write(file, &(text + "\n"))?;
        }
    }
    let missed = rows.iter().filter(|row| !row.pass).count();
    progress.say(&format!("\n{} numbers, {missed} missed", rows.len()));
    Ok(missed == 0)
}

/// Takes one step, on a rig if there is one, and prints its rows.
fn take(progress: &Progress, rig: Result<&Rig, &ScenarioError>, step: &Step) -> Vec<Row> {
    let mut sheet = (step.sheet)();
    let failed = match rig {
        Ok(rig) => (step.measure)(&Bench { rig, progress }, &mut sheet).err().map(|e| e.to_string()),
        Err(error) => Some(error.to_string()),
    };
    if let Some(why) = failed {
        interrupt::wait_if_interrupted();
        progress.say(&format!("  not all could be measured: {why}"));
    }
    let rows: Vec<Row> = sheet.rows().collect();
    rows.iter().for_each(|row| progress.say(&row.line()));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;
    use std::collections::BTreeSet;

    #[test]
    fn a_step_without_a_host_is_rows_without_a_value() {
        let progress = Progress::new(Duration::ZERO);
        for step in Part::value_variants().iter().flat_map(|part| part.steps()) {
            let rows = take(&progress, Err(&ScenarioError::Failed("no host".to_owned())), &step);
            assert!(!rows.is_empty() && rows.iter().all(|row| row.value.is_none() && !row.pass));
        }
    }

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let steps = || Part::value_variants().iter().flat_map(|part| part.steps());
        let rows: Vec<Row> = steps().flat_map(|step| (step.sheet)().rows().collect::<Vec<_>>()).collect();
        let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names.len(), rows.len());
    }
}
