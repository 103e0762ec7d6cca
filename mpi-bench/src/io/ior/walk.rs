//! In which order one rank goes through its transfers: IOR's segment / block / transfer layout, its reorderings and random
//! offsets. Pure: the same arguments give the same walk on every rank.
//!
//! A shared file is `segments` times one block of each rank in turn; a file per process is that rank's blocks alone. With a
//! block of one transfer the ranks' transfers interleave.

use crate::rng::Rng;

/// Sizes of a test. All in bytes but `segments` and `sharers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Contiguous bytes of one rank.
    pub block: u64,
    /// Bytes of one call; divides `block`.
    pub transfer: u64,
    /// How often the pattern of blocks is repeated.
    pub segments: u64,
    /// Ranks that share a file: all, or 1 with a file per process.
    pub sharers: u64,
}

impl Layout {
    /// Length of a file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.segments * self.segment()
    }

    /// Distance of two segments.
    #[must_use]
    pub fn segment(&self) -> u64 {
        self.block * self.sharers
    }
}

/// IOR's `-z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Random {
    /// Once: every transfer exactly once, shuffled (in a shared file dealt to the ranks at random, too).
    Shuffled,
    /// Twice: blocks anywhere in the file, which may overlap.
    Anywhere,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Order {
    Forward,
    /// Offsets within a segment.
    Shuffled(Vec<u64>),
    Anywhere(u64),
}

/// The transfers of one rank, numbered from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    layout: Layout,
    /// Where the rank's block begins in a segment.
    base: u64,
    order: Order,
}

impl Walk {
    /// The walk of the rank that has place `slot` (below `sharers`) in its file. `seed` must be the same for all sharers.
    #[must_use]
    pub fn new(layout: Layout, slot: u64, random: Option<Random>, seed: u64) -> Self {
        let order = match random {
            None => Order::Forward,
            Some(Random::Shuffled) => Order::Shuffled(shuffled(&layout, slot, seed)),
            Some(Random::Anywhere) => Order::Anywhere(Rng::new(seed ^ (slot << 32)).next_u64()),
        };
        Self { layout, base: slot * layout.block, order }
    }

    fn per_segment(&self) -> u64 {
        match &self.order {
            Order::Shuffled(offsets) => offsets.len() as u64,
            Order::Forward | Order::Anywhere(_) => self.layout.block / self.layout.transfer,
        }
    }

    /// Number of transfers. A shuffled walk through a shared file may have none.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.layout.segments * self.per_segment()
    }

    /// True if there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Place of transfer `n` in the file.
    ///
    /// # Panics
    /// `n` is not below [`Walk::len`].
    #[must_use]
    pub fn offset(&self, n: u64) -> u64 {
        let (segment, inner) = (n / self.per_segment(), n % self.per_segment());
        match &self.order {
            Order::Forward => segment * self.layout.segment() + self.base + inner * self.layout.transfer,
            Order::Shuffled(offsets) => {
                let at = usize::try_from(inner).unwrap_or(usize::MAX);
                segment * self.layout.segment() + offsets[at]
            }
            Order::Anywhere(seed) => {
                let blocks = self.layout.segments * self.layout.sharers;
                // The last block first, by the first sharer: the file then has its length whatever the others hit.
                let block = match segment == 0 && self.base == 0 {
                    true => blocks - 1,
                    false => Rng::new(seed.wrapping_add(segment)).below(blocks),
                };
                block * self.layout.block + inner * self.layout.transfer
            }
        }
    }
}

/// The transfers of a segment that fall to `slot`, in random order.
fn shuffled(layout: &Layout, slot: u64, seed: u64) -> Vec<u64> {
    let mut dealer = Rng::new(seed);
    let all = (0..layout.segment() / layout.transfer).map(|n| n * layout.transfer);
    let mut mine: Vec<u64> = all.filter(|_| dealer.below(layout.sharers) == slot).collect();
    Rng::new(seed ^ (slot + 1)).shuffle(&mut mine);
    mine
}

/// Whose data a rank reads: IOR's `-C`, `-Z` and `-ZZ` with `-Q` and `-X`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reorder {
    /// Its own.
    None,
    /// That of the rank so many nodes on.
    Constant(u64),
    /// That of a random rank at least so many nodes on; some may be read twice, others not at all.
    Random {
        /// Nodes between writer and reader at least, if there are so many.
        nodes: u64,
        /// Seed.
        seed: u64,
    },
    /// Each rank's by exactly one, at random.
    Shuffled {
        /// Seed.
        seed: u64,
    },
}

