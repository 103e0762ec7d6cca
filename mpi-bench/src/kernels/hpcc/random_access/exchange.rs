//! RandomAccess over all ranks: each generates its part of the stream in chunks and hands updates to their owners.
//!
//! A chunk is at most 1024 values, the look-ahead that the rules allow. On a power of two of ranks, updates travel along the
//! edges of a hypercube (log2 P messages a chunk); otherwise straight to the owner (P - 1 messages a chunk).

use mpi::datatype::PartitionMut;
use mpi::topology::SimpleCommunicator;
use mpi::traits::CommunicatorCollectives;

use super::sequence::Sequence;
use crate::memory::prefetch_for_write;
use crate::mpi_raw;
use crate::team::Team;

/// Values generated before any is sent. With two ranks about half of them travel: 3.6 KB, below the 4 KiB up to which MPI
/// libraries send small messages without a handshake.
const CHUNK: usize = 900;

/// Room for the updates that meet on one rank. The expectation is one chunk and its spread grows as a root: 16 is never met.
const ROOM: usize = 16 * CHUNK;

/// How the table lies over the ranks, HPCC's way: the first `remainder` ranks hold one entry more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) log_size: u32,
    ranks: u64,
    rank: u64,
    least: u64,
    remainder: u64,
}

impl Layout {
    pub(super) fn new(log_size: u32, ranks: u64, rank: u64) -> Self {
        let size = 1u64 << log_size;
        Self { log_size, ranks, rank, least: size / ranks, remainder: size % ranks }
    }

    /// First global index of this rank.
    pub(super) fn first(&self) -> u64 {
        self.rank * self.least + self.rank.min(self.remainder)
    }

    /// Entries on this rank.
    pub(super) fn len(&self) -> usize {
        (self.least + u64::from(self.rank < self.remainder)) as usize
    }

    /// The rank that holds a global index.
    fn owner(&self, index: usize) -> usize {
        let index = index as u64;
        let top = (self.least + 1) * self.remainder;
        let owner =
            if index < top { index / (self.least + 1) } else { (index - self.remainder) / self.least };
        owner as usize
    }
}

/// Applies `updates` updates of this rank's part of the stream wherever they belong. Collective; `rounds` is the same on every
/// rank and covers the longest part.
pub(super) fn update<S: Sequence>(
    team: &Team,
    layout: &Layout,
    table: &mut [u64],
    updates: u64,
    rounds: u64,
) {
    let mut router = Router::new(team, layout);
    let mut value = S::at(4 * layout.first());
    let mut left = updates;
    for _ in 0..rounds {
        let now = left.min(CHUNK as u64) as usize;
        left -= now as u64;
        for slot in &mut router.data[..now] {
            value = S::next(value);
            *slot = value;
        }
        let mine = router.deliver::<S>(now);
        apply::<S>(table, mine, layout);
    }
}

/// Rounds that `updates` need.
pub(super) fn rounds(updates: u64) -> u64 {
    updates.div_ceil(CHUNK as u64)
}

fn apply<S: Sequence>(table: &mut [u64], updates: &[u64], layout: &Layout) {
    const AHEAD: usize = 64;
    let first = layout.first() as usize;
    let local = |value: u64| S::index(value, layout.log_size) - first;
    for &value in updates.iter().take(AHEAD) {
        prefetch_for_write(table, local(value));
    }
    for (at, &value) in updates.iter().enumerate() {
        if let Some(&later) = updates.get(at + AHEAD) {
            prefetch_for_write(table, local(later));
        }
        table[local(value)] ^= value;
    }
}

/// Buffers and route of one rank.
struct Router<'a> {
    comm: &'a SimpleCommunicator,
    layout: &'a Layout,
    data: Vec<u64>,
    outgoing: Vec<u64>,
    buckets: Vec<Vec<u64>>,
}

impl<'a> Router<'a> {
    fn new(team: &'a Team, layout: &'a Layout) -> Self {
        let buckets = if layout.ranks.is_power_of_two() { 0 } else { team.len() };
        Self {
            comm: team.comm(),
            layout,
            data: vec![0; ROOM],
            outgoing: vec![0; ROOM],
            buckets: (0..buckets).map(|_| Vec::with_capacity(CHUNK)).collect(),
        }
    }

    /// Hands out the first `count` values of `data`; returns those that belong here.
    fn deliver<S: Sequence>(&mut self, count: usize) -> &[u64] {
        let count =
            if self.buckets.is_empty() { self.hypercube::<S>(count) } else { self.direct::<S>(count) };
        &self.data[..count]
    }

