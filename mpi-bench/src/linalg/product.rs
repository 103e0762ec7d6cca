//! The blocked matrix product: which part of A, B and C is worked on when, and which cache it is then in.
//!
//! C is built from products of thin blocks of A and B. A panel of B (as many columns as a tile has) stays in the first-level
//! cache while all panels of a block of A, packed in the second-level cache, pass by it; the packed block of B is in the last
//! level. A panel of B is packed just before its first use. One thread. May not: allocate after `new`.

use std::ops::Range;

use super::cache::Caches;
use super::tile::{Factors, LARGEST, Tile, candidates};
use super::{Mat, MatMut, fits};
use crate::error::Result;
use crate::memory::{Array, Pages, prefetch_second};

/// The most bytes of a packed block of B. Larger ones save packing A again, for more memory.
const MOST_OF_B: usize = 10 << 20;
/// Panels of B up to which packing A costs more than reading it where it is.
const THIN: usize = 6;
/// Panels of B during which the next block of A is asked for.
const LAST: usize = 24;
/// Elements of a cache line.
const LINE: usize = 8;

/// The buffers of a product, and what computes it. Made once per kernel, so that no page fault falls into a timed region.
pub struct Product {
    tile: &'static Tile,
    /// The most steps of a block.
    depth: usize,
    a: Array<f64>,
    b: Array<f64>,
}

impl std::fmt::Debug for Product {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Product({}, {} steps)", self.tile.name, self.depth)
    }
}

/// Elements of the packed blocks of A and B that serve products of m x k and k x n matrices best, with this tile and steps.
fn words(tile: &Tile, depth: usize, caches: Caches, (m, n, k): (usize, usize, usize)) -> (usize, usize) {
    // The second-level cache also holds the panels of B and the tiles of C that pass through it.
    let rows = caches.second / 8 * 3 / 8 / depth / tile.rows * tile.rows;
    let cols = (caches.share_of_last / 2).min(MOST_OF_B) / 8 / depth / tile.cols * tile.cols;
    let steps = depth.min(k.max(1));
    let words_of = |most: usize, all: usize, unit: usize| {
        (most.max(unit) * depth).min(all.max(1).next_multiple_of(unit) * steps)
    };
    (words_of(rows, m, tile.rows), words_of(cols, n, tile.cols))
}

impl Product {
    /// For products of up to m x k and k x n matrices; larger ones are computed, too, only slower.
    ///
    /// # Errors
    /// No memory.
    pub fn new(most: (usize, usize, usize)) -> Result<Self> {
        // The last, which any CPU can run, is always there.
        let tile = candidates()[0];
        Self::with(tile, Caches::here(), most)
    }

    fn with(tile: &'static Tile, caches: Caches, most: (usize, usize, usize)) -> Result<Self> {
        let depth = (caches.first / 2 / 8 / tile.cols).clamp(64, 512) / 8 * 8;
        let (a, b) = words(tile, depth, caches, most);
        Ok(Self { tile, depth, a: Array::beyond(a, Pages::Huge)?, b: Array::beyond(b, Pages::Huge)? })
    }

    /// `C <- beta C + alpha A B`, with A m x k, B k x n, C m x n. As in BLAS, neither C is read where beta is zero, nor A and B
    /// where alpha is.
    ///
    /// # Panics
    /// A slice is too short for its shape.
    pub fn gemm(
        &mut self,
        (m, n, k): (usize, usize, usize),
        alpha: f64,
        a: Mat<'_>,
        b: Mat<'_>,
        beta: f64,
        c: &mut MatMut<'_>,
    ) {
        assert!(fits(a.data.len(), m, k, a.ld) && fits(b.data.len(), k, n, b.ld), "gemm: operand too short");
        assert!(fits(c.data.len(), m, n, c.ld), "gemm: result too short");
        if m == 0 || n == 0 {
            return;
        }
        if k == 0 || alpha == 0.0 {
            return scale((m, n), beta, c);
        }
        let most = self.depth.min(self.a.len() / self.tile.rows).min(self.b.len() / self.tile.cols);
        let depth = even(k, most, 8);
        let width = even(n, self.b.len() / depth, self.tile.cols);
        for left in (0..n).step_by(width) {
            for start in (0..k).step_by(depth) {
                let mut block = Block {
                    alpha,
                    a: a.rest(0, start),
                    b: b.rest(start, left),
                    beta: if start == 0 { beta } else { 1.0 },
                    c: MatMut { data: &mut c.data[left * c.ld..], ld: c.ld },
                    height: m,
                    width: width.min(n - left),
                    depth: depth.min(k - start),
                };
                self.block(&mut block);
            }
        }
    }

