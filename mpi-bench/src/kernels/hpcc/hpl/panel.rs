//! One block column: its factorisation by the ranks of a process column, recursive, with partial pivoting.
//!
//! A panel is one buffer, so that it can be broadcast as it is: the pivoted top block (jb x jb, L11 below and U11 on and above
//! the diagonal), the pivot rows, then this process row's rows W (m x jb). In the process row that holds the diagonal block the
//! first jb rows of W are dead once pivoted: their content lives in the top block, which every process row keeps a copy of.

use mpi::traits::CommunicatorCollectives;

use super::columns::{eliminate, scale};
use super::matrix::{Grid, Matrix};
use crate::error::Result;
use crate::linalg::{Mat, MatMut, Product};
use crate::memory::Room;

/// Columns below which the recursion ends.
const BASE: usize = 12;

/// Block column `j0 .. j0 + jb`, factorised or about to be received.
#[derive(Debug)]
pub(super) struct Panel {
    pub(super) j0: usize,
    pub(super) jb: usize,
    /// Rows of W here.
    pub(super) m: usize,
    /// First of them that belongs to L21.
    pub(super) skip: usize,
    pub(super) buffer: Room<f64>,
}

/// Doubles of a panel of `jb` columns with `m` rows of W.
pub(super) fn words(jb: usize, m: usize) -> usize {
    jb * (jb + 1 + m)
}

impl Panel {
    /// With room for any block column of the matrix.
    pub(super) fn new(matrix: &Matrix) -> Result<Self> {
        let buffer = Room::new(words(matrix.rows.nb, matrix.height()))?;
        Ok(Self { j0: 0, jb: 0, m: 0, skip: 0, buffer })
    }

    /// Becomes block column `block`, of which nothing is known yet.
    pub(super) fn shape(&mut self, matrix: &Matrix, block: usize) {
        self.j0 = block * matrix.rows.nb;
        self.jb = matrix.rows.block_len(block);
        self.m = matrix.height() - matrix.first_row(self.j0);
        self.skip = if matrix.rows.owner(self.j0) == matrix.row { self.jb } else { 0 };
        self.buffer.set_len(words(self.jb, self.m));
    }

    /// L11 and U11, jb x jb.
    pub(super) fn top(&self) -> &[f64] {
        &self.buffer[..self.jb * self.jb]
    }

    /// For each row of the block, the global row that it was exchanged with.
    pub(super) fn pivots(&self) -> impl Iterator<Item = usize> + '_ {
        self.buffer[self.jb * self.jb..][..self.jb].iter().map(|&row| row as usize)
    }

    /// L21 of this process row: `m - skip` rows, `m` apart.
    pub(super) fn l21(&self) -> &[f64] {
        let start = self.jb * (self.jb + 1) + self.skip;
        self.buffer.get(start..).unwrap_or_default()
    }

    /// Takes the block column out of the matrix, factorises it, and puts U11 back for the solution at the end.
    pub(super) fn factorise(&mut self, matrix: &mut Matrix, grid: &Grid, product: &mut Product) {
        let (first_row, first_col) = (matrix.first_row(self.j0), matrix.first_col(self.j0));
        let (jb, m) = (self.jb, self.m);
        let (head, w) = self.buffer.split_at_mut(jb * (jb + 1));
        for (c, column) in w.chunks_exact_mut(m.max(1)).enumerate() {
            column.copy_from_slice(&matrix.data[first_row + (first_col + c) * matrix.ld..][..m]);
        }
        let (top, pivots) = head.split_at_mut(jb * jb);
        let mut work = Work {
            jb,
            m,
            holder: matrix.rows.owner(self.j0),
            diagonal: self.skip > 0,
            first_row,
            matrix,
            grid,
            top,
            pivots,
            w,
            messages: Vec::new(),
            product,
        };
        work.recurse(0, jb);
        if self.skip > 0 {
            for c in 0..jb {
                let target = &mut matrix.data[first_row + (first_col + c) * matrix.ld..][..jb];
                target.copy_from_slice(&self.buffer[c * jb..][..jb]);
            }
        }
    }
}

/// A panel being factorised.
struct Work<'a> {
    jb: usize,
    m: usize,
    /// The process row that holds the diagonal block.
    holder: usize,
    /// It is this one.
    diagonal: bool,
    first_row: usize,
    matrix: &'a Matrix,
    grid: &'a Grid,
    top: &'a mut [f64],
    pivots: &'a mut [f64],
    w: &'a mut [f64],
    messages: Vec<f64>,
    product: &'a mut Product,
}

