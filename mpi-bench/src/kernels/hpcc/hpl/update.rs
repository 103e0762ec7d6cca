//! What a panel does to the columns right of it: row exchanges, triangular solve, rank-jb update.

use std::collections::BTreeMap;

use mpi::datatype::PartitionMut;
use mpi::traits::CommunicatorCollectives;

use super::matrix::{Grid, Matrix};
use super::panel::Panel;
use crate::error::Result;
use crate::linalg::{Mat, MatMut, Product};
use crate::memory::Room;
use crate::mpi_raw::{count, recv, send};

const TAG: i32 = 18;

/// Order of the diagonal blocks of L11 that are inverted: larger ones cost flops, smaller ones make thin products.
const INVERTED: usize = 64;

/// A panel's row exchanges, and its triangle ready for solving. Made once per panel.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Global row whose content becomes row r of the block.
    sources: Vec<usize>,
    /// (global row, row of the block whose old content it gets), outside the block.
    displaced: Vec<(usize, usize)>,
    /// Inverses of the diagonal blocks of L11, `INVERTED` x `INVERTED` each.
    inverses: Vec<f64>,
    u: Room<f64>,
    packed: Room<f64>,
    gathered: Room<f64>,
    product: Product,
}

/// Doubles of U, of what is packed, and of what is gathered, at the most: for `width` columns, blocks of `nb` and `p` process
/// rows.
pub(super) fn words(nb: usize, width: usize, p: usize) -> [usize; 3] {
    let between = if p > 1 { nb * width } else { 0 };
    [nb * width, between.max(INVERTED.min(nb) * width), between]
}

impl Exchange {
    /// With room for any panel of the matrix.
    pub(super) fn new(matrix: &Matrix, grid: &Grid) -> Result<Self> {
        let [u, packed, gathered] = words(matrix.rows.nb, matrix.width(), grid.p);
        Ok(Self {
            sources: Vec::new(),
            displaced: Vec::new(),
            inverses: Vec::new(),
            u: Room::new(u)?,
            packed: Room::new(packed)?,
            gathered: Room::new(gathered)?,
            product: Product::new((matrix.height(), matrix.width(), matrix.rows.nb))?,
        })
    }

    /// Works out where rows go and inverts the diagonal blocks.
    pub(super) fn prepare(&mut self, panel: &Panel) {
        let (j0, jb) = (panel.j0, panel.jb);
        let mut content = BTreeMap::new();
        for (r, pivot) in panel.pivots().enumerate() {
            let here = content.get(&(j0 + r)).copied().unwrap_or(j0 + r);
            let there = content.get(&pivot).copied().unwrap_or(pivot);
            content.insert(j0 + r, there);
            content.insert(pivot, here);
        }
        self.sources = (j0..j0 + jb).map(|row| content.get(&row).copied().unwrap_or(row)).collect();
        self.displaced.clear();
        // A row outside the block can only get what was in the block: contents move by exchanges with block rows.
        self.displaced.extend(content.range(j0 + jb..).map(|(&row, &from)| (row, from - j0)));
        self.invert(panel);
    }

    /// What computes the products of the factorisation.
    pub(super) fn product(&mut self) -> &mut Product {
        &mut self.product
    }

    fn invert(&mut self, panel: &Panel) {
        let (jb, top) = (panel.jb, panel.top());
        self.inverses.clear();
        self.inverses.resize(jb.div_ceil(INVERTED) * INVERTED * INVERTED, 0.0);
        for (block, inverse) in self.inverses.chunks_exact_mut(INVERTED * INVERTED).enumerate() {
            let start = block * INVERTED;
            let order = INVERTED.min(jb - start);
            for c in 0..order {
                let column = &mut inverse[c * INVERTED..][..order];
                column[c] = 1.0;
                for k in c..order {
                    let value = column[k];
                    let l = &top[start + (start + k) * jb..][..order];
                    for row in k + 1..order {
                        column[row] -= l[row] * value;
                    }
                }
            }
        }
    }

    /// Applies the panel to local columns `from .. to` of the matrix. Collective over the process column.
    pub(super) fn update(&mut self, matrix: &mut Matrix, grid: &Grid, panel: &Panel, from: usize, to: usize) {
        let width = to.saturating_sub(from);
        if width == 0 {
            return;
        }
        self.u.set_len(panel.jb * width);
        if grid.p == 1 {
            self.exchange_here(matrix, panel, from, width);
        } else {
            self.exchange_between(matrix, grid, panel, from, width);
        }
        self.solve(panel, width);
        let first_row = matrix.first_row(panel.j0);
        let (jb, ld) = (panel.jb, matrix.ld);
        if panel.skip > 0 {
            for (c, column) in self.u.chunks_exact(jb).enumerate() {
                matrix.data[first_row + (from + c) * ld..][..jb].copy_from_slice(column);
            }
        }
        let (below, rows) = (first_row + panel.skip, panel.m - panel.skip);
        if rows > 0 {
            let l = Mat { data: panel.l21(), ld: panel.m };
            let mut c = MatMut { data: &mut matrix.data[below + from * ld..], ld };
            self.product.gemm((rows, width, jb), -1.0, l, Mat { data: &self.u, ld: jb }, 1.0, &mut c);
        }
    }

