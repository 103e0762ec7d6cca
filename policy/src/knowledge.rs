//! What helped which workload: lessons per (profile, recipe).
//!
//! A recipe that was kept is tried first next time under the same profile; one that failed rests, twice as long after each
//! further failure, and long when it was the admin who undid it. Time is the monotonic clock of this run; a lesson loaded from the store rests from its wall time on, as
//! far as the wall clock can be believed. May not: decide.

use crate::config::ArbiterConfig;
use crate::decision::Lesson;
use crate::units::{MonoNs, UnixMs};
use std::collections::BTreeMap;

/// Failures in a row that an admin's undoing counts as: at the defaults eight minutes of rest, and sixteen after the next.
const VETO_FAILURES: u32 = 4;

/// Key of a lesson.
type Key = (String, String);

/// The memory.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    lessons: BTreeMap<Key, Lesson>,
    rests_until: BTreeMap<Key, MonoNs>,
}

impl Knowledge {
    /// Memory of former runs. Back-offs that were running go on: `now` is the present on both clocks.
    pub fn load(lessons: Vec<Lesson>, now: (MonoNs, UnixMs), config: &ArbiterConfig) -> Self {
        let mut knowledge = Self::default();
        for lesson in lessons {
            let key = (lesson.profile.clone(), lesson.recipe.clone());
            let rest_ms = backoff_ms(lesson.failures, config);
            // A last trial in the future means that the wall clock was set back: the full rest is served.
            let passed_ms = u64::try_from(now.1.0.saturating_sub(lesson.last.0)).unwrap_or(0);
            let left_ms = rest_ms.saturating_sub(passed_ms);
            if left_ms > 0 {
                knowledge.rests_until.insert(key.clone(), after(now.0, left_ms));
            }
            knowledge.lessons.insert(key, lesson);
        }
        knowledge
    }

    /// What is known of a recipe under a profile.
    pub fn lesson(&self, profile: &str, recipe: &str) -> Option<&Lesson> {
        self.lessons.get(&(profile.to_owned(), recipe.to_owned()))
    }

    /// Whether a recipe rests under a profile, and until when.
    pub fn rests(&self, profile: &str, recipe: &str, now: MonoNs) -> Option<MonoNs> {
        self.rests_until.get(&(profile.to_owned(), recipe.to_owned())).copied().filter(|&until| until > now)
    }

    /// Enters the end of a trial and gives the lesson to store.
    pub fn learn(
        &mut self,
        profile: &str,
        recipe: &str,
        kept: bool,
        gain: Option<f64>,
        now: (MonoNs, UnixMs),
        config: &ArbiterConfig,
    ) -> Lesson {
        let key = (profile.to_owned(), recipe.to_owned());
        let lesson = self.entry(profile, recipe, now.1);
        lesson.tried = lesson.tried.saturating_add(1);
        lesson.last = now.1;
        if let Some(gain) = gain.filter(|g| g.is_finite()) {
            lesson.mean_gain += (gain - lesson.mean_gain) / f64::from(lesson.tried);
        }
        if kept {
            lesson.kept = lesson.kept.saturating_add(1);
            lesson.failures = 0;
        } else {
            lesson.failures = lesson.failures.saturating_add(1);
        }
        let lesson = lesson.clone();
        if kept {
            self.rests_until.remove(&key);
        } else {
            self.rests_until.insert(key, after(now.0, backoff_ms(lesson.failures, config)));
        }
        lesson
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
        let lesson = self.entry(profile, recipe, now.1);
        lesson.last = now.1;
        lesson.failures = lesson.failures.saturating_add(1).max(VETO_FAILURES);
        let lesson = lesson.clone();
        let until = after(now.0, backoff_ms(lesson.failures, config));
        self.rests_until.insert((profile.to_owned(), recipe.to_owned()), until);
        lesson
    }

    fn entry(&mut self, profile: &str, recipe: &str, now: UnixMs) -> &mut Lesson {
        let key = (profile.to_owned(), recipe.to_owned());
        self.lessons.entry(key).or_insert_with_key(|(profile, recipe)| Lesson {
            profile: profile.clone(),
            recipe: recipe.clone(),
            tried: 0,
            kept: 0,
            mean_gain: 0.0,
            failures: 0,
            last: now,
        })
    }

    /// Gain to rank a recipe by: the prediction, drawn towards what was measured as trials accumulate.
    pub fn rank(&self, profile: &str, recipe: &str, predicted: f64) -> f64 {
        match self.lesson(profile, recipe) {
            Some(lesson) => {
                let tried = f64::from(lesson.tried.min(10));
                (predicted + 3.0 * tried * lesson.mean_gain) / (1.0 + 3.0 * tried)
            }
            None => predicted,
        }
    }

    /// Whether a recipe has helped under a profile and did not fail since.
    pub fn is_proven(&self, profile: &str, recipe: &str) -> bool {
        self.lesson(profile, recipe).is_some_and(|l| l.kept > 0 && l.failures == 0 && l.mean_gain > 0.0)
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
        k.learn("p", "r", false, Some(-0.1), (MonoNs(S), UnixMs(0)), &config);
        assert_eq!(k.rests("p", "r", MonoNs(2 * S)), Some(MonoNs(61 * S)));
        assert_eq!(k.rests("p", "r", MonoNs(61 * S)), None);
        let l = k.learn("p", "r", true, Some(0.3), (MonoNs(70 * S), UnixMs(70_000)), &config);
        assert!((l.mean_gain - 0.1).abs() < 1e-12 && l.tried == 2 && l.kept == 1 && l.failures == 0);
        assert!(k.is_proven("p", "r") && !k.is_proven("q", "r"));
        assert!(k.rank("p", "r", 0.5) < 0.2);
    }

    #[test]
    fn an_undoing_by_the_admin_rests_long() {
        let config = ArbiterConfig::default();
        let mut k = Knowledge::default();
        k.learn("p", "r", true, Some(0.2), (MonoNs(0), UnixMs(0)), &config);
        k.veto("p", "r", (MonoNs(S), UnixMs(0)), &config);
        assert!(!k.is_proven("p", "r"));
        assert_eq!(k.rests("p", "r", MonoNs(2 * S)), Some(MonoNs(481 * S)));
        assert_eq!(k.veto("p", "r", (MonoNs(S), UnixMs(0)), &config).failures, 5);
        assert_eq!(k.veto("q", "r", (MonoNs(S), UnixMs(0)), &config).tried, 0);
    }

    #[test]
    fn back_off_survives_a_restart() {
        let config = ArbiterConfig::default();
        let mut k = Knowledge::default();
        let lesson = k.learn("p", "r", false, None, (MonoNs(S), UnixMs(100_000)), &config);
        let k = Knowledge::load(vec![lesson.clone()], (MonoNs(5 * S), UnixMs(120_000)), &config);
        assert_eq!(k.rests("p", "r", MonoNs(5 * S)), Some(MonoNs(45 * S)));
        let set_back = Knowledge::load(vec![lesson], (MonoNs(5 * S), UnixMs(0)), &config);
        assert_eq!(set_back.rests("p", "r", MonoNs(5 * S)), Some(MonoNs(65 * S)));
    }
}
