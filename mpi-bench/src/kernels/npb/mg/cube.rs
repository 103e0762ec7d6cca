//! Grids, slabs of them, and how slabs keep in touch. No arithmetic.
//!
//! A grid of n^3 points is kept with one ghost point on either side in every direction, so that stencils know no boundary.
//! Plane p of a slab is at index p + 1; indices 0 and `planes() + 1` are ghosts.

use std::ops::{Deref, DerefMut, Range, RangeInclusive};

use super::super::shares::{Parts, all_gather, share};
use crate::error::Result;
use crate::memory::{Array, Pages};
use crate::mpi_raw;
use crate::team::Team;

/// A slab with its ghosts, or a whole cube.
pub(super) struct Cube {
    data: Array<f64>,
    width: usize,
}

impl Cube {
    fn zeroed(n: usize, planes: usize) -> Result<Self> {
        let width = n + 2;
        Ok(Self { data: Array::zeroed(width * width * (planes + 2), Pages::Huge)?, width })
    }

    /// Points of a row, ghosts included.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    fn area(&self) -> usize {
        self.width * self.width
    }

    /// Planes without ghosts.
    pub(super) fn planes(&self) -> usize {
        self.data.len() / self.area() - 2
    }

    /// Indices of the planes that are no ghosts.
    pub(super) fn interior(&self) -> RangeInclusive<usize> {
        1..=self.planes()
    }

    pub(super) fn plane(&self, index: usize) -> &[f64] {
        let area = self.area();
        &self.data[index * area..][..area]
    }

    pub(super) fn plane_mut(&mut self, index: usize) -> &mut [f64] {
        let area = self.area();
        &mut self.data[index * area..][..area]
    }

    /// The plane and its neighbours.
    pub(super) fn around(&self, index: usize) -> [&[f64]; 3] {
        [self.plane(index - 1), self.plane(index), self.plane(index + 1)]
    }

    /// Two different planes, the second to be written.
    fn pair(&mut self, from: usize, to: usize) -> (&[f64], &mut [f64]) {
        let area = self.area();
        let (low, high) = self.data.split_at_mut(from.max(to) * area);
        let (low, high) = (&mut low[from.min(to) * area..][..area], &mut high[..area]);
        if from < to { (low, high) } else { (high, low) }
    }
}

impl Deref for Cube {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        &self.data
    }
}

impl DerefMut for Cube {
    fn deref_mut(&mut self) -> &mut [f64] {
        &mut self.data
    }
}

/// Who has which planes on which level.
///
/// Up to level `whole`, every rank has the cube. The planes of level `whole` are dealt out, each rank computes its own
/// and gets the others'; above, a rank has the planes that lie over its own, twice as many a level.
#[derive(Debug, Clone)]
pub(super) struct Slabs {
    rank: usize,
    ranks: usize,
    whole: usize,
}

impl Slabs {
    /// For a finest level of 2^`log_n` planes, of which there are at least two a rank.
    pub(super) fn new(log_n: usize, rank: usize, ranks: usize) -> Self {
        let fair = |level: usize| {
            let n = 2usize << level;
            // The largest share at most 7 % above the mean.
            n >= ranks.max(4) && 100 * n.div_ceil(ranks) * ranks <= 107 * n
        };
        let whole = match ranks {
            1 => log_n - 1,
            _ => (0..log_n - 1).find(|level| fair(*level)).unwrap_or(log_n - 2),
        };
        Self { rank, ranks, whole }
    }

    /// Planes of this rank on a level.
    pub(super) fn range(&self, level: usize) -> Range<usize> {
        if level <= self.whole {
            return 0..2 << level;
        }
        let own = share(2 << self.whole, self.rank, self.ranks);
        let up = level - self.whole;
        own.start << up..own.end << up
    }

    /// The first of them.
    pub(super) fn first(&self, level: usize) -> usize {
        self.range(level).start
    }

    /// True where a level is dealt out and the one below is not.
    pub(super) fn splits(&self, level: usize) -> bool {
        level == self.whole + 1
    }

    /// What to add to a plane index of `coarse` that is counted from under the first plane of `fine`, the next level.
    pub(super) fn offset(&self, fine: usize, coarse: usize) -> usize {
        self.first(fine) / 2 - self.first(coarse)
    }

    /// A grid of a level.
    pub(super) fn cube(&self, level: usize) -> Result<Cube> {
        Cube::zeroed(2 << level, self.range(level).len())
    }

    /// Gives all ranks the planes of level `whole`, of which each has computed its share.
    pub(super) fn collect(&self, team: &Team, level: usize, cube: &mut Cube) {
        let (planes, area) = (2 << level, cube.area());
        let own = share(planes, self.rank, self.ranks);
        let mine = cube.data[(own.start + 1) * area..][..own.len() * area].to_vec();
        let parts = Parts::even(planes, area, self.ranks);
        all_gather(team, &mine, &mut cube.data[area..][..planes * area], &parts);
    }

    /// Refreshes the ghost planes from the planes across the periodic boundary, of this rank or its neighbours.
    pub(super) fn exchange(&self, team: &Team, level: usize, cube: &mut Cube) {
        let last = cube.planes();
        if level <= self.whole {
            for (from, to) in [(1, last + 1), (last, 0)] {
                let (from, to) = cube.pair(from, to);
                to.copy_from_slice(from);
            }
            return;
        }
        let (before, after) = ((self.rank + self.ranks - 1) % self.ranks, (self.rank + 1) % self.ranks);
        let (before, after) = (mpi_raw::count(before), mpi_raw::count(after));
        let (out, into) = cube.pair(1, last + 1);
        mpi_raw::sendrecv(team.comm(), (out, before), (into, after), 1);
        let (out, into) = cube.pair(last, 0);
        mpi_raw::sendrecv(team.comm(), (out, after), (into, before), 2);
    }
}

#[cfg(test)]
mod tests {
    use super::Slabs;

    #[test]
    fn slabs_cover_every_level_and_lie_over_each_other() {
        for (log_n, most) in [(5, 16), (8, 20)] {
            for ranks in 1..=most {
                for level in 0..log_n {
                    let ranges: Vec<_> =
                        (0..ranks).map(|rank| Slabs::new(log_n, rank, ranks).range(level)).collect();
                    if ranges[0].len() == 2 << level {
                        assert!(ranges.iter().all(|range| *range == ranges[0]));
                    } else {
                        assert_eq!(ranges[ranks - 1].end, 2 << level);
                        assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
                        assert!(ranges.iter().all(|range| range.start % 2 == 0 && range.len() >= 2));
                    }
                }
                assert!(ranks == 1 || Slabs::new(log_n, 0, ranks).range(log_n - 1).len() < 1 << log_n);
            }
        }
    }
}
