//! The policy's configuration: plain data with bounds. May not: read files (daemon/src/config does).
//!
//! The unit is the end of every name. Each default says from which assumption it follows; the assumptions are: ticks of
//! 1 s, a guest's throughput needs about 1 s to follow a turned knob, and an admin expects a kept answer within 30 s.

use crate::decision::Mode;
use serde::{Deserialize, Serialize};

/// Everything that the policy can be told. Defaults are the commented defaults of systemd/trimtab.toml.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// How far Trimtab may go.
    pub mode: Mode,
    /// What a decision must reach and how often decisions are made.
    pub arbiter: ArbiterConfig,
    /// How a change is measured.
    pub trial: TrialConfig,
    /// How load is told apart.
    pub identify: IdentifyConfig,
}

/// Safety rails of the arbiter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArbiterConfig {
    /// A bottleneck must persist so long before anything is tried. 0..=600000. Default 3000: three ticks, so that one
    /// odd sample never moves a knob.
    pub hold_ms: u64,
    /// Rest after a closed decision before the next. 0..=3600000. Default 4000: the new state must have been seen for
    /// most of a window.
    pub cool_down_ms: u64,
    /// Decisions a minute at most. 1..=60. Default 5: a trial takes about 10 s. Each decision is one step of up to
    /// `changes_per_decision` changes, and as many back: what is bounded is how often the host is disturbed.
    pub decisions_per_min: u32,
    /// Single knob changes in one decision at most. 1..=10000. Default 160: some 20 guests of 8 threads, half a second
    /// of libvirt calls.
    pub changes_per_decision: u32,
    /// Least relative gain of the objective, predicted and measured. 0.5..=100. Default 3: below it a gain is not worth
    /// a moved knob.
    pub min_gain_pct: f64,
    /// No guest that wants more may fall below this part of its weight's share of the host. 0..=100. Default 90.
    pub floor_pct: f64,
    /// Back-off of a recipe after its first failure; doubles with each further one. 1000..=86400000. Default 60000: so a
    /// host with nothing to gain sees at most one change a minute.
    pub backoff_first_ms: u64,
    /// Longest back-off. 1000..=604800000. Default 3600000.
    pub backoff_max_ms: u64,
    /// Rest of a guest's knobs after `restore` or `revert`. 0..=86400000. Default 60000: time for the admin to look.
    pub after_command_ms: u64,
}

/// Windows and confidence of a trial (docs/algorithms/trial.md).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrialConfig {
    /// Least length of the window before. 2000..=600000. Default 5000.
    pub before_ms: u64,
    /// Most of the history that is used as window before, and the longest that is waited for when a shorter one is too noisy to
    /// tell the expected gain. 2000..=600000. Default 24000: older load is other load.
    pub before_max_ms: u64,
    /// Wait after the last change before measuring. 0..=60000. Default 1500: one tick is discarded whole.
    pub settle_ms: u64,
    /// Length of the window after, at the first look; at each further look it is half as long again. 2000..=600000. Default 6000: with hold and settle a first verdict
    /// falls after some 11 s, so two failures and a success fit into 30 s.
    pub after_ms: u64,
    /// Length at the last look of an undecided trial. 2000..=600000. Default 30000: a gain of a tenth under a noise of a tenth
    /// is found seven times in ten, with 24 s before (docs/algorithms/trial.md).
    pub after_max_ms: u64,
    /// One-sided confidence at each look. 60..=99.9. Default 98: with five looks some 5 % of changes that bring nothing are
    /// kept (docs/algorithms/trial.md).
    pub confidence_pct: f64,
}

/// Thresholds of the identification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentifyConfig {
    /// Features are means over so long. 1000..=600000. Default 5000.
    pub window_ms: u64,
    /// A longer pause between two samples is a gap: no rates across it. 1000..=600000. Default 5000: five lost ticks.
    pub gap_max_ms: u64,
    /// A guest waits for CPUs when it loses more than this of its speed. 1..=100. Default 10: the entitlement floor's
    /// own tolerance.
    pub contention_pct: f64,
    /// A guest that wants less CPU than this is idle, per cent of one CPU. 0.1..=100. Default 5: timer ticks and
    /// daemons of an idle Linux guest stay below it, also under TCG.
    pub idle_cpu_pct: f64,
    /// From so many disk requests a second a guest does I/O. 1..=1000000. Default 20: above a journal's commits.
    pub io_min_ops_per_s: f64,
    /// Or from so many KiB a second. 1..=100000000. Default 1024.
    pub io_min_kib_per_s: f64,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Observe,
            arbiter: ArbiterConfig::default(),
            trial: TrialConfig::default(),
            identify: IdentifyConfig::default(),
        }
    }
}

impl Default for ArbiterConfig {
    fn default() -> Self {
        Self {
            hold_ms: 3_000,
            cool_down_ms: 4_000,
            decisions_per_min: 5,
            changes_per_decision: 160,
            min_gain_pct: 3.0,
            floor_pct: 90.0,
            backoff_first_ms: 60_000,
            backoff_max_ms: 3_600_000,
            after_command_ms: 60_000,
        }
    }
}

impl Default for TrialConfig {
    fn default() -> Self {
        Self {
            before_ms: 5_000,
            before_max_ms: 24_000,
            settle_ms: 1_500,
            after_ms: 6_000,
            after_max_ms: 30_000,
            confidence_pct: 98.0,
        }
    }
}