    /// One process row: all rows are here.
    fn exchange_here(&mut self, matrix: &mut Matrix, panel: &Panel, from: usize, width: usize) {
        let (ld, j0) = (matrix.ld, panel.j0);
        for (c, u) in self.u.chunks_exact_mut(panel.jb).enumerate().take(width) {
            let column = &mut matrix.data[(from + c) * ld..][..ld];
            for (value, &source) in u.iter_mut().zip(&self.sources) {
                *value = column[source];
            }
            for &(row, block_row) in &self.displaced {
                column[row] = column[j0 + block_row];
            }
        }
    }

    /// Several process rows: each contributes the rows it holds to everybody's U, and gets rows of the block in exchange.
    fn exchange_between(
        &mut self,
        matrix: &mut Matrix,
        grid: &Grid,
        panel: &Panel,
        from: usize,
        width: usize,
    ) {
        let rows = matrix.rows;
        let holder = rows.owner(panel.j0);
        let of = |p: usize, list: &[usize]| -> Vec<usize> {
            list.iter().copied().filter(|&row| rows.owner(row) == p).collect()
        };
        let mine = of(grid.row, &self.sources);
        self.packed.set_len(mine.len() * width);
        for (c, packed) in self.packed.chunks_exact_mut(mine.len().max(1)).enumerate() {
            for (value, &row) in packed.iter_mut().zip(&mine) {
                *value = matrix.data[rows.local(row) + (from + c) * matrix.ld];
            }
        }
        let lengths: Vec<usize> = (0..grid.p).map(|p| of(p, &self.sources).len()).collect();
        let counts: Vec<i32> = lengths.iter().map(|n| count(n * width)).collect();
        let starts: Vec<i32> = counts
            .iter()
            .scan(0, |at, n| {
                *at += n;
                Some(*at - n)
            })
            .collect();
        self.gathered.set_len(panel.jb * width);
        let mut into = PartitionMut::new(&mut self.gathered[..], &counts[..], &starts[..]);
        grid.in_col.comm().all_gather_varcount_into(&self.packed[..], &mut into);
        let mut taken = vec![0; grid.p];
        for (r, &source) in self.sources.iter().enumerate() {
            let p = rows.owner(source);
            let part = &self.gathered[starts[p] as usize..];
            for c in 0..width {
                self.u[r + c * panel.jb] = part[taken[p] + c * lengths[p]];
            }
            taken[p] += 1;
        }
        self.displace_between(matrix, grid, holder, panel.j0, from, width);
    }

    /// The block's process row hands its displaced rows to those that gave pivot rows.
    fn displace_between(
        &mut self,
        matrix: &mut Matrix,
        grid: &Grid,
        holder: usize,
        j0: usize,
        from: usize,
        width: usize,
    ) {
        let (rows, ld) = (matrix.rows, matrix.ld);
        for p in 0..grid.p {
            let list: Vec<_> = self.displaced.iter().filter(|(row, _)| rows.owner(*row) == p).collect();
            if list.is_empty() || (grid.row != holder && grid.row != p) {
                continue;
            }
            self.packed.set_len(list.len() * width);
            if grid.row == holder {
                for (c, packed) in self.packed.chunks_exact_mut(list.len()).enumerate() {
                    for (value, (_, block_row)) in packed.iter_mut().zip(&list) {
                        *value = matrix.data[rows.local(j0 + block_row) + (from + c) * ld];
                    }
                }
                if p != holder {
                    send(grid.in_col.comm(), &self.packed, p as i32, TAG);
                }
            } else {
                recv(grid.in_col.comm(), &mut self.packed, holder as i32, TAG);
            }
            if grid.row == p {
                for (c, packed) in self.packed.chunks_exact(list.len()).enumerate() {
                    for (value, (row, _)) in packed.iter().zip(&list) {
                        matrix.data[rows.local(*row) + (from + c) * ld] = *value;
                    }
                }
            }
        }
    }

    /// U <- L11^-1 U, block by block from the top: the rows above are subtracted, then the inverted block is applied.
    fn solve(&mut self, panel: &Panel, width: usize) {
        let (jb, top) = (panel.jb, panel.top());
        for start in (0..jb).step_by(INVERTED) {
            let order = INVERTED.min(jb - start);
            self.packed.set_len(order * width);
            for (c, block) in self.packed.chunks_exact_mut(order).enumerate() {
                block.copy_from_slice(&self.u[start + c * jb..][..order]);
            }
            if start > 0 {
                let above = Mat { data: &self.u, ld: jb };
                let mut rest = MatMut { data: &mut self.packed, ld: order };
                let l = Mat { data: &top[start..], ld: jb };
                self.product.gemm((order, width, start), -1.0, l, above, 1.0, &mut rest);
            }
            let inverse = Mat { data: &self.inverses[start * INVERTED..], ld: INVERTED };
            let mut solved = MatMut { data: &mut self.u[start..], ld: jb };
            let packed = Mat { data: &self.packed, ld: order };
            self.product.gemm((order, width, order), 1.0, inverse, packed, 0.0, &mut solved);
        }
    }
}
