//! What helped which workload: lessons per (profile, recipe).
//!
//! A recipe that was kept is tried first next time under the same profile; one that failed rests, twice as long after each
//! further failure, and long when it was the admin who undid it. What its trials measured is weighed against the model's
//! prediction by uncertainty, and fades: no measurement speaks for ever (docs/algorithms/trial.md). Time is the monotonic
//! clock of this run; a lesson loaded from the store rests and ages from its wall time on, as far as the wall clock can be
//! believed. Profiles are combinations without end: beyond a bound the lesson that is longest unused goes. May not: decide.

use crate::config::ArbiterConfig;
use crate::decision::Lesson;
use crate::units::{MonoNs, UnixMs};
use std::collections::BTreeMap;

/// Failures in a row that an admin's undoing counts as: at the defaults eight minutes of rest, and sixteen after the next.
const VETO_FAILURES: u32 = 4;

/// Standard deviation of the model's prediction of a gain. What a trial measured this exactly counts as much as the model.
const MODEL_ERROR: f64 = 0.1;
/// After so long a measurement is no more exact than the model, however exact it was.
const FADES_MS: f64 = 3_600_000.0;

/// Lessons that are remembered; the journal keeps as many (`store/src/prune.rs`).
const MAX_LESSONS: usize = 2048;

/// Key of a lesson.
type Key = (String, String);

/// What is known under one key.
#[derive(Clone, Debug)]
struct Memory {
    lesson: Lesson,
    /// When the lesson's error was right.
    since: MonoNs,
    rests_until: MonoNs,
    /// Higher in what was learned later.
    turn: u64,
}

impl Memory {
    /// Variance of what was measured, as of now.
    fn variance(&self, now: MonoNs) -> Option<f64> {
        let age_ms = (now.since(self.since) / 1_000_000) as f64;
        Some(faded(self.lesson.error?, age_ms))
    }

    /// Brings the lesson's error up to date.
    fn age(&mut self, now: (MonoNs, UnixMs)) {
        self.lesson.error = self.variance(now.0).map(f64::sqrt);
        self.lesson.last = now.1;
        self.since = now.0;
    }

    /// Takes a measured gain and its standard error in.
    fn measured(&mut self, gain: f64, error: f64) {
        let new = (error * error).max(f64::MIN_POSITIVE);
        // Without former evidence the new one stands alone.
        let trust = self.lesson.error.map_or(1.0, |e| e * e / (e * e + new));
        self.lesson.mean_gain += trust * (gain - self.lesson.mean_gain);
        self.lesson.error = Some((trust * new).sqrt());
    }
}

/// Variance of a measurement after so long.
fn faded(error: f64, age_ms: f64) -> f64 {
    error * error + MODEL_ERROR * MODEL_ERROR * age_ms / FADES_MS
}

/// The memory.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    memories: BTreeMap<Key, Memory>,
    /// The last turn given.
    turn: u64,
}

impl Knowledge {
    /// Memory of former runs. Back-offs that were running go on: `now` is the present on both clocks.
    pub fn load(mut lessons: Vec<Lesson>, now: (MonoNs, UnixMs), config: &ArbiterConfig) -> Self {
        lessons.sort_by_key(|lesson| lesson.last);
        let lessons = lessons.split_off(lessons.len().saturating_sub(MAX_LESSONS));
        let turn = lessons.len() as u64;
        let memory = |(mut lesson, turn): (Lesson, u64)| {
            // A last trial in the future means that the wall clock was set back: the full rest is served.
            let passed_ms = u64::try_from(now.1.0.saturating_sub(lesson.last.0)).unwrap_or(0);
            let left_ms = backoff_ms(lesson.failures, config).saturating_sub(passed_ms);
            lesson.error = lesson.error.map(|error| faded(error, passed_ms as f64).sqrt());
            lesson.last = now.1;
            let key = (lesson.profile.clone(), lesson.recipe.clone());
            (key, Memory { lesson, since: now.0, rests_until: after(now.0, left_ms), turn })
        };
        Self { memories: lessons.into_iter().zip(1..).map(memory).collect(), turn }
    }

    /// Whether a recipe rests under a profile, and until when.
    pub fn rests(&self, profile: &str, recipe: &str, now: MonoNs) -> Option<MonoNs> {
        self.memory(profile, recipe).map(|m| m.rests_until).filter(|&until| until > now)
    }

    /// Enters the end of a trial and gives the lesson to store. `gain` is what was measured and its standard error.
    pub fn learn(
        &mut self,
        profile: &str,
        recipe: &str,
        kept: bool,
        gain: Option<(f64, f64)>,
        now: (MonoNs, UnixMs),
        config: &ArbiterConfig,
    ) -> Lesson {
        let memory = self.entry(profile, recipe, now);
        memory.lesson.tried = memory.lesson.tried.saturating_add(1);
        if let Some((gain, error)) = gain.filter(|(g, e)| g.is_finite() && e.is_finite()) {
            memory.measured(gain, error);
        }
        let lesson = &mut memory.lesson;
        lesson.kept = lesson.kept.saturating_add(u32::from(kept));
        lesson.failures = if kept { 0 } else { lesson.failures.saturating_add(1) };
        memory.rests_until = after(now.0, backoff_ms(lesson.failures, config));
        lesson.clone()
    }

