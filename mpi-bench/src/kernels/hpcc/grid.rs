//! The P x Q process grid of HPL and PTRANS and the block-cyclic distribution over it. Pure index arithmetic.

use crate::error::Result;
use crate::setup::Setup;

/// The largest order of a matrix: with it the number of elements, and of those of the buffers beside them, is a number of 64
/// bits. That of their bytes need not be.
pub(super) const MOST_N: usize = 1 << 30;

/// Blocks of `nb` indices of one dimension, dealt in turn to `procs` processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cyclic {
    pub(super) n: usize,
    pub(super) nb: usize,
    pub(super) procs: usize,
}

impl Cyclic {
    /// Indices that process `proc` holds.
    pub(super) fn local_len(&self, proc: usize) -> usize {
        self.local_below(self.n, proc)
    }

    /// How many of the indices below `end` process `proc` holds; also the local position of the first at or above `end`.
    pub(super) fn local_below(&self, end: usize, proc: usize) -> usize {
        let (blocks, rest) = (end / self.nb, end % self.nb);
        let whole = blocks / self.procs * self.nb;
        let turn = blocks % self.procs;
        whole
            + match proc.cmp(&turn) {
                std::cmp::Ordering::Less => self.nb,
                std::cmp::Ordering::Equal => rest,
                std::cmp::Ordering::Greater => 0,
            }
    }

    /// The process that holds a global index.
    pub(super) fn owner(&self, global: usize) -> usize {
        global / self.nb % self.procs
    }

    /// Local position of a global index on its owner.
    pub(super) fn local(&self, global: usize) -> usize {
        global / (self.nb * self.procs) * self.nb + global % self.nb
    }

    /// Global index of local position `local` on process `proc`.
    pub(super) fn global(&self, local: usize, proc: usize) -> usize {
        (local / self.nb * self.procs + proc) * self.nb + local % self.nb
    }

    /// Number of blocks, the last of which may be short.
    pub(super) fn blocks(&self) -> usize {
        self.n.div_ceil(self.nb)
    }

    /// Length of block `block`.
    pub(super) fn block_len(&self, block: usize) -> usize {
        self.nb.min(self.n - block * self.nb)
    }
}

/// P x Q from the parameters, or the grid nearest to a square with P <= Q.
///
/// # Errors
/// P x Q is not the number of ranks.
pub(super) fn shape(setup: &Setup<'_>) -> Result<(usize, usize)> {
    let ranks = setup.team.len();
    let rest = |name, side: usize| match ranks.checked_div(side) {
        Some(other) if side * other == ranks => Ok(other),
        _ => Err(setup.bad(name, side, format!("does not divide the number of ranks, {ranks}"))),
    };
    match (setup.get::<usize>("p")?, setup.get::<usize>("q")?) {
        (Some(p), Some(q)) if p.checked_mul(q) == Some(ranks) => Ok((p, q)),
        (Some(p), Some(q)) => {
            Err(setup.bad("p", p, format!("P x Q = {p} x {q} is not the number of ranks, {ranks}")))
        }
        (Some(p), None) => Ok((p, rest("p", p)?)),
        (None, Some(q)) => Ok((rest("q", q)?, q)),
        (None, None) => {
            let p = (1..=ranks.isqrt()).rev().find(|p| ranks.is_multiple_of(*p)).unwrap_or(1);
            Ok((p, ranks / p))
        }
    }
}

/// Block size from the parameter or `default`, which is cut to `n`.
///
/// # Errors
/// Outside 1 to `n`.
pub(super) fn block_size(setup: &Setup<'_>, n: usize, default: usize) -> Result<usize> {
    let nb = setup.get::<usize>("nb")?.unwrap_or(default.min(n));
    if nb == 0 || nb > n {
        return Err(setup.bad("nb", nb, format!("must be 1 to N = {n}")));
    }
    Ok(nb)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Cyclic;

    proptest! {
        #[test]
        fn every_index_has_one_place(n in 0usize..300, nb in 1usize..40, procs in 1usize..6) {
            let map = Cyclic { n, nb, procs };
            let total: usize = (0..procs).map(|p| map.local_len(p)).sum();
            prop_assert_eq!(total, n);
            for global in 0..n {
                let owner = map.owner(global);
                prop_assert_eq!(map.global(map.local(global), owner), global);
                prop_assert!(map.local(global) < map.local_len(owner));
                prop_assert_eq!(map.local_below(global, owner), map.local(global));
            }
            let lengths: usize = (0..map.blocks()).map(|b| map.block_len(b)).sum();
            prop_assert_eq!(lengths, n);
        }
    }
}