impl Reorder {
    /// Whose data `rank` of `ranks` reads. On a single node a "node" is one rank, so that the order changes there, too.
    #[must_use]
    pub fn writer_of(self, rank: u64, ranks: u64, ranks_per_node: u64) -> u64 {
        let nodes_there = ranks.div_ceil(ranks_per_node);
        let per_node = if nodes_there > 1 { ranks_per_node } else { 1 };
        match self {
            Self::None => rank,
            Self::Constant(nodes) => (rank + nodes % ranks * per_node) % ranks,
            Self::Random { nodes, seed } => {
                let least = nodes.saturating_mul(per_node).min(ranks - 1);
                let on = least + Rng::new(seed ^ (rank << 32)).below(ranks - least);
                (rank + on) % ranks
            }
            Self::Shuffled { seed } => {
                let mut order: Vec<u64> = (0..ranks).collect();
                Rng::new(seed).shuffle(&mut order);
                usize::try_from(rank).ok().and_then(|rank| order.get(rank).copied()).unwrap_or(rank)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Layout, Random, Reorder, Walk};
    use proptest::prelude::*;

    fn layout() -> impl Strategy<Value = Layout> {
        (1u64..6, 1u64..8, 1u64..5, 1u64..6).prop_map(|(transfers, unit, segments, sharers)| Layout {
            block: transfers * unit * 8,
            transfer: unit * 8,
            segments,
            sharers,
        })
    }

    proptest! {
        #[test]
        fn together_the_ranks_cover_the_file_once(layout in layout(), shuffle in any::<bool>(), seed in any::<u64>()) {
            let random = shuffle.then_some(Random::Shuffled);
            let walks = (0..layout.sharers).map(|slot| Walk::new(layout, slot, random, seed));
            let mut all: Vec<u64> =
                walks.flat_map(|w| (0..w.len()).map(|n| w.offset(n)).collect::<Vec<_>>()).collect();
            all.sort_unstable();
            let expected: Vec<u64> =
                (0..layout.file_bytes() / layout.transfer).map(|n| n * layout.transfer).collect();
            prop_assert_eq!(all, expected);
        }

        #[test]
        fn anywhere_stays_inside_and_reaches_the_end(layout in layout(), seed in any::<u64>()) {
            let walk = Walk::new(layout, 0, Some(Random::Anywhere), seed);
            let offsets: Vec<u64> = (0..walk.len()).map(|n| walk.offset(n)).collect();
            prop_assert!(offsets.iter().all(|at| at + layout.transfer <= layout.file_bytes()));
            prop_assert!(offsets.iter().any(|at| at + layout.transfer == layout.file_bytes()));
        }

        #[test]
        fn readers_read_somebody(ranks in 1u64..20, per_node in 1u64..8, nodes in 0u64..5, seed in any::<u64>()) {
            for reorder in [Reorder::None, Reorder::Constant(nodes), Reorder::Random { nodes, seed }] {
                prop_assert!((0..ranks).all(|rank| reorder.writer_of(rank, ranks, per_node) < ranks));
            }
            let mut read: Vec<u64> =
                (0..ranks).map(|rank| Reorder::Shuffled { seed }.writer_of(rank, ranks, per_node)).collect();
            read.sort_unstable();
            prop_assert_eq!(read, (0..ranks).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_layout_of_the_manual() {
        let layout = Layout { block: 32, transfer: 16, segments: 2, sharers: 3 };
        let walk = Walk::new(layout, 1, None, 0);
        let offsets: Vec<u64> = (0..walk.len()).map(|n| walk.offset(n)).collect();
        assert_eq!(offsets, [32, 48, 96 + 32, 96 + 48]);
        assert_eq!(layout.file_bytes(), 192);
        assert_eq!(Reorder::Constant(1).writer_of(3, 4, 4), 0, "one node: one rank on");
        assert_eq!(Reorder::Constant(1).writer_of(3, 8, 4), 7, "two nodes: one node on");
        assert_eq!(Reorder::Constant(u64::MAX).writer_of(3, 8, 4), 7, "an odd number of nodes on");
        assert!(Reorder::Random { nodes: u64::MAX, seed: 1 }.writer_of(3, 8, 4) < 8);
    }
}