    /// One block of B, and all of A that it is multiplied with.
    fn block(&mut self, block: &mut Block<'_>) {
        let (tile, depth) = (self.tile, block.depth);
        let thin = block.width <= THIN * tile.cols;
        let step = if thin { tile.rows } else { even(block.height, self.a.len() / depth, tile.rows) };
        for top in (0..block.height).step_by(step) {
            let height = step.min(block.height - top);
            let a = block.a.rest(top, 0);
            let in_place = thin && height == tile.rows;
            if !in_place {
                (tile.pack_a)(a, height, depth, &mut self.a);
            }
            for left in (0..block.width).step_by(tile.cols) {
                let cols = tile.cols.min(block.width - left);
                if top == 0 {
                    (tile.pack_b)(
                        block.alpha,
                        block.b.rest(0, left),
                        cols,
                        depth,
                        &mut self.b[left * depth..],
                    );
                }
                let b = &self.b[left * depth..];
                for row in (0..height).step_by(tile.rows) {
                    let a = if in_place { a } else { Mat { data: &self.a[row * depth..], ld: tile.rows } };
                    let next = block.after(tile, b, (top, left), (row, height));
                    let rows = tile.rows.min(height - row);
                    block.ask_for_a(tile, (top, left), (row, height));
                    block.tile(tile, &Factors { depth, a, b, cols, next }, (top + row, left), rows);
                }
            }
        }
    }
}

/// A product whose B fits into its buffer.
struct Block<'a> {
    alpha: f64,
    a: Mat<'a>,
    b: Mat<'a>,
    beta: f64,
    c: MatMut<'a>,
    height: usize,
    width: usize,
    depth: usize,
}

impl Block<'_> {
    /// Where to look for the panel of B after that at `left`, a part of it for each of the tiles beside this one: in B while it
    /// is being packed, then among the packed ones.
    fn after(
        &self,
        tile: &Tile,
        panel: &[f64],
        (top, left): (usize, usize),
        (row, height): (usize, usize),
    ) -> *const f64 {
        if top == 0 {
            let column = left + tile.cols + row / tile.rows % tile.cols;
            return self.b.data.as_ptr().wrapping_add(column * self.b.ld);
        }
        let words = tile.cols * self.depth;
        panel.as_ptr().wrapping_add(words + words * row / height)
    }

    /// Asks the second-level cache for a part of the block of A below this one, before each of the tiles beside the last panels
    /// of B. Any earlier, what passes by would have driven it out again.
    fn ask_for_a(&self, tile: &Tile, (top, left): (usize, usize), (row, height): (usize, usize)) {
        let panels = (self.width - left).div_ceil(tile.cols);
        if panels > LAST || top + height >= self.height {
            return;
        }
        let (beside, in_column) = (height.div_ceil(tile.rows), height.div_ceil(LINE) + 1);
        let all = self.width.div_ceil(tile.cols).min(LAST);
        let tile = (all - panels) * beside + row / tile.rows;
        for line in part(tile, all * beside, in_column * self.depth) {
            let (column, line) = (line / in_column, line % in_column);
            prefetch_second(
                self.a.data.as_ptr().wrapping_add(top + height + line * LINE + column * self.a.ld),
            );
        }
    }

    /// The tile of C at this place, of which so many rows are inside.
    fn tile(&mut self, tile: &Tile, factors: &Factors<'_>, (top, left): (usize, usize), rows: usize) {
        let ld = self.c.ld;
        let c = &mut self.c.data[top + left * ld..];
        if rows == tile.rows {
            return (tile.run)(factors, self.beta, c, ld);
        }
        let mut whole = [0.0; LARGEST];
        (tile.run)(factors, 0.0, &mut whole, tile.rows);
        for (column, from) in c.chunks_mut(ld).zip(whole.chunks(tile.rows)).take(factors.cols) {
            for (value, &sum) in column[..rows].iter_mut().zip(from) {
                *value = if self.beta == 0.0 { sum } else { self.beta * *value + sum };
            }
        }
    }
}

/// Part `at` of `all`, divided into so many.
fn part(at: usize, parts: usize, all: usize) -> Range<usize> {
    at * all / parts..(at + 1) * all / parts
}

/// Parts of `all`, each at most `most` and a multiple of `unit`, as equal as can be.
fn even(all: usize, most: usize, unit: usize) -> usize {
    let most = (most / unit * unit).max(1);
    all.div_ceil(all.div_ceil(most)).next_multiple_of(unit).min(most)
}

