//! One ranking of all keys: buckets, redistribution, counts, prefix sums.
//!
//! Keys that stay on their rank are counted where the bucket sort has put them; only the others are sent. (The original
//! sends a rank its own keys, too, and counts the copy.)

use std::ops::Range;

use mpi::collective::SystemOperation;

use super::super::shares::{Parts, all_gather, all_to_all, share};
use crate::error::Result;
use crate::memory::{self, Array, LINE, Line, Pages};
use crate::mpi_raw;
use crate::team::Team;

/// Keys that are looked up in each iteration.
pub(super) const TESTS: usize = 5;

/// Tables that a count is spread over: equal keys in a row would wait for each other.
const TABLES: usize = 4;

/// Sizes of a class.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Of all ranks.
    pub(super) keys: usize,
    /// Keys are below 2^this.
    pub(super) log_max_key: u32,
    pub(super) log_buckets: u32,
    /// Places in the sequence of the keys to look up.
    pub(super) places: [usize; TESTS],
}

/// This rank's keys and the ranks of those in its range of values.
pub(super) struct Ranking {
    sizes: Sizes,
    /// This rank's part of the sequence.
    pub(super) keys: Array<u32>,
    /// Its place in the sequence.
    own: Range<usize>,
    /// The keys in the order of their buckets.
    sorted: Array<u32>,
    /// Keys of our range from other ranks.
    received: Vec<u32>,
    /// Part of `sorted` that is in our range.
    kept: Range<usize>,
    /// Buckets of our range.
    buckets: Range<usize>,
    /// For each value of our range, how many keys here are not above it.
    not_above: Vec<u32>,
}

impl Ranking {
    /// With this rank's part of the sequence.
    pub(super) fn new(sizes: Sizes, keys: Array<u32>, team: &Team) -> Result<Self> {
        let own = share(sizes.keys, team.index(), team.len());
        let sorted = Array::zeroed(keys.len(), Pages::Huge)?;
        Ok(Self { sizes, keys, own, sorted, received: vec![], kept: 0..0, buckets: 0..0, not_above: vec![] })
    }

    fn shift(&self) -> u32 {
        self.sizes.log_max_key - self.sizes.log_buckets
    }

    /// Ranks the keys. For each test key in this rank's range of values, how many keys of all ranks are below it.
    pub(super) fn rank(&mut self, team: &Team) -> [Option<i64>; TESTS] {
        let sizes = count_buckets(&self.keys, self.shift(), 1 << self.sizes.log_buckets);
        // The values of the test keys travel with the sums.
        let mut totals = sizes.clone();
        totals.extend(self.sizes.places.map(|place| match self.own.contains(&place) {
            true => self.keys[place - self.own.start],
            false => 0,
        }));
        mpi_raw::all_reduce_in_place(team.comm(), &mut totals, SystemOperation::sum());
        let tests = totals.split_off(sizes.len());
        let ranges = deal_buckets(&totals, self.sizes.keys, team.len());
        self.buckets = ranges[team.index()].clone();
        sort_into_buckets(&self.keys, &sizes, self.shift(), &mut self.sorted);
        self.exchange(team, &sizes, &ranges);
        self.count(&sizes);
        let below_us: u64 = totals[..self.buckets.start].iter().map(|size| u64::from(*size)).sum();
        std::array::from_fn(|test| {
            let key = tests[test] as usize;
            let place = self.values().contains(&key).then(|| key - self.values().start)?;
            let below = place.checked_sub(1).map_or(0, |place| self.not_above[place]);
            Some(below_us as i64 + i64::from(below))
        })
    }

    /// Values of our range.
    fn values(&self) -> Range<usize> {
        self.buckets.start << self.shift()..self.buckets.end << self.shift()
    }

