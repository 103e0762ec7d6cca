//! Rows that wait for the disk: bounded, newest version of each row only.
//!
//! What matters most goes last when room is short: samples are dropped first (oldest first), then notes, then the oldest
//! closed decisions; originals never, their number is bounded by the knobs of the live guests.

use crate::health::Lost;
use crate::rows::{DecisionRow, LessonRow, NoteRow, OriginalRow, OverrideRow, SampleRow};
use std::collections::{BTreeMap, VecDeque};

/// Samples kept while the disk does not take them: over a minute of 100 guests at one a second.
const MAX_SAMPLES: usize = 8192;
const MAX_DECISIONS: usize = 4096;
const MAX_OTHERS: usize = 4096;
/// Rows of one transaction, so that it stays well within the room left to the write-ahead log.
const BATCH_SAMPLES: usize = 2048;
const BATCH_DECISIONS: usize = 128;
const BATCH_OTHERS: usize = 512;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending {
    /// Single numbers: `run`, `last_decision`, `aged_to`.
    pub(crate) meta: BTreeMap<&'static str, i64>,
    pub(crate) decisions: BTreeMap<u64, DecisionRow>,
    /// `None` = to be deleted.
    pub(crate) originals: BTreeMap<(String, String), Option<OriginalRow>>,
    /// `None` = to be deleted. Like originals never dropped, their number is bounded in the same way.
    pub(crate) overrides: BTreeMap<(String, String), Option<OverrideRow>>,
    pub(crate) lessons: BTreeMap<(String, String), LessonRow>,
    pub(crate) notes: VecDeque<NoteRow>,
    pub(crate) samples: VecDeque<SampleRow>,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        !self.is_urgent() && self.samples.is_empty()
    }

    /// Whether anything but samples waits.
    pub(crate) fn is_urgent(&self) -> bool {
        !(self.meta.is_empty()
            && self.decisions.is_empty()
            && self.originals.is_empty()
            && self.overrides.is_empty()
            && self.lessons.is_empty()
            && self.notes.is_empty())
    }

    /// Takes the next transaction's worth out, oldest rows first.
    pub(crate) fn take_batch(&mut self) -> Self {
        Self {
            meta: std::mem::take(&mut self.meta),
            decisions: take_first(&mut self.decisions, BATCH_DECISIONS),
            originals: take_first(&mut self.originals, BATCH_OTHERS),
            overrides: take_first(&mut self.overrides, BATCH_OTHERS),
            lessons: take_first(&mut self.lessons, BATCH_OTHERS),
            notes: take_front(&mut self.notes, BATCH_OTHERS),
            samples: take_front(&mut self.samples, BATCH_SAMPLES),
        }
    }

    /// Takes only what the next start acts upon out: somebody waits for it.
    pub(crate) fn take_recovery(&mut self) -> Self {
        let open = self.decisions.values().filter(|row| row.is_pending()).map(|row| row.id);
        let open: Vec<u64> = open.take(BATCH_DECISIONS).collect();
        Self {
            originals: take_first(&mut self.originals, BATCH_OTHERS),
            overrides: take_first(&mut self.overrides, BATCH_OTHERS),
            decisions: open.iter().filter_map(|id| self.decisions.remove_entry(id)).collect(),
            ..Self::default()
        }
    }

    /// Puts rows that could not be written back; a version that came meanwhile wins. Returns what found no room.
    pub(crate) fn put_back(&mut self, batch: Self) -> Lost {
        put_under(&mut self.meta, batch.meta);
        put_under(&mut self.decisions, batch.decisions);
        put_under(&mut self.originals, batch.originals);
        put_under(&mut self.overrides, batch.overrides);
        put_under(&mut self.lessons, batch.lessons);
        put_before(&mut self.notes, batch.notes);
        put_before(&mut self.samples, batch.samples);
        self.trim()
    }

    /// Adds what could be read from a damaged file; what is here already is newer.
    pub(crate) fn keep(
        &mut self,
        decisions: impl IntoIterator<Item = DecisionRow>,
        lessons: impl IntoIterator<Item = LessonRow>,
    ) {
        put_under(&mut self.decisions, decisions.into_iter().map(|row| (row.id, row)).collect());
        let lessons = lessons.into_iter().map(|row| ((row.profile.clone(), row.recipe.clone()), row));
        put_under(&mut self.lessons, lessons.collect());
    }

    /// Drops what is over the bounds and says how much.
    pub(crate) fn trim(&mut self) -> Lost {
        let mut lost = Lost {
            samples: drop_front(&mut self.samples, MAX_SAMPLES),
            others: drop_front(&mut self.notes, MAX_OTHERS),
            decisions: 0,
        };
        while self.lessons.len() > MAX_OTHERS {
            self.lessons.pop_first();
            lost.others += 1;
        }
        while self.decisions.len() > MAX_DECISIONS {
            let closed = self.decisions.iter().find(|(_, row)| !row.is_pending()).map(|(id, _)| *id);
            let oldest = closed.or_else(|| self.decisions.keys().next().copied());
            lost.decisions += u64::from(oldest.and_then(|id| self.decisions.remove(&id)).is_some());
        }
        lost
    }

    /// What is lost if this is thrown away.
    pub(crate) fn count(&self) -> Lost {
        Lost {
            samples: self.samples.len() as u64,
            decisions: self.decisions.len() as u64,
            others: (self.notes.len() + self.lessons.len()) as u64,
        }
    }
}

