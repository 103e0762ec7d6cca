//! LU factorisation of [A | b] with look-ahead, then back substitution. The timed part of HPL.

use mpi::collective::SystemOperation;
use mpi::traits::{Communicator, Root};

use super::bcast::{Topology, broadcast};
use super::matrix::{Grid, Matrix};
use super::panel::{self, Panel};
use super::update::{self, Exchange};
use crate::error::Result;
use crate::mpi_raw::all_reduce_in_place;

/// How the factorisation is run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Algorithm {
    pub(super) topology: Topology,
    /// Factorise the next panel before the rest of the update (1) or after it (0).
    pub(super) look_ahead: bool,
}

/// Buffers that live through the factorisation: two panels and the exchange of one.
#[derive(Debug)]
pub(super) struct Buffers {
    now: Panel,
    next: Panel,
    exchange: Exchange,
}

/// Doubles of the buffers for a matrix of so many local rows and columns, on `p` process rows.
pub(super) fn buffer_words(nb: usize, (height, width): (usize, usize), p: usize) -> usize {
    2 * panel::words(nb, height) + update::words(nb, width, p).iter().sum::<usize>()
}

impl Buffers {
    /// With room for everything that the matrix takes.
    pub(super) fn new(matrix: &Matrix, grid: &Grid) -> Result<Self> {
        let (now, next) = (Panel::new(matrix)?, Panel::new(matrix)?);
        Ok(Self { now, next, exchange: Exchange::new(matrix, grid)? })
    }
}

/// Columns of a piece of the update between two looks at the incoming panel, where it has to be handed on.
const PIECE: usize = 1024;

/// Factorises the matrix in place. U ends up in its upper triangle, L^-1 P b in its last column.
pub(super) fn factorise(matrix: &mut Matrix, grid: &Grid, algorithm: Algorithm, buffers: &mut Buffers) {
    let Buffers { now, next, exchange } = buffers;
    let blocks = matrix.rows.blocks();
    now.shape(matrix, 0);
    if grid.col == 0 {
        now.factorise(matrix, grid, exchange.product());
    }
    broadcast(&grid.in_row, algorithm.topology, 0, &mut now.buffer, &mut || false);
    for block in 0..blocks {
        exchange.prepare(now);
        let width = matrix.width();
        let mut from = matrix.first_col(now.j0 + now.jb);
        if block + 1 == blocks {
            exchange.update(matrix, grid, now, from, width);
            return;
        }
        next.shape(matrix, block + 1);
        let root = matrix.cols.owner(next.j0);
        if !algorithm.look_ahead {
            exchange.update(matrix, grid, now, from, width);
            from = width;
        }
        if grid.col == root {
            if algorithm.look_ahead {
                exchange.update(matrix, grid, now, from, from + next.jb);
                from += next.jb;
            }
            next.factorise(matrix, grid, exchange.product());
        }
        let piece = if grid.q > 2 { PIECE } else { width };
        let mut work = || {
            let to = (from + piece).min(width);
            exchange.update(matrix, grid, now, from, to);
            from = to;
            from < width
        };
        broadcast(&grid.in_row, algorithm.topology, root, &mut next.buffer, &mut work);
        std::mem::swap(now, next);
    }
}

/// Solves U x = y, y being the last column; returns x on every rank.
///
/// Block by block from the bottom. Each process column keeps what its columns contribute to each row; the part that the next
/// block needs is computed first, so that its owner can go on while the rest is computed here.
pub(super) fn back_substitute(matrix: &Matrix, grid: &Grid) -> Vec<f64> {
    let n = matrix.rows.n;
    let mut x = vec![0.0; n];
    let mut sums = initial_sums(matrix, grid);
    let mut waiting: Option<Pending> = None;
    for block in (0..matrix.rows.blocks()).rev() {
        let (j0, jb) = (block * matrix.rows.nb, matrix.rows.block_len(block));
        let (row, col) = (matrix.rows.owner(j0), matrix.cols.owner(j0));
        let mut segment = vec![0.0; jb];
        if grid.row == row {
            let first = matrix.first_row(j0);
            if let Some(pending) = &waiting {
                pending.apply(matrix, &mut sums, first..first + jb);
            }
            segment.copy_from_slice(&sums[first..first + jb]);
            all_reduce_in_place(grid.in_row.comm(), &mut segment, SystemOperation::sum());
        }
        if let Some(pending) = waiting.take() {
            let end = matrix.first_row(j0);
            pending.apply(matrix, &mut sums, 0..end);
        }
        if grid.col == col {
            if grid.row == row {
                triangle(matrix, j0, &mut segment);
            }
            grid.in_col.comm().process_at_rank(row as i32).broadcast_into(&mut segment[..]);
            x[j0..j0 + jb].copy_from_slice(&segment);
            waiting = Some(Pending { first_col: matrix.first_col(j0), x: segment });
        }
    }
    // Each block of x is known in one process column only.
    all_reduce_in_place(grid.in_row.comm(), &mut x, SystemOperation::sum());
    x
}

/// A solved block whose product with the rows above is still to be subtracted.
struct Pending {
    first_col: usize,
    x: Vec<f64>,
}

impl Pending {
    fn apply(&self, matrix: &Matrix, sums: &mut [f64], rows: std::ops::Range<usize>) {
        for (c, x) in self.x.iter().enumerate() {
            let column = &matrix.data[(self.first_col + c) * matrix.ld..][rows.clone()];
            for (sum, a) in sums[rows.clone()].iter_mut().zip(column) {
                *sum -= a * x;
            }
        }
    }
}

/// y where its column is, zeroes elsewhere.
fn initial_sums(matrix: &Matrix, grid: &Grid) -> Vec<f64> {
    let n = matrix.rows.n;
    let height = matrix.height();
    if matrix.cols.owner(n) == grid.col {
        matrix.data[matrix.first_col(n) * matrix.ld..][..height].to_vec()
    } else {
        vec![0.0; height]
    }
}

/// Solves with the diagonal block of U at `j0`.
fn triangle(matrix: &Matrix, j0: usize, values: &mut [f64]) {
    let (first_row, first_col) = (matrix.first_row(j0), matrix.first_col(j0));
    for c in (0..values.len()).rev() {
        let column = &matrix.data[first_row + (first_col + c) * matrix.ld..][..=c];
        values[c] /= column[c];
        let x = values[c];
        for (value, a) in values[..c].iter_mut().zip(column) {
            *value -= a * x;
        }
    }
}