    /// Sends every key to the rank of its bucket.
    fn exchange(&mut self, team: &Team, sizes: &[u32], ranges: &[Range<usize>]) {
        let len =
            |range: &Range<usize>| sizes[range.clone()].iter().map(|size| *size as usize).sum::<usize>();
        let all = Parts::new(ranges.iter().map(len));
        self.kept = all.range(team.index());
        if team.len() == 1 {
            return;
        }
        let mut out: Vec<u32> = ranges.iter().map(|range| len(range) as u32).collect();
        out[team.index()] = 0;
        let mut incoming = vec![0u32; out.len()];
        let single = Parts::even(out.len(), 1, out.len());
        all_to_all(team, (&out, &single), (&mut incoming, &single));
        let incoming = Parts::new(incoming.into_iter().map(|count| count as usize));
        // Only ever grows, in the untimed iteration: the buckets hardly change from one to the next.
        self.received.resize(incoming.total(), 0);
        let sent = all.without(team.index());
        all_to_all(team, (&self.sorted, &sent), (&mut self.received, &incoming));
    }

    /// Counts how many keys there are of each value, then how many up to it.
    fn count(&mut self, sizes: &[u32]) {
        let (shift, start) = (self.shift(), self.values().start as u32);
        self.not_above.clear();
        self.not_above.resize(self.values().len(), 0);
        let mut rest = &self.sorted[self.kept.clone()];
        let own_buckets = sizes[self.buckets.clone()].iter().zip(self.not_above.chunks_exact_mut(1 << shift));
        for (size, counts) in own_buckets {
            let (bucket, next) = rest.split_at(*size as usize);
            rest = next;
            let mask = counts.len() - 1;
            for key in bucket {
                counts[*key as usize & mask] += 1;
            }
        }
        for key in &self.received {
            self.not_above[(key - start) as usize] += 1;
        }
        let mut sum = 0;
        for count in &mut self.not_above {
            sum += *count;
            *count = sum;
        }
    }

    /// Puts the keys of our range in the places that their ranks say; returns how many places are empty, out of order, or
    /// out of order with the rank before us. Uses up the counts.
    pub(super) fn out_of_place(&mut self, team: &Team) -> u64 {
        /// Above every key.
        const EMPTY: u32 = u32::MAX;
        let mine = &self.sorted[self.kept.clone()];
        let start = self.values().start as u32;
        let mut ordered = vec![EMPTY; mine.len() + self.received.len()];
        let mut wrong = 0;
        for key in mine.iter().chain(&self.received) {
            let place = self.not_above.get_mut((key - start) as usize);
            let place = place.and_then(|not_above| {
                *not_above = not_above.checked_sub(1)?;
                ordered.get_mut(*not_above as usize)
            });
            match place {
                Some(place) => *place = *key,
                None => wrong += 1,
            }
        }
        wrong += ordered.iter().filter(|key| **key == EMPTY).count() as u64;
        wrong += ordered.windows(2).filter(|pair| pair[0] > pair[1]).count() as u64;
        let edges = [
            ordered.len() as u32,
            ordered.first().copied().unwrap_or(0),
            ordered.last().copied().unwrap_or(0),
        ];
        let mut all = vec![0u32; 3 * team.len()];
        all_gather(team, &edges, &mut all, &Parts::even(team.len(), 3, team.len()));
        let (before, _) = all.as_chunks::<3>();
        let last_before = before[..team.index()].iter().rev().find(|[len, _, _]| *len > 0);
        wrong + u64::from(last_before.is_some_and(|[_, _, last]| !ordered.is_empty() && *last > edges[1]))
    }

    /// One bit of the result flipped.
    pub(super) fn damage(&mut self) {
        let start = self.values().start as u32;
        let key = self.sorted[self.kept.clone()].first().or(self.received.first());
        if let Some(key) = key {
            self.not_above[(key - start) as usize] ^= 1;
        }
    }
}

