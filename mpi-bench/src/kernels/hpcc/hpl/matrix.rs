//! The distributed matrix [A | b] of HPL: N x (N+1), block-cyclic, this rank's part column by column.

use mpi::collective::SystemOperation;

use super::super::grid::Cyclic;
use super::super::lcg::HPL;
use crate::error::Result;
use crate::memory::{Array, Pages};
use crate::mpi_raw::all_reduce_in_place;
use crate::team::Team;

/// HPL_ISEED.
const SEED: u64 = 100;

/// This rank's place on the process grid and the communicators of its row and column.
#[derive(Debug)]
pub(super) struct Grid {
    pub(super) p: usize,
    pub(super) q: usize,
    pub(super) row: usize,
    pub(super) col: usize,
    /// The ranks of this process row; their rank in it is their process column.
    pub(super) in_row: Team,
    /// The ranks of this process column; their rank in it is their process row.
    pub(super) in_col: Team,
}

impl Grid {
    /// Places the ranks of `team` row by row or column by column.
    pub(super) fn new(team: &Team, p: usize, q: usize, column_major: bool) -> Self {
        let rank = team.index();
        let (row, col) = if column_major { (rank % p, rank / p) } else { (rank / q, rank % q) };
        let colour = |n: usize| i32::try_from(n).unwrap_or(0);
        Self { p, q, row, col, in_row: team.split(colour(row)), in_col: team.split(colour(col)) }
    }
}

/// The local part.
#[derive(Debug)]
pub(super) struct Matrix {
    /// Distribution of the N rows over P.
    pub(super) rows: Cyclic,
    /// Distribution of the N + 1 columns over Q.
    pub(super) cols: Cyclic,
    pub(super) row: usize,
    pub(super) col: usize,
    /// Distance between local columns.
    pub(super) ld: usize,
    pub(super) data: Array<f64>,
}

/// Norms that HPL reports.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Norms {
    pub(super) a_one: f64,
    pub(super) a_inf: f64,
    pub(super) x_one: f64,
    pub(super) x_inf: f64,
    pub(super) b_inf: f64,
    pub(super) residual_inf: f64,
}

/// Words of the largest local part, with its padding.
pub(super) fn local_words(rows: Cyclic, cols: Cyclic) -> usize {
    leading_dimension(rows.local_len(0)) * cols.local_len(0)
}

/// Rows padded to a cache line, and never a multiple of 4 KiB, which would map all columns to the same cache sets.
fn leading_dimension(rows: usize) -> usize {
    let ld = rows.max(1).next_multiple_of(8);
    if ld.is_multiple_of(512) { ld + 8 } else { ld }
}

impl Matrix {
    pub(super) fn new(n: usize, nb: usize, grid: &Grid) -> Result<Self> {
        let rows = Cyclic { n, nb, procs: grid.p };
        let cols = Cyclic { n: n + 1, nb, procs: grid.q };
        let ld = leading_dimension(rows.local_len(grid.row));
        let data = Array::zeroed(ld * cols.local_len(grid.col), Pages::Huge)?;
        Ok(Self { rows, cols, row: grid.row, col: grid.col, ld, data })
    }

    /// Local rows.
    pub(super) fn height(&self) -> usize {
        self.rows.local_len(self.row)
    }

    /// Local columns, that of b included if it is here.
    pub(super) fn width(&self) -> usize {
        self.cols.local_len(self.col)
    }

    /// Local rows of global index `end` or above begin here.
    pub(super) fn first_row(&self, end: usize) -> usize {
        self.rows.local_below(end, self.row)
    }

    /// Local columns of global index `end` or above begin here.
    pub(super) fn first_col(&self, end: usize) -> usize {
        self.cols.local_below(end, self.col)
    }

    /// Fills the local part with HPL's random numbers: element (i, j) is number i + j N of the stream.
    pub(super) fn generate(&mut self) {
        let (n, height) = (self.rows.n as u64, self.height());
        for local_col in 0..self.width() {
            let j = self.cols.global(local_col, self.col) as u64;
            let column = &mut self.data[local_col * self.ld..][..height];
            for (block, run) in column.chunks_mut(self.rows.nb).enumerate() {
                let i = self.rows.global(block * self.rows.nb, self.row) as u64;
                let mut state = HPL.times(i + j * n + 1).apply(SEED);
                for value in run {
                    *value = uniform(state);
                    state = HPL.apply(state);
                }
            }
        }
    }

    /// Norms of the (freshly generated) system and of the residual b - A x. Collective; the answer is the same everywhere.
    pub(super) fn norms(&self, grid: &Grid, x: &[f64]) -> Norms {
        let (n, height) = (self.rows.n, self.height());
        let mut row_sums = vec![0.0; height];
        let mut residual = vec![0.0; height];
        let mut b = vec![0.0; height];
        let mut col_sums = vec![0.0; self.width()];
        for (local_col, sum) in col_sums.iter_mut().enumerate() {
            let j = self.cols.global(local_col, self.col);
            let column = &self.data[local_col * self.ld..][..height];
            if j == n {
                b.copy_from_slice(column);
                continue;
            }
            *sum = column.iter().map(|a| a.abs()).sum();
            for ((row_sum, rest), a) in row_sums.iter_mut().zip(&mut residual).zip(column) {
                *row_sum += a.abs();
                *rest -= a * x[j];
            }
        }
        for (rest, b) in residual.iter_mut().zip(&b) {
            *rest += b;
        }
        for vector in [&mut row_sums, &mut residual, &mut b] {
            all_reduce_in_place(grid.in_row.comm(), vector, SystemOperation::sum());
        }
        all_reduce_in_place(grid.in_col.comm(), &mut col_sums, SystemOperation::sum());
        Norms {
            a_one: grid.in_row.max(largest(&col_sums)),
            a_inf: grid.in_col.max(largest(&row_sums)),
            x_one: x.iter().map(|x| x.abs()).sum(),
            x_inf: largest(x),
            b_inf: grid.in_col.max(largest(&b)),
            residual_inf: grid.in_col.max(largest(&residual)),
        }
    }
}

/// Largest absolute value; NaN if there is one.
fn largest(values: &[f64]) -> f64 {
    values.iter().map(|v| v.abs()).fold(0.0, |max, v| if v > max || v.is_nan() { v } else { max })
}

/// HPL_rand: the state as a number in (-0.5, 0.5], with the rounding of its two halves.
fn uniform(state: u64) -> f64 {
    const HALF_RANGE: f64 = 2_147_483_648.0;
    let low = f64::from(state as u32);
    let high = f64::from((state >> 32) as u32);
    0.5 - (low / HALF_RANGE * 0.5 + high) / HALF_RANGE * 0.5
}

#[cfg(test)]
mod tests {
    use super::{leading_dimension, uniform};

    #[test]
    fn the_range_of_the_numbers() {
        assert_eq!(uniform(0), 0.5);
        assert!((uniform(u64::MAX) + 0.5).abs() < 1e-9);
        assert_eq!(uniform(1 << 63), 0.0);
    }

    #[test]
    fn columns_start_on_lines_but_not_on_pages() {
        assert_eq!(leading_dimension(8000), 8000);
        assert_eq!(leading_dimension(4096), 4104);
        assert_eq!(leading_dimension(1), 8);
    }
}
