//! A sparse matrix laid out for fast products with a vector.
//!
//! Columns are cut into blocks: the piece of the vector that belongs to one stays in a near cache, and a column is 16 bits from
//! the start of its block, which saves a sixth of the traffic. Within a block the rows are sorted by length and cut into
//! slices of [`LANES`] rows whose elements lie side by side, so that a vector instruction works on as many rows at once and
//! no sums across a vector are needed. Rows shorter than the first of their slice are filled up with zeroes, very few.

use super::super::simd::dispatch;
use super::matrix::Rows;
#[cfg(target_arch = "x86_64")]
use crate::cpu::detected;
use crate::error::Result;
use crate::memory::{Array, Pages};

/// Rows of a slice: two vectors of AVX-512, whose sums are independent.
const LANES: usize = 16;

/// Elements of a row that a block should have on average, so that the cost of a slice is spread over enough of them.
const ELEMENTS_PER_BLOCK: usize = 32;

/// Narrowest block: 32 KiB of the vector, which fits the first-level cache beside the matrix passing through.
const NARROWEST: usize = 4096;

/// Widest: what 16 bits can count.
const WIDEST: usize = 1 << 16;

/// The matrix.
pub(super) struct Sliced {
    slices: Vec<Slice>,
    columns: Array<u16>,
    values: Array<f64>,
    row_count: usize,
    width: usize,
}

/// Rows that are computed together. Its elements follow those of the slice before it.
struct Slice {
    /// Elements of the longest row.
    steps: u32,
    /// First column of the block.
    base: u32,
    /// Rows, [`Sliced::row_count`] where there are too few.
    rows: [u32; LANES],
}

impl Sliced {
    /// From sorted rows with columns below `width`.
    pub(super) fn new(rows: &Rows, width: usize) -> Result<Self> {
        let row_count = rows.starts.len() - 1;
        let per_row = rows.columns.len().div_ceil(row_count.max(1)).max(1);
        let block = (width * ELEMENTS_PER_BLOCK / per_row).clamp(NARROWEST, WIDEST);
        // Equal blocks, not one narrow rest.
        let block = width.div_ceil(width.div_ceil(block));
        let mut planned = Vec::new();
        for base in (0..width).step_by(block) {
            let mut pieces: Vec<Piece> = (0..row_count).map(|row| piece(rows, row, base, block)).collect();
            pieces.sort_by_key(|piece| std::cmp::Reverse(piece.len));
            pieces.truncate(pieces.partition_point(|piece| piece.len > 0));
            planned.extend(pieces.chunks(LANES).map(|pieces| (base, pieces.to_vec())));
        }
        let elements = planned.iter().map(|(_, pieces)| pieces[0].len * LANES).sum();
        let mut sliced = Self {
            slices: Vec::with_capacity(planned.len()),
            columns: Array::zeroed(elements, Pages::Huge)?,
            values: Array::zeroed(elements, Pages::Huge)?,
            row_count,
            width,
        };
        let mut first = 0;
        for (base, pieces) in planned {
            for (lane, piece) in pieces.iter().enumerate() {
                for step in 0..piece.len {
                    let (from, to) = (piece.first + step, first + step * LANES + lane);
                    sliced.columns[to] = (rows.columns[from] as usize - base) as u16;
                    sliced.values[to] = rows.values[from];
                }
            }
            let row = |lane: usize| pieces.get(lane).map_or(row_count, |piece| piece.row) as u32;
            let steps = pieces[0].len;
            sliced.slices.push(Slice {
                steps: steps as u32,
                base: base as u32,
                rows: std::array::from_fn(row),
            });
            first += steps * LANES;
        }
        Ok(sliced)
    }

    /// `y` = matrix times `x`.
    ///
    /// # Panics
    /// `x` or `y` is not as long as the matrix was made for.
    pub(super) fn multiply(&self, x: &[f64], y: &mut [f64]) {
        assert!(x.len() == self.width && y.len() == self.row_count, "vectors of the matrix's size");
        y.fill(0.0);
        #[cfg(target_arch = "x86_64")]
        if detected!("avx512f", "avx2", "fma", "f16c") {
            // SAFETY: the CPU has the features; the length of x is checked above.
            return unsafe { x86::multiply(self, x, y) };
        }
        multiply(self, x, y);
    }
}

/// The part of a row within a block.
#[derive(Debug, Clone, Copy)]
struct Piece {
    row: usize,
    first: usize,
    len: usize,
}

