//! Who owns which part of the cube, and how a part lies in memory. No arithmetic of the benchmarks here.
//!
//! The cube of n^3 points keeps its lines along x whole; y, and z where y gives too few, are dealt out over the ranks. A field
//! of five components holds, z slowest, then y, then the component, a row along x at a time, so that all five components of a
//! row lie together. Two layers of neighbours' points surround a part in y and z; at the border of the cube the inner of them
//! is the boundary itself. Along x, the first interior point starts a cache line, and what pads a row holds copies of the
//! boundary, so that whole registers may be computed without harm.

use mpi::topology::Rank;

use super::lanes::{WIDTH, padded};
use crate::mpi_raw;
use crate::team::Team;

/// Layers of neighbours' points: the fourth-order dissipation reaches two points far.
pub(in super::super) const GHOST: usize = 2;

/// Where x = 0 stands in a row; x = 1 starts a register.
pub(in super::super) const LEAD: usize = WIDTH - 1;

/// The interior points of one direction that a rank owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Span {
    /// Global index of the first, at least 1.
    pub(in super::super) first: usize,
    /// How many, at least 2 where there are neighbours.
    pub(in super::super) len: usize,
    /// Position in the chain of ranks, and its length.
    pub(in super::super) place: usize,
    pub(in super::super) ranks: usize,
    /// The ranks beside this one.
    pub(in super::super) before: Option<Rank>,
    pub(in super::super) after: Option<Rank>,
}

impl Span {
    /// The `place`-th of `ranks` nearly equal parts of `interior` points; neighbours are `stride` ranks away from `rank`.
    fn new(interior: usize, place: usize, ranks: usize, rank: Rank, stride: usize) -> Self {
        let (begin, end) = (interior * place / ranks, interior * (place + 1) / ranks);
        let stride = Rank::try_from(stride).unwrap_or_default();
        Self {
            first: begin + 1,
            len: end - begin,
            place,
            ranks,
            before: (place > 0).then_some(rank - stride),
            after: (place + 1 < ranks).then_some(rank + stride),
        }
    }
}

/// One rank's part of the cube.
#[derive(Debug, Clone)]
pub(in super::super) struct Grid {
    /// Points of the whole cube along each edge, boundaries included.
    pub(in super::super) n: usize,
    pub(in super::super) y: Span,
    pub(in super::super) z: Span,
    /// Doubles in a row.
    pub(in super::super) row: usize,
}

impl Grid {
    /// This rank's part; `None` where a rank would get fewer points than the dissipation reaches.
    pub(in super::super) fn new(n: usize, rank: Rank, ranks: usize) -> Option<Self> {
        let interior = n - 2;
        let enough = |parts: usize| interior / parts >= GHOST;
        let along_y =
            (1..=ranks).rev().find(|&y| ranks.is_multiple_of(y) && enough(y) && enough(ranks / y))?;
        let place = usize::try_from(rank).unwrap_or_default();
        Some(Self {
            n,
            y: Span::new(interior, place % along_y, along_y, rank, 1),
            z: Span::new(interior, place / along_y, ranks / along_y, rank, along_y),
            row: WIDTH + padded(interior) + WIDTH,
        })
    }

    /// Doubles in a field.
    pub(in super::super) fn len(&self) -> usize {
        self.plane() * (self.z.len + 2 * GHOST)
    }

    /// Doubles between points that are neighbours in y.
    pub(in super::super) fn line(&self) -> usize {
        5 * self.row
    }

    /// Doubles between points that are neighbours in z.
    pub(in super::super) fn plane(&self) -> usize {
        self.line() * (self.y.len + 2 * GHOST)
    }

    /// Start of the first component's row; `j` and `k` count from the outer layer of neighbours' points, so that this
    /// rank's own start at [`GHOST`].
    #[inline(always)]
    pub(in super::super) fn at(&self, j: usize, k: usize) -> usize {
        k * self.plane() + j * self.line()
    }

    /// Registers' worth of interior points in a row, in doubles.
    pub(in super::super) fn padded_interior(&self) -> usize {
        padded(self.n - 2)
    }