    /// Enters that the admin undid a decision and gives the lesson to store. A human's word weighs more than one failed trial:
    /// it counts as `VETO_FAILURES` in a row.
    pub fn veto(
        &mut self,
        profile: &str,
        recipe: &str,
        now: (MonoNs, UnixMs),
        config: &ArbiterConfig,
    ) -> Lesson {
        let memory = self.entry(profile, recipe, now);
        let lesson = &mut memory.lesson;
        lesson.failures = lesson.failures.saturating_add(1).max(VETO_FAILURES);
        memory.rests_until = after(now.0, backoff_ms(lesson.failures, config));
        lesson.clone()
    }

    fn memory(&self, profile: &str, recipe: &str) -> Option<&Memory> {
        self.memories.get(&(profile.to_owned(), recipe.to_owned()))
    }

    fn entry(&mut self, profile: &str, recipe: &str, now: (MonoNs, UnixMs)) -> &mut Memory {
        let key = (profile.to_owned(), recipe.to_owned());
        if self.memories.len() >= MAX_LESSONS && !self.memories.contains_key(&key) {
            self.forget_oldest();
        }
        self.turn += 1;
        let memory = self.memories.entry(key).or_insert_with_key(|(profile, recipe)| Memory {
            lesson: Lesson {
                profile: profile.clone(),
                recipe: recipe.clone(),
                tried: 0,
                kept: 0,
                mean_gain: 0.0,
                error: None,
                failures: 0,
                last: now.1,
            },
            since: now.0,
            rests_until: now.0,
            turn: 0,
        });
        memory.turn = self.turn;
        memory.age(now);
        memory
    }

    fn forget_oldest(&mut self) {
        let oldest = self.memories.iter().min_by_key(|(_, memory)| memory.turn);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.memories.remove(&key);
        }
    }

    /// Gain to rank a recipe by: the mean of prediction and measurement, each weighed by the inverse of its variance.
    pub fn rank(&self, profile: &str, recipe: &str, predicted: f64, now: MonoNs) -> f64 {
        let memory = self.memory(profile, recipe);
        let Some((memory, variance)) = memory.and_then(|m| Some((m, m.variance(now)?))) else {
            return predicted;
        };
        let model = MODEL_ERROR * MODEL_ERROR;
        (predicted * variance + memory.lesson.mean_gain * model) / (variance + model)
    }

    /// Whether a recipe has helped under a profile and did not fail since.
    pub fn is_proven(&self, profile: &str, recipe: &str) -> bool {
        self.memory(profile, recipe)
            .is_some_and(|m| m.lesson.kept > 0 && m.lesson.failures == 0 && m.lesson.mean_gain > 0.0)
    }
}

/// Rest after so many failures in a row.
pub fn backoff_ms(failures: u32, config: &ArbiterConfig) -> u64 {
    if failures == 0 {
        return 0;
    }
    let doubled = config.backoff_first_ms.checked_shl(failures - 1).unwrap_or(u64::MAX);
    // A shift can drop high bits without saying so.
    if doubled >> (failures - 1).min(63) == config.backoff_first_ms {
        doubled.min(config.backoff_max_ms)
    } else {
        config.backoff_max_ms
    }
}