/// `C <- beta C`
fn scale((m, n): (usize, usize), beta: f64, c: &mut MatMut<'_>) {
    for column in c.data.chunks_mut(c.ld).take(n) {
        for value in &mut column[..m] {
            *value = if beta == 0.0 { 0.0 } else { beta * *value };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Caches, Mat, MatMut, Product, candidates, even, part};

    /// Small enough for many blocks in small products.
    const SMALL: Caches = Caches { first: 1 << 10, second: 96 << 10, share_of_last: 64 << 10 };

    fn numbers(len: usize, seed: f64) -> Vec<f64> {
        (0..len).map(|i| (i as f64 * 0.7 + seed).sin()).collect()
    }

    fn compare(
        product: &mut Product,
        (m, n, k): (usize, usize, usize),
        more: (usize, usize, usize),
        (alpha, beta): (f64, f64),
    ) {
        let (lda, ldb, ldc) = (m + more.0, k + more.1, m + more.2);
        let (a, b) = (numbers(lda * k, 1.0), numbers(ldb * n, 2.0));
        let mut before = numbers(ldc * n, 3.0);
        if beta == 0.0 {
            before.fill(f64::NAN);
        }
        let mut c = before.clone();
        let (of_a, of_b) = (Mat { data: &a, ld: lda }, Mat { data: &b, ld: ldb });
        product.gemm((m, n, k), alpha, of_a, of_b, beta, &mut MatMut { data: &mut c, ld: ldc });
        for (at, (got, old)) in c.iter().zip(&before).enumerate() {
            let (i, j) = (at % ldc, at / ldc);
            if i >= m {
                assert_eq!(got.to_bits(), old.to_bits(), "{product:?}: ({i}, {j}) is not of the matrix");
                continue;
            }
            let sum: f64 = (0..k).map(|l| a[i + l * lda] * b[l + j * ldb]).sum();
            let want = alpha * sum + if beta == 0.0 { 0.0 } else { beta * old };
            let close = (got - want).abs() <= 1e-13 * (k as f64 + 1.0) * (1.0 + alpha.abs());
            assert!(close, "{product:?}: {m} x {n} x {k}: ({i}, {j}) is {got}, not {want}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn every_tile_agrees_with_the_definition_on_any_shape(
            shape in (0..150_usize, 0..90_usize, 0..150_usize),
            more in (0..9_usize, 0..9_usize, 0..9_usize),
            alpha in prop_oneof![Just(1.0), Just(-1.0), Just(0.0), -2.0..2.0],
            beta in prop_oneof![Just(1.0), Just(0.0), -2.0..2.0],
        ) {
            for tile in candidates() {
                let mut product = Product::with(tile, SMALL, shape).expect("small");
                compare(&mut product, shape, more, (alpha, beta));
            }
        }
    }

    #[test]
    fn a_product_larger_than_said_is_computed_too() {
        for tile in candidates() {
            for said in [(0, 0, 0), (1, 1, 1), (30, 500, 3)] {
                let mut product = Product::with(tile, SMALL, said).expect("small");
                compare(&mut product, (70, 41, 90), (0, 1, 2), (1.5, -0.5));
            }
        }
    }

    #[test]
    fn one_set_of_buffers_serves_products_of_all_kinds() {
        let mut product = Product::new((300, 200, 500)).expect("small");
        for shape in [(300, 200, 500), (1, 1, 1), (300, 8, 40), (49, 24, 500), (24, 200, 1), (300, 200, 7)] {
            compare(&mut product, shape, (3, 0, 5), (-1.0, 1.0));
        }
    }

    #[test]
    fn neither_factor_is_read_when_alpha_is_zero() {
        let (a, mut c) = ([f64::NAN; 4], [1.0, 2.0, 3.0, 4.0]);
        let of_a = Mat { data: &a, ld: 2 };
        let mut product = Product::new((2, 2, 2)).expect("small");
        product.gemm((2, 2, 2), 0.0, of_a, of_a, 2.0, &mut MatMut { data: &mut c, ld: 2 });
        assert_eq!(c, [2.0, 4.0, 6.0, 8.0]);
    }

    #[test]
    fn columns_of_a_that_follow_each_other_in_place_are_taken_as_such() {
        for tile in candidates() {
            for more in [0, 1] {
                let shape = (tile.rows, tile.cols + 1, 75);
                let mut product = Product::with(tile, SMALL, shape).expect("small");
                compare(&mut product, shape, (more, 0, 0), (1.5, -0.5));
            }
        }
    }

    #[test]
    fn the_parts_together_are_the_whole() {
        for (parts, all) in [(1, 7), (7, 1), (3, 10), (10, 30), (240, 11_408)] {
            let asked: Vec<usize> = (0..parts).flat_map(|at| part(at, parts, all)).collect();
            assert_eq!(asked, (0..all).collect::<Vec<_>>(), "{all} in {parts}");
        }
    }

    #[test]
    fn parts_are_even() {
        assert_eq!((even(3264, 384, 8), even(3264, 240, 24), even(5, 384, 8)), (368, 240, 8));
        assert_eq!((even(192, 384, 8), even(1, 7, 8), even(100, 50, 10)), (192, 1, 50));
    }
}