/// Keys in each bucket.
fn count_buckets(keys: &[u32], shift: u32, buckets: usize) -> Vec<u32> {
    let mut tables = vec![0u32; TABLES * buckets];
    let (first, rest) = tables.split_at_mut(buckets);
    let (second, rest) = rest.split_at_mut(buckets);
    let (third, fourth) = rest.split_at_mut(buckets);
    let (groups, single) = keys.as_chunks::<TABLES>();
    for group in groups {
        first[(group[0] >> shift) as usize] += 1;
        second[(group[1] >> shift) as usize] += 1;
        third[(group[2] >> shift) as usize] += 1;
        fourth[(group[3] >> shift) as usize] += 1;
    }
    for key in single {
        first[(key >> shift) as usize] += 1;
    }
    for (at, sum) in first.iter_mut().enumerate() {
        *sum += second[at] + third[at] + fourth[at];
    }
    tables.truncate(buckets);
    tables
}

/// Copies the keys into `sorted` in the order of their buckets. The keys of a bucket are collected in a line that stays in a
/// near cache, and go out past the caches when it is full: stores one by one would first fetch each line of `sorted`, and
/// wait for as many of them as there are buckets.
fn sort_into_buckets(keys: &[u32], sizes: &[u32], shift: u32, sorted: &mut [u32]) {
    let mut end = 0;
    let mut starts = Vec::with_capacity(sizes.len());
    for size in sizes {
        starts.push(end);
        end += *size as usize;
    }
    let mut heads = starts.clone();
    let mut lines = vec![Line([0; LINE]); sizes.len()];
    for key in keys {
        let bucket = (key >> shift) as usize;
        let (head, line) = (&mut heads[bucket], &mut lines[bucket]);
        line.0[*head % LINE] = *key;
        *head += 1;
        if (*head).is_multiple_of(LINE) {
            let from = *head - LINE;
            let start = starts[bucket];
            match sorted[from..*head].first_chunk_mut() {
                Some(to) if from >= start => memory::stream(to, line),
                // The line's beginning belongs to the bucket before.
                _ => sorted[start..*head].copy_from_slice(&line.0[start - from..]),
            }
        }
    }
    memory::stream_end();
    for ((head, line), start) in heads.iter().zip(&lines).zip(starts) {
        let from = (head - head % LINE).max(start);
        sorted[from..*head].copy_from_slice(&line.0[from % LINE..][..head - from]);
    }
}

/// Gives each rank a run of buckets, so that the keys up to its end are at least its even share and that of those before it.
fn deal_buckets(totals: &[u32], keys: usize, ranks: usize) -> Vec<Range<usize>> {
    let mut cumulative = 0u64;
    let up_to: Vec<u64> = totals
        .iter()
        .map(|total| {
            cumulative += u64::from(*total);
            cumulative
        })
        .collect();
    let mut start = 0;
    (0..ranks)
        .map(|rank| {
            let goal = share(keys, rank, ranks).end as u64;
            let end = (up_to.partition_point(|sum| *sum < goal) + 1).min(totals.len()).max(start);
            let end = if rank + 1 == ranks { totals.len() } else { end };
            std::mem::replace(&mut start, end)..end
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{count_buckets, deal_buckets, sort_into_buckets};

    proptest! {
        #[test]
        fn buckets_hold_every_key_once(keys in prop::collection::vec(0u32..1 << 10, 0..500)) {
            let sizes = count_buckets(&keys, 6, 16);
            let mut sorted = vec![0; keys.len()];
            sort_into_buckets(&keys, &sizes, 6, &mut sorted);
            prop_assert!(sorted.is_sorted_by_key(|key| key >> 6));
            let (mut before, mut after) = (keys, sorted);
            before.sort_unstable();
            after.sort_unstable();
            prop_assert_eq!(before, after);
        }

        #[test]
        fn every_bucket_has_one_rank(totals in prop::collection::vec(0u32..50, 1..40), ranks in 1usize..12) {
            let keys = totals.iter().map(|total| *total as usize).sum();
            let ranges = deal_buckets(&totals, keys, ranks);
            let mut next = 0;
            for range in &ranges {
                prop_assert_eq!(range.start, next);
                prop_assert!(range.end >= range.start);
                next = range.end;
            }
            prop_assert_eq!(next, totals.len());
        }
    }
}