    fn hypercube<S: Sequence>(&mut self, mut count: usize) -> usize {
        let log_local = self.layout.log_size - self.layout.ranks.trailing_zeros();
        for dimension in 0..self.layout.ranks.trailing_zeros() {
            let bit = log_local + dimension;
            let here = self.layout.rank >> dimension & 1;
            let (mut kept, mut sent) = (0, 0);
            for at in 0..count {
                let value = self.data[at];
                let away = ((S::index(value, self.layout.log_size) as u64 >> bit & 1) ^ here) as usize;
                // Both stores always, one counter moves: no branch to mispredict on random bits.
                self.outgoing[sent] = value;
                self.data[kept] = value;
                sent += away;
                kept += 1 - away;
            }
            let partner = (self.layout.rank ^ (1 << dimension)) as i32;
            let (outgoing, incoming) = (&self.outgoing[..sent], &mut self.data[kept..]);
            count = kept + mpi_raw::sendrecv_counted(self.comm, (outgoing, partner), (incoming, partner), 0);
        }
        count
    }

    fn direct<S: Sequence>(&mut self, count: usize) -> usize {
        for bucket in &mut self.buckets {
            bucket.clear();
        }
        for &value in &self.data[..count] {
            self.buckets[self.layout.owner(S::index(value, self.layout.log_size))].push(value);
        }
        let (ranks, rank) = (self.layout.ranks as usize, self.layout.rank as usize);
        let mine = &self.buckets[rank];
        self.data[..mine.len()].copy_from_slice(mine);
        let mut here = mine.len();
        for step in 1..ranks {
            let (to, from) = ((rank + step) % ranks, (rank + ranks - step) % ranks);
            let incoming = &mut self.data[here..];
            here += mpi_raw::sendrecv_counted(
                self.comm,
                (&self.buckets[to], to as i32),
                (incoming, from as i32),
                0,
            );
        }
        here
    }
}

/// Undoes the updates by another route (MPI_Alltoallv of large blocks, owner by division); returns the wrong entries here.
pub(super) fn errors_after_replay<S: Sequence>(
    team: &Team,
    layout: &Layout,
    table: &mut [u64],
    updates: u64,
) -> u64 {
    const BLOCK: u64 = 1 << 16;
    let blocks = team.max(updates.div_ceil(BLOCK) as f64) as u64;
    let mut value = S::at(4 * layout.first());
    let mut left = updates;
    let first = layout.first() as usize;
    for _ in 0..blocks {
        let now = left.min(BLOCK);
        left -= now;
        let mut buckets = vec![Vec::new(); team.len()];
        for _ in 0..now {
            value = S::next(value);
            buckets[layout.owner(S::index(value, layout.log_size))].push(value);
        }
        for value in all_to_all(team, &buckets) {
            table[S::index(value, layout.log_size) - first] ^= value;
        }
    }
    super::local::wrong_entries(table, layout.first())
}

fn all_to_all(team: &Team, buckets: &[Vec<u64>]) -> Vec<u64> {
    let counts: Vec<i32> = buckets.iter().map(|b| mpi_raw::count(b.len())).collect();
    let mut incoming = vec![0; counts.len()];
    team.comm().all_to_all_into(&counts[..], &mut incoming[..]);
    let starts = |counts: &[i32]| -> Vec<i32> {
        counts
            .iter()
            .scan(0, |at, n| {
                *at += n;
                Some(*at - n)
            })
            .collect()
    };
    let out = buckets.concat();
    let mut into = vec![0u64; incoming.iter().sum::<i32>() as usize];
    let (out_starts, into_starts) = (starts(&counts), starts(&incoming));
    let sent = mpi::datatype::Partition::new(&out[..], &counts[..], &out_starts[..]);
    let mut received = PartitionMut::new(&mut into[..], &incoming[..], &into_starts[..]);
    team.comm().all_to_all_varcount_into(&sent, &mut received);
    into
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Layout;

    proptest! {
        #[test]
        fn every_entry_has_one_owner_that_holds_it(log_size in 4u32..12, ranks in 1u64..16) {
            let layouts: Vec<Layout> = (0..ranks).map(|rank| Layout::new(log_size, ranks, rank)).collect();
            prop_assert_eq!(layouts.iter().map(Layout::len).sum::<usize>(), 1 << log_size);
            for index in 0..1usize << log_size {
                let owner = layouts[0].owner(index);
                let first = layouts[owner].first() as usize;
                prop_assert!((first..first + layouts[owner].len()).contains(&index));
            }
        }
    }
}