    /// The `j` of this rank's own points.
    pub(in super::super) fn own_y(&self) -> std::ops::Range<usize> {
        GHOST..GHOST + self.y.len
    }

    /// The `k` of this rank's own points.
    pub(in super::super) fn own_z(&self) -> std::ops::Range<usize> {
        GHOST..GHOST + self.z.len
    }

    /// Calls `each(index of the first component, [x, y, z])` for every own interior point, global coordinates.
    pub(in super::super) fn for_own(&self, mut each: impl FnMut(usize, [usize; 3])) {
        for k in self.own_z() {
            for j in self.own_y() {
                for x in 1..self.n - 1 {
                    let point = [x, self.y.first + j - GHOST, self.z.first + k - GHOST];
                    each(self.at(j, k) + LEAD + x, point);
                }
            }
        }
    }

    /// Brings the layers of neighbours' points up to date.
    pub(in super::super) fn exchange(&self, team: &Team, field: &mut [f64]) {
        if self.y.ranks > 1 {
            self.exchange_y(team, field);
        }
        if self.z.ranks > 1 {
            let (plane, own) = (self.plane(), self.z.len);
            let layer = GHOST * plane;
            let (rest, far) = field.split_at_mut((own + GHOST) * plane);
            shift(team, (&rest[layer..2 * layer], self.z.before), (&mut far[..layer], self.z.after));
            let (near, rest) = field.split_at_mut(layer);
            let last = (own - GHOST) * plane;
            shift(team, (&rest[last..last + layer], self.z.after), (near, self.z.before));
        }
    }

    fn exchange_y(&self, team: &Team, field: &mut [f64]) {
        let layer = GHOST * self.line();
        let far = GHOST + self.y.len;
        for (from, to, into, source) in
            [(GHOST, self.y.before, far, self.y.after), (far - GHOST, self.y.after, 0, self.y.before)]
        {
            let mut out = Vec::with_capacity(layer * self.z.len);
            for k in self.own_z() {
                out.extend_from_slice(&field[self.at(from, k)..][..layer]);
            }
            let mut came = vec![0.0; out.len()];
            shift(team, (&out, to), (&mut came, source));
            if source.is_some() {
                for (k, rows) in self.own_z().zip(came.chunks_exact(layer)) {
                    let at = self.at(into, k);
                    field[at..at + layer].copy_from_slice(rows);
                }
            }
        }
    }
}

/// Hands `out` to one neighbour and takes `into` from the other, as far as they exist.
pub(in super::super) fn shift(
    team: &Team,
    (out, to): (&[f64], Option<Rank>),
    (into, from): (&mut [f64], Option<Rank>),
) {
    match (to, from) {
        (Some(to), Some(from)) => {
            mpi_raw::sendrecv(team.comm(), (out, to), (into, from), 0);
        }
        (Some(to), None) => mpi_raw::send(team.comm(), out, to, 0),
        (None, Some(from)) => mpi_raw::recv(team.comm(), into, from, 0),
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{GHOST, Grid};

    #[test]
    fn twelve_points_are_enough_for_eight_ranks_but_not_for_seven() {
        assert!(Grid::new(12, 0, 8).is_some());
        assert_eq!(Grid::new(12, 0, 7).map(|grid| grid.y), None);
    }

    proptest! {
        #[test]
        fn every_interior_point_has_one_owner(n in 12usize..40, ranks in 1usize..40) {
            let parts: Vec<_> = (0..ranks).filter_map(|rank| Grid::new(n, rank as i32, ranks)).collect();
            prop_assume!(!parts.is_empty());
            prop_assert_eq!(parts.len(), ranks);
            let mut owners = vec![0u8; n * n * n];
            for part in &parts {
                prop_assert!(ranks == 1 || (part.y.len >= GHOST && part.z.len >= GHOST));
                part.for_own(|_, [x, y, z]| owners[(z * n + y) * n + x] += 1);
            }
            prop_assert_eq!(owners.iter().filter(|&&count| count == 1).count(), (n - 2).pow(3));
            prop_assert_eq!(owners.iter().filter(|&&count| count > 1).count(), 0);
        }
    }
}