fn piece(rows: &Rows, row: usize, base: usize, block: usize) -> Piece {
    let (start, end) = (rows.starts[row], rows.starts[row + 1]);
    let columns = &rows.columns[start..end];
    let from = columns.partition_point(|column| (*column as usize) < base);
    let to = columns.partition_point(|column| (*column as usize) < base + block);
    Piece { row, first: start + from, len: to - from }
}

/// Adds the sums of a slice to its rows.
#[inline(always)]
fn add(y: &mut [f64], slice: &Slice, sums: &[f64; LANES]) {
    for (row, sum) in slice.rows.iter().zip(sums) {
        if let Some(y) = y.get_mut(*row as usize) {
            *y += sum;
        }
    }
}

dispatch! {
    fn multiply<M: Arithmetic>(matrix: &Sliced, x: &[f64], y: &mut [f64]) {
        let (columns, _) = matrix.columns.as_chunks::<LANES>();
        let (values, _) = matrix.values.as_chunks::<LANES>();
        let mut elements = columns.iter().zip(values);
        for slice in &matrix.slices {
            let x = &x[slice.base as usize..];
            let mut sums = [0.0; LANES];
            for (columns, values) in elements.by_ref().take(slice.steps as usize) {
                for lane in 0..LANES {
                    sums[lane] = M::mul_add(values[lane], x[usize::from(columns[lane])], sums[lane]);
                }
            }
            add(y, slice, &sums);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256i, _mm256_loadu_si256, _mm512_castsi512_si256, _mm512_cvtepu16_epi32,
        _mm512_extracti64x4_epi64, _mm512_fmadd_pd, _mm512_i32gather_pd, _mm512_loadu_pd, _mm512_setzero_pd,
        _mm512_storeu_pd,
    };

    use super::{LANES, Sliced, add};

    /// # Safety
    /// `x` is as long as the matrix is wide.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn multiply(matrix: &Sliced, x: &[f64], y: &mut [f64]) {
        let (columns, _) = matrix.columns.as_chunks::<LANES>();
        let (values, _) = matrix.values.as_chunks::<LANES>();
        let mut elements = columns.iter().zip(values);
        for slice in &matrix.slices {
            let x = &x[slice.base as usize..];
            let (mut low, mut high) = (_mm512_setzero_pd(), _mm512_setzero_pd());
            for (columns, values) in elements.by_ref().take(slice.steps as usize) {
                // SAFETY: 16 columns are 32 bytes, 16 values two vectors; every column lies within x: `new` made them
                // of columns below the width, which is the length of x by the caller's contract.
                unsafe {
                    let columns =
                        _mm512_cvtepu16_epi32(_mm256_loadu_si256(columns.as_ptr().cast::<__m256i>()));
                    let (left, right) =
                        (_mm512_castsi512_si256(columns), _mm512_extracti64x4_epi64::<1>(columns));
                    let left = _mm512_i32gather_pd::<8>(left, x.as_ptr());
                    let right = _mm512_i32gather_pd::<8>(right, x.as_ptr());
                    low = _mm512_fmadd_pd(_mm512_loadu_pd(values.as_ptr()), left, low);
                    high = _mm512_fmadd_pd(_mm512_loadu_pd(values.as_ptr().add(8)), right, high);
                }
            }
            let mut sums = [0.0; LANES];
            // SAFETY: the array has room for two vectors.
            unsafe {
                _mm512_storeu_pd(sums.as_mut_ptr(), low);
                _mm512_storeu_pd(sums.as_mut_ptr().add(8), high);
            }
            add(y, slice, &sums);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::matrix::{Problem, rows};
    use super::Sliced;

    #[test]
    fn the_product_is_that_of_the_rows() {
        // Wide enough for two blocks; parts that leave the last slice incomplete.
        let problem = Problem { n: 5000, nonzeros: 3, shift: 10.0 };
        let x: Vec<f64> = (0..problem.n).map(|i| (i as f64).sin()).collect();
        for range in [0..problem.n, 100..107, 4000..4999] {
            let rows = rows(&problem, range.clone());
            let sliced = Sliced::new(&rows, problem.n).expect("small");
            let mut y = vec![f64::NAN; range.len()];
            let mut portable = vec![0.0; range.len()];
            sliced.multiply(&x, &mut y);
            super::multiply(&sliced, &x, &mut portable);
            for row in 0..range.len() {
                let elements = rows.starts[row]..rows.starts[row + 1];
                let expected: f64 = elements.map(|at| rows.values[at] * x[rows.columns[at] as usize]).sum();
                assert!((y[row] - expected).abs() < 1e-12, "row {row}: {} {expected}", y[row]);
                assert!((portable[row] - expected).abs() < 1e-12, "row {row}");
            }
        }
    }
}
