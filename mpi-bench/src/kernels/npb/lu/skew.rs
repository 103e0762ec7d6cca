//! Rows of a field to skewed bundles and back. Copying only.

use super::super::cfd::grid::{Grid, LEAD};

/// How the rows of a plane lie in bundles of `lanes` rows, each row a step behind the one before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Skew {
    pub(super) lanes: usize,
    /// Steps of a bundle: x = 1 in the first row to the last x in the last row.
    pub(super) steps: usize,
    row: usize,
    line: usize,
    interior: usize,
}

impl Skew {
    pub(super) fn new(grid: &Grid, lanes: usize) -> Self {
        let interior = grid.n - 2;
        Self { lanes, steps: interior + lanes - 1, row: grid.row, line: grid.line(), interior }
    }

    /// Doubles of a bundle.
    pub(super) fn len(&self) -> usize {
        5 * self.steps * self.lanes
    }

    /// Copies `rows` rows that start at `from[0]` into a bundle. Lanes without a row get the last one again.
    pub(super) fn pack(&self, from: &[f64], rows: usize, bundle: &mut [f64]) {
        for m in 0..5 {
            for lane in 0..self.lanes {
                // The padding of a row stands in for x below 1 and above the last.
                let start = lane.min(rows - 1) * self.line + m * self.row + LEAD + 1 - lane;
                let groups = bundle.chunks_exact_mut(5 * self.lanes);
                for (group, value) in groups.zip(&from[start..start + self.steps]) {
                    group[m * self.lanes + lane] = *value;
                }
            }
        }
    }

    /// Applies `each(point of the row, value of the bundle)` to the interior of every row.
    pub(super) fn unpack(&self, bundle: &[f64], rows: usize, into: &mut [f64], each: impl Fn(&mut f64, f64)) {
        for m in 0..5 {
            for lane in 0..rows {
                let start = lane * self.line + m * self.row + LEAD + 1;
                let groups = bundle[5 * self.lanes * lane..].chunks_exact(5 * self.lanes);
                for (value, group) in into[start..start + self.interior].iter_mut().zip(groups) {
                    each(value, group[m * self.lanes + lane]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::cfd::exact::{exact_at, fill};
    use super::super::super::cfd::grid::Grid;
    use super::Skew;

    #[test]
    fn rows_come_back_as_they_went() {
        let grid = Grid::new(12, 0, 1).expect("enough points");
        let mut field = vec![0.0; grid.len()];
        fill(&grid, &mut field, exact_at);
        for (lanes, rows) in [(1, 1), (4, 3), (8, 8)] {
            let skew = Skew::new(&grid, lanes);
            let (mut bundle, mut back) = (vec![0.0; skew.len()], vec![0.0; grid.len()]);
            let start = grid.at(2, 3);
            skew.pack(&field[start..], rows, &mut bundle);
            assert!((0..skew.steps * lanes).all(|i| bundle[5 * lanes * (i / lanes) + i % lanes] > 0.0));
            skew.unpack(&bundle, rows, &mut back[start..], |point, value| *point += 2.0 * value);
            let mut same = 0;
            grid.for_own(|at, _| same += usize::from(back[at] == 2.0 * field[at]));
            assert_eq!(same, 10 * rows);
        }
    }
}
