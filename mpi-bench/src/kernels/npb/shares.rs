//! How things are dealt out over ranks, and collectives on unequal shares.

use std::ops::Range;

use mpi::datatype::{Equivalence, Partition, PartitionMut};
use mpi::traits::CommunicatorCollectives;

use crate::mpi_raw;
use crate::team::Team;

/// The part of `total` things that is `rank`'s: consecutive, and as even as it goes.
pub(super) fn share(total: usize, rank: usize, ranks: usize) -> Range<usize> {
    total * rank / ranks..total * (rank + 1) / ranks
}

/// Elements per rank in a buffer that holds the ranks' parts one after the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    counts: Vec<i32>,
    starts: Vec<i32>,
}

impl Parts {
    /// From the lengths in rank order.
    pub(super) fn new(lengths: impl IntoIterator<Item = usize>) -> Self {
        let counts: Vec<i32> = lengths.into_iter().map(mpi_raw::count).collect();
        let starts = counts
            .iter()
            .scan(0, |end, count| {
                let start = *end;
                *end += count;
                Some(start)
            })
            .collect();
        Self { counts, starts }
    }

    /// Even shares of `total` rows of `width` elements.
    pub(super) fn even(total: usize, width: usize, ranks: usize) -> Self {
        Self::new((0..ranks).map(|rank| share(total, rank, ranks).len() * width))
    }

    /// Where a rank's part lies.
    pub(super) fn range(&self, rank: usize) -> Range<usize> {
        let start = self.starts[rank] as usize;
        start..start + self.counts[rank] as usize
    }

    /// The same buffer with nothing in a rank's part; the other parts stay where they are.
    pub(super) fn without(&self, rank: usize) -> Self {
        let mut parts = self.clone();
        parts.counts[rank] = 0;
        parts
    }

    /// Elements of all parts.
    pub(super) fn total(&self) -> usize {
        self.counts.iter().map(|count| *count as usize).sum()
    }
}

/// `MPI_Alltoallv`.
pub(super) fn all_to_all<T: Equivalence>(
    team: &Team,
    (out, sent): (&[T], &Parts),
    (into, received): (&mut [T], &Parts),
) {
    let out = Partition::new(out, &sent.counts[..], &sent.starts[..]);
    let mut into = PartitionMut::new(into, &received.counts[..], &received.starts[..]);
    team.comm().all_to_all_varcount_into(&out, &mut into);
}

/// `MPI_Allgatherv`: every rank's part, in every rank's `all`.
pub(super) fn all_gather<T: Equivalence>(team: &Team, mine: &[T], all: &mut [T], parts: &Parts) {
    let mut into = PartitionMut::new(all, &parts.counts[..], &parts.starts[..]);
    team.comm().all_gather_varcount_into(mine, &mut into);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Parts, share};

    proptest! {
        #[test]
        fn shares_cover_everything_once_and_evenly(total in 0usize..100_000, ranks in 1usize..70) {
            let parts = Parts::even(total, 1, ranks);
            let mut next = 0;
            for rank in 0..ranks {
                let part = share(total, rank, ranks);
                prop_assert_eq!(part.start, next);
                prop_assert!(part.len().abs_diff(total / ranks) <= 1);
                prop_assert_eq!(parts.range(rank), part.clone());
                next = part.end;
            }
            prop_assert_eq!(next, total);
            prop_assert_eq!(parts.total(), total);
        }
    }
}