impl Work<'_> {
    /// First row of W that is not yet pivoted when `done` columns are.
    fn active(&self, done: usize) -> usize {
        if self.diagonal { done } else { 0 }
    }

    /// Columns `from .. from + width`: left half, U12, update of the right half, right half.
    fn recurse(&mut self, from: usize, width: usize) {
        if width <= BASE {
            return self.base(from, width);
        }
        let half = width / 2;
        let middle = from + half;
        self.recurse(from, half);
        for j in middle..from + width {
            self.forward(from, middle, j);
        }
        let rows = self.active(middle);
        let (jb, m) = (self.jb, self.m);
        let (left, right) = self.w.split_at_mut(middle * m);
        if m > rows {
            let l = Mat { data: &left[from * m + rows..], ld: m };
            let u = Mat { data: &self.top[from + middle * jb..], ld: jb };
            let mut c = MatMut { data: &mut right[rows..], ld: m };
            self.product.gemm((m - rows, width - half, half), -1.0, l, u, 1.0, &mut c);
        }
        self.recurse(middle, width - half);
    }

    /// Rows `from .. to` of column `j` of the top block: solves with the unit lower triangle.
    fn forward(&mut self, from: usize, to: usize, j: usize) {
        let (left, column) = self.top.split_at_mut(j * self.jb);
        for i in from..to {
            let u = column[i];
            let l = &left[i * self.jb..][..to];
            for row in i + 1..to {
                column[row] -= l[row] * u;
            }
        }
    }

    /// A few columns, each updated by those before it in one pass, then pivoted and scaled.
    fn base(&mut self, from: usize, width: usize) {
        for j in from..from + width {
            self.forward(from, j, j);
            let (rows, m) = (self.active(j), self.m);
            let (left, right) = self.w.split_at_mut(j * m);
            let factors = &self.top[from + j * self.jb..][..j - from];
            let earlier = left.get(from * m + rows..).unwrap_or_default();
            let at = eliminate(&mut right[rows..m], earlier, m, factors).map(|at| at + rows);
            self.pivot(j, at);
            let rows = self.active(j + 1);
            let pivot = self.top[j + j * self.jb];
            if pivot != 0.0 {
                scale(&mut self.w[j * m + rows..(j + 1) * m], 1.0 / pivot);
            }
        }
    }

    /// Brings the best of the process rows' candidates to row `j` of the top block, and the row that was there to its place.
    fn pivot(&mut self, j: usize, candidate: Option<usize>) {
        if self.grid.p == 1 {
            // One process row: it holds the diagonal, and a candidate exists because row j itself is one.
            let at = candidate.unwrap_or(j);
            self.pivots[j] = self.matrix.rows.global(self.first_row + at, self.matrix.row) as f64;
            for c in 0..self.jb {
                self.top[j + c * self.jb] = self.w[at + c * self.m];
                self.w[at + c * self.m] = self.w[j + c * self.m];
            }
            return;
        }
        let winner = self.elect(j, candidate);
        let length = 2 + 2 * self.jb;
        let row_of_winner = &self.messages[winner * length..][..length];
        self.pivots[j] = row_of_winner[1];
        for c in 0..self.jb {
            self.top[j + c * self.jb] = row_of_winner[2 + c];
        }
        if winner == self.grid.row {
            let displaced = &self.messages[self.holder * length + 2 + self.jb..][..self.jb];
            if let Some(at) = candidate {
                for (c, value) in displaced.iter().enumerate() {
                    self.w[at + c * self.m] = *value;
                }
            }
        }
    }

    /// All process rows show their candidate; the diagonal's also shows row `j`. Returns the process row of the largest
    /// element, the lowest global row among equals.
    fn elect(&mut self, j: usize, candidate: Option<usize>) -> usize {
        let length = 2 + 2 * self.jb;
        let mut mine = vec![0.0; length];
        mine[0] = -1.0;
        if let Some(at) = candidate {
            mine[0] = self.w[at + j * self.m].abs();
            mine[1] = self.matrix.rows.global(self.first_row + at, self.matrix.row) as f64;
            for c in 0..self.jb {
                mine[2 + c] = self.w[at + c * self.m];
            }
        }
        if self.diagonal {
            for c in 0..self.jb {
                mine[2 + self.jb + c] = self.w[j + c * self.m];
            }
        }
        self.messages.resize(self.grid.p * length, 0.0);
        self.grid.in_col.comm().all_gather_into(&mine[..], &mut self.messages[..]);
        let key = |p: usize| (self.messages[p * length], -self.messages[p * length + 1]);
        (1..self.grid.p).fold(0, |best, p| if key(p) > key(best) { p } else { best })
    }
}