impl Default for IdentifyConfig {
    fn default() -> Self {
        Self {
            window_ms: 5_000,
            gap_max_ms: 5_000,
            contention_pct: 10.0,
            idle_cpu_pct: 5.0,
            io_min_ops_per_s: 20.0,
            io_min_kib_per_s: 1_024.0,
        }
    }
}

/// A value that makes no sense. Nothing was changed; the configuration in force stays.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// Outside the documented range.
    #[error("{key} = {value} is outside {min}..={max}")]
    Range {
        /// Path of the key below the policy table, `trial.after_ms`.
        key: &'static str,
        /// The value given.
        value: f64,
        /// Least allowed.
        min: f64,
        /// Most allowed.
        max: f64,
    },
    /// Two keys contradict each other.
    #[error("{key} = {value} is less than {other} = {other_value}")]
    LessThan {
        /// The key that must not be the smaller.
        key: &'static str,
        /// Its value.
        value: u64,
        /// The other key.
        other: &'static str,
        /// Its value.
        other_value: u64,
    },
}

impl ConfigError {
    /// The key at fault, for a message with file and line.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Range { key, .. } | Self::LessThan { key, .. } => key,
        }
    }
}

impl PolicyConfig {
    /// Every value outside its range.
    ///
    /// # Errors
    /// All violations at once, so that an admin corrects a file in one go.
    pub fn validate(&self) -> Result<(), Vec<ConfigError>> {
        let (a, t, i) = (&self.arbiter, &self.trial, &self.identify);
        let ranges: [(&'static str, f64, f64, f64); 21] = [
            ("arbiter.hold_ms", a.hold_ms as f64, 0.0, 600e3),
            ("arbiter.cool_down_ms", a.cool_down_ms as f64, 0.0, 3_600e3),
            ("arbiter.decisions_per_min", f64::from(a.decisions_per_min), 1.0, 60.0),
            ("arbiter.changes_per_decision", f64::from(a.changes_per_decision), 1.0, 10_000.0),
            ("arbiter.min_gain_pct", a.min_gain_pct, 0.5, 100.0),
            ("arbiter.floor_pct", a.floor_pct, 0.0, 100.0),
            ("arbiter.backoff_first_ms", a.backoff_first_ms as f64, 1e3, 86_400e3),
            ("arbiter.backoff_max_ms", a.backoff_max_ms as f64, 1e3, 604_800e3),
            ("arbiter.after_command_ms", a.after_command_ms as f64, 0.0, 86_400e3),
            ("trial.before_ms", t.before_ms as f64, 2e3, 600e3),
            ("trial.before_max_ms", t.before_max_ms as f64, 2e3, 600e3),
            ("trial.settle_ms", t.settle_ms as f64, 0.0, 60e3),
            ("trial.after_ms", t.after_ms as f64, 2e3, 600e3),
            ("trial.after_max_ms", t.after_max_ms as f64, 2e3, 600e3),
            ("trial.confidence_pct", t.confidence_pct, 60.0, 99.9),
            ("identify.window_ms", i.window_ms as f64, 1e3, 600e3),
            ("identify.gap_max_ms", i.gap_max_ms as f64, 1e3, 600e3),
            ("identify.contention_pct", i.contention_pct, 1.0, 100.0),
            ("identify.idle_cpu_pct", i.idle_cpu_pct, 0.1, 100.0),
            ("identify.io_min_ops_per_s", i.io_min_ops_per_s, 1.0, 1e6),
            ("identify.io_min_kib_per_s", i.io_min_kib_per_s, 1.0, 1e8),
        ];
        let outside = |&(_, value, min, max): &(_, f64, f64, f64)| !(min..=max).contains(&value);
        let mut errors: Vec<ConfigError> = ranges
            .into_iter()
            .filter(outside)
            .map(|(key, value, min, max)| ConfigError::Range { key, value, min, max })
            .collect();
        let mut ordered = |key, value, other, other_value| {
            if value < other_value {
                errors.push(ConfigError::LessThan { key, value, other, other_value });
            }
        };
        ordered("trial.before_max_ms", t.before_max_ms, "trial.before_ms", t.before_ms);
        ordered("trial.after_max_ms", t.after_max_ms, "trial.after_ms", t.after_ms);
        ordered("arbiter.backoff_max_ms", a.backoff_max_ms, "arbiter.backoff_first_ms", a.backoff_first_ms);
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(PolicyConfig::default().validate(), Ok(()));
    }

    #[test]
    fn every_error_names_key_and_range() {
        let mut config = PolicyConfig::default();
        config.trial.after_ms = 100;
        config.arbiter.min_gain_pct = f64::NAN;
        config.trial.before_max_ms = 3_000;
        let errors = config.validate().unwrap_err();
        let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "arbiter.min_gain_pct = NaN is outside 0.5..=100",
                "trial.after_ms = 100 is outside 2000..=600000",
                "trial.before_max_ms = 3000 is less than trial.before_ms = 5000",
            ]
        );
        assert_eq!(errors[1].key(), "trial.after_ms");
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = serde_json::from_str::<PolicyConfig>(r#"{"trial":{"after":3}}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `after`"), "{error}");
    }
}