fn take_first<K: Ord + Clone, V>(from: &mut BTreeMap<K, V>, n: usize) -> BTreeMap<K, V> {
    match from.keys().nth(n).cloned() {
        None => std::mem::take(from),
        Some(key) => {
            let rest = from.split_off(&key);
            std::mem::replace(from, rest)
        }
    }
}

fn take_front<T>(from: &mut VecDeque<T>, n: usize) -> VecDeque<T> {
    let rest = from.split_off(n.min(from.len()));
    std::mem::replace(from, rest)
}

fn put_under<K: Ord, V>(newer: &mut BTreeMap<K, V>, older: BTreeMap<K, V>) {
    for (key, value) in older {
        newer.entry(key).or_insert(value);
    }
}

fn put_before<T>(newer: &mut VecDeque<T>, mut older: VecDeque<T>) {
    older.append(newer);
    *newer = older;
}

fn drop_front<T>(rows: &mut VecDeque<T>, max: usize) -> u64 {
    let over = rows.len().saturating_sub(max);
    rows.drain(..over);
    over as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(id: u64, verdict: &str) -> DecisionRow {
        DecisionRow { id, verdict: verdict.to_owned(), ..DecisionRow::default() }
    }

    #[test]
    fn a_newer_version_survives_putting_an_older_one_back() {
        let mut pending = Pending::default();
        pending.decisions.insert(1, decision(1, "pending"));
        let batch = pending.take_batch();
        assert!(pending.is_empty());
        pending.decisions.insert(1, decision(1, "kept"));
        assert_eq!(pending.put_back(batch).total(), 0);
        assert_eq!(pending.decisions[&1].verdict, "kept");
    }

    #[test]
    fn samples_keep_their_order_and_the_oldest_go_first() {
        let mut pending = Pending::default();
        let sample = |time_ms| SampleRow { time_ms, ..SampleRow::default() };
        pending.samples.extend((0..MAX_SAMPLES as i64).map(sample));
        let batch = pending.take_batch();
        pending.samples.extend((0..5).map(|n| sample(MAX_SAMPLES as i64 + n)));
        assert_eq!(pending.put_back(batch).samples, 5);
        let times: Vec<_> = pending.samples.iter().map(|row| row.time_ms).collect();
        assert_eq!(times, (5..MAX_SAMPLES as i64 + 5).collect::<Vec<_>>());
    }

    #[test]
    fn what_a_start_acts_upon_goes_alone() {
        let mut pending = Pending::default();
        let verdicts = [(1, "kept"), (2, "pending"), (3, "advised")];
        pending.decisions.extend(verdicts.map(|(id, verdict)| (id, decision(id, verdict))));
        let key = ("g".to_owned(), "k".to_owned());
        pending.originals.insert(key.clone(), None);
        pending.overrides.insert(key, None);
        pending.samples.push_back(SampleRow::default());
        let taken = pending.take_recovery();
        assert_eq!(taken.decisions.keys().collect::<Vec<_>>(), [&2]);
        assert_eq!((taken.originals.len(), taken.overrides.len(), taken.samples.len()), (1, 1, 0));
        assert_eq!((pending.decisions.len(), pending.samples.len()), (2, 1));
        assert!(pending.take_recovery().is_empty());
    }

    #[test]
    fn a_running_trial_is_not_dropped_while_closed_ones_are_left() {
        let mut pending = Pending::default();
        pending.decisions.insert(1, decision(1, "pending"));
        pending.decisions.extend((2..=MAX_DECISIONS as u64 + 3).map(|id| (id, decision(id, "kept"))));
        assert_eq!(pending.trim().decisions, 3);
        assert!(pending.decisions.contains_key(&1));
        assert!(!pending.decisions.contains_key(&2));
    }
}
