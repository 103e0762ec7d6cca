//! The `loop` bench: every promised number of the control loop, printed beside its bound.
//!
//! Ratios are measured in one run, arms next to each other in time. A value that cannot be measured fails its row and says
//! why; nothing is assumed.

mod daemon;
mod noisy;
mod nothing;

use super::progress::Progress;
use super::rig::{EQUAL, Rig, VCPUS};
use super::{Result, ScenarioError, report};
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

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

impl Part {
    /// About how long it takes.
    fn planned(self) -> Duration {
        Duration::from_secs(match self {
            Self::Weighted => 260,
            Self::Equal => 520,
            Self::React => 60,
            Self::Burners | Self::Idle | Self::Lone => 320,
            Self::Daemon => 230,
        })
    }
}

/// One number.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What it is.
    pub name: String,
    /// Its value, absent when it could not be measured.
    pub value: Option<f64>,
    /// Its bound with the comparison, absent for a number that is only reported.
    pub bound: Option<String>,
    /// Unit, `1` for a ratio.
    pub unit: &'static str,
    /// Whether the bound is met.
    pub pass: bool,
}

/// Comparison with a bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
    Reported,
}

impl Row {
    pub(crate) fn new(name: &str, value: Option<f64>, bound: Bound, unit: &'static str) -> Self {
        let value = value.filter(|v| v.is_finite());
        let (text, pass) = match bound {
            Bound::AtLeast(least) => (Some(format!(">= {least}")), value.is_some_and(|v| v >= least)),
            Bound::AtMost(most) => (Some(format!("<= {most}")), value.is_some_and(|v| v <= most)),
            Bound::Reported => (None, value.is_some()),
        };
        Self { name: name.to_owned(), value, bound: text, unit, pass }
    }

    fn line(&self) -> String {
        format!(
            "{:<62}{:>10} {:<6}{:>10}  {}",
            self.name,
            self.value.map_or_else(|| "none".to_owned(), |v| format!("{v:.3}")),
            self.unit,
            self.bound.as_deref().unwrap_or("-"),
            if self.pass { "ok" } else { "MISSED" }
        )
    }
}

/// What a part runs on.
pub(crate) struct Bench<'a> {
    pub(crate) rig: &'a Rig,
    pub(crate) progress: &'a Progress,
}

/// Runs the wanted parts (none named: all); whether every bound is met.
pub fn run(json: Option<&Path>, parts: &[Part]) -> Result<bool> {
    let all = <Part as clap::ValueEnum>::value_variants();
    let parts = if parts.is_empty() { all } else { parts };
    let progress = Progress::new(Duration::from_secs(20) + parts.iter().map(|p| p.planned()).sum());
    let mut rows = Vec::new();
    for &part in parts {
        progress.step(format!("{part:?}: starting a private libvirt host with three guests"));
        // A host of its own for each part: what one leaves (knob memory, drift of a guest) must not help the next.
        let vcpus = if part == Part::Burners { [2; 3] } else { VCPUS };
        let rig = Rig::new(EQUAL, vcpus)?;
        let bench = Bench { rig: &rig, progress: &progress };
        let new = match part {
            Part::Weighted => noisy::weighted(&bench)?,
            Part::Equal => noisy::equal(&bench)?,
            Part::React => noisy::react(&bench)?,
            Part::Burners => nothing::burners(&bench)?,
            Part::Idle => nothing::idle(&bench)?,
            Part::Lone => nothing::lone(&bench)?,
            Part::Daemon => daemon::all(&bench)?,
        };
        new.iter().for_each(|row| progress.say(&row.line()));
        rows.extend(new);
    }
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&rows).map_err(|e| ScenarioError::Failed(e.to_string()))?;
        report::write(file, &(text + "\n"))?;
    }
    let missed = rows.iter().filter(|row| !row.pass).count();
    progress.say(&format!("\n{} numbers, {missed} missed", rows.len()));
    Ok(missed == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        assert!(Row::new("a", Some(1.6), Bound::AtLeast(1.6), "1").pass);
        assert!(!Row::new("a", Some(1.59), Bound::AtLeast(1.6), "1").pass);
        assert!(Row::new("a", Some(2.0), Bound::AtMost(2.0), "%").pass);
        assert!(!Row::new("a", Some(f64::NAN), Bound::AtMost(2.0), "%").pass);
        assert!(!Row::new("a", None, Bound::Reported, "1").pass);
        let row = serde_json::to_value(Row::new("a", Some(1.0), Bound::AtMost(2.0), "%")).unwrap();
        assert_eq!(row["bound"], "<= 2");
    }
}