fn after(now: MonoNs, ms: u64) -> MonoNs {
    MonoNs(now.0.saturating_add(ms.saturating_mul(1_000_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn backoff_doubles_up_to_the_limit() {
        let config = ArbiterConfig::default();
        let series: Vec<u64> = (0..9).map(|n| backoff_ms(n, &config) / 1000).collect();
        assert_eq!(series, [0, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert_eq!(backoff_ms(u32::MAX, &config), config.backoff_max_ms);
    }

    #[test]
    fn failure_rests_success_clears() {
        let config = ArbiterConfig::default();
        let mut k = Knowledge::default();
        k.learn("p", "r", false, Some((-0.1, 0.02)), (MonoNs(S), UnixMs(0)), &config);
        assert_eq!(k.rests("p", "r", MonoNs(2 * S)), Some(MonoNs(61 * S)));
        assert_eq!(k.rests("p", "r", MonoNs(61 * S)), None);
        let l = k.learn("p", "r", true, Some((0.3, 0.02)), (MonoNs(61 * S), UnixMs(60_000)), &config);
        assert!((0.1..0.2).contains(&l.mean_gain) && l.tried == 2 && l.kept == 1 && l.failures == 0, "{l:?}");
        assert!(k.is_proven("p", "r") && !k.is_proven("q", "r"));
    }

    #[test]
    fn a_measurement_counts_by_how_exact_and_how_new_it_is() {
        let config = ArbiterConfig::default();
        let rank = |error: f64, age_s: u64| {
            let mut k = Knowledge::default();
            k.learn("p", "r", false, Some((-0.005, error)), (MonoNs(S), UnixMs(0)), &config);
            k.rank("p", "r", 0.05, MonoNs((1 + age_s) * S))
        };
        assert!(rank(0.01, 60) < 0.0, "a sharp one is believed");
        assert!(rank(0.15, 60) > 0.03, "a blurred one hardly counts");
        assert!(rank(0.01, 900) < 0.03 && rank(0.01, 3 * 3600) > 0.03, "and every one fades");
        assert!((Knowledge::default().rank("p", "r", 0.05, MonoNs(0)) - 0.05).abs() < 1e-12);
    }

    #[test]
    fn many_blurred_measurements_are_one_sharp_one() {
        let config = ArbiterConfig::default();
        let mut k = Knowledge::default();
        for gain in [0.08, -0.12, 0.04, 0.0] {
            k.learn("p", "r", false, Some((gain, 0.1)), (MonoNs(S), UnixMs(0)), &config);
        }
        let l = &k.memories[&("p".to_owned(), "r".to_owned())].lesson;
        assert!(l.mean_gain.abs() < 1e-9 && (l.error.unwrap() - 0.05).abs() < 1e-9, "{l:?}");
    }

    #[test]
    fn an_undoing_by_the_admin_rests_long() {
        let config = ArbiterConfig::default();
        let mut k = Knowledge::default();
        k.learn("p", "r", true, Some((0.2, 0.05)), (MonoNs(0), UnixMs(0)), &config);
        k.veto("p", "r", (MonoNs(S), UnixMs(0)), &config);
        assert!(!k.is_proven("p", "r"));
        assert_eq!(k.rests("p", "r", MonoNs(2 * S)), Some(MonoNs(481 * S)));
        assert_eq!(k.veto("p", "r", (MonoNs(S), UnixMs(0)), &config).failures, 5);
        assert_eq!(k.veto("q", "r", (MonoNs(S), UnixMs(0)), &config).tried, 0);
    }

    #[test]
    fn what_is_longest_unused_is_forgotten_when_there_is_too_much() {
        let config = ArbiterConfig::default();
        let mut k = Knowledge::default();
        let learn = |k: &mut Knowledge, n: usize| {
            let now = (MonoNs(n as u64 * S), UnixMs(n as i64));
            k.learn(&format!("p{n}"), "r", true, Some((0.2, 0.05)), now, &config)
        };
        let mut lessons: Vec<Lesson> = (0..MAX_LESSONS).map(|n| learn(&mut k, n)).collect();
        learn(&mut k, 0); // used again
        learn(&mut k, MAX_LESSONS);
        let known = |k: &Knowledge| [0, 1, 2, MAX_LESSONS].map(|n| k.is_proven(&format!("p{n}"), "r"));
        assert_eq!((k.memories.len(), known(&k)), (MAX_LESSONS, [true, false, true, true]));

        // Likewise what a journal has, and over the end of a run.
        lessons.push(Lesson { last: UnixMs(-1), profile: "old".to_owned(), ..lessons[0].clone() });
        let mut k = Knowledge::load(lessons, (MonoNs(S), UnixMs(9_000_000)), &config);
        assert!(k.memories.len() == MAX_LESSONS && !k.is_proven("old", "r"));
        learn(&mut k, MAX_LESSONS);
        assert_eq!((k.memories.len(), known(&k)), (MAX_LESSONS, [false, true, true, true]));
    }

    #[test]
    fn back_off_survives_a_restart() {
        let config = ArbiterConfig::default();
        let mut k = Knowledge::default();
        let lesson = k.learn("p", "r", false, Some((0.0, 0.01)), (MonoNs(S), UnixMs(100_000)), &config);
        let k = Knowledge::load(vec![lesson.clone()], (MonoNs(5 * S), UnixMs(120_000)), &config);
        assert_eq!(k.rests("p", "r", MonoNs(5 * S)), Some(MonoNs(45 * S)));
        let set_back = Knowledge::load(vec![lesson.clone()], (MonoNs(5 * S), UnixMs(0)), &config);
        assert_eq!(set_back.rests("p", "r", MonoNs(5 * S)), Some(MonoNs(65 * S)));
        let later = Knowledge::load(vec![lesson], (MonoNs(5 * S), UnixMs(7_300_000)), &config);
        assert!(
            later.rank("p", "r", 0.1, MonoNs(5 * S)) > k.rank("p", "r", 0.1, MonoNs(5 * S)) + 0.05,
            "and it ages"
        );
    }
}
