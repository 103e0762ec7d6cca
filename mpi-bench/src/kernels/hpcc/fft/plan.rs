//! One long complex transform as two short ones (the six-step method), over one rank or a power of two of ranks.
//!
//! n = n1 n2 points x[j], j = j1 n2 + j2, lie in blocks over the ranks, and so does the result X[k], k = k2 n1 + k1:
//! columns of the n1 x n2 matrix are transformed over j1, multiplied by w^(j2 k1), then rows over j2. Between ranks the
//! matrix is transposed by three MPI_Alltoall. On one rank those vanish, and two passes over memory remain, from one array
//! into the other and back.
//! The short transforms are rustfft's; factors w^e come from two tables of about sqrt(n) entries, never n.

use std::sync::Arc;

use mpi::traits::CommunicatorCollectives;
use rustfft::num_complex::Complex64;
use rustfft::{Fft, FftPlanner};

use super::tiles::{Shape, gather, scatter};
#[cfg(target_arch = "x86_64")]
use crate::cpu::detected;
use crate::memory::{Array, as_reals, as_reals_mut};
use crate::team::Team;

/// Columns gathered at a time: two cache lines of each row, and the buffer stays in the second-level cache.
const WIDTH: usize = 8;

/// Elements between buffered columns beyond their length: a power of two would map them all to the same cache sets.
const PAD: usize = 8;

/// Inner part of a row of factors: w^(j2 k1) = outer[k1 / INNER] * inner[k1 % INNER].
const INNER: usize = 32;

/// Sizes, tables and buffers of a transform.
pub(super) struct Plan {
    n1: usize,
    n2: usize,
    ranks: usize,
    rank: usize,
    columns: Arc<dyn Fft<f64>>,
    rows: Arc<dyn Fft<f64>>,
    roots: Roots,
    buffer: Vec<Complex64>,
    scratch: Vec<Complex64>,
}

impl Plan {
    /// For 2^`log_n` points over `ranks` ranks, a power of two whose square divides 2^`log_n`.
    pub(super) fn new(log_n: u32, ranks: usize, rank: usize) -> Self {
        let n1 = 1usize << (log_n / 2);
        let n2 = 1usize << (log_n - log_n / 2);
        let mut planner = FftPlanner::new();
        let (columns, rows) = (planner.plan_fft_forward(n1), planner.plan_fft_forward(n2));
        let scratch = columns.get_inplace_scratch_len().max(rows.get_inplace_scratch_len());
        Self {
            n1,
            n2,
            ranks,
            rank,
            columns,
            rows,
            roots: Roots::new(log_n),
            buffer: vec![Complex64::default(); WIDTH * (n2 + PAD)],
            scratch: vec![Complex64::default(); scratch],
        }
    }

    /// Points on each rank.
    pub(super) fn local_len(&self) -> usize {
        self.n1 * self.n2 / self.ranks
    }

    /// Transforms `data` (this rank's block) into natural order; the result is in `data`, `work` is lost. The two arrays may
    /// change places.
    pub(super) fn forward(&mut self, team: &Team, data: &mut Array<Complex64>, work: &mut Array<Complex64>) {
        let (m1, m2) = (self.n1 / self.ranks, self.n2 / self.ranks);
        if self.ranks == 1 {
            self.transform_columns(data, work, 0);
            self.transform_rows(work, data);
            return;
        }
        for (j1, row) in data.chunks_exact(self.n2).enumerate() {
            for (to, segment) in row.chunks_exact(m2).enumerate() {
                work[(to * m1 + j1) * m2..][..m2].copy_from_slice(segment);
            }
        }
        team.comm().all_to_all_into(as_reals(work), as_reals_mut(data));
        self.transform_columns(data, work, self.rank * m2);
        team.comm().all_to_all_into(as_reals(work), as_reals_mut(data));
        self.transform_rows(data, work);
        team.comm().all_to_all_into(as_reals(work), as_reals_mut(data));
        for (from, block) in data.chunks_exact(m1 * m2).enumerate() {
            for (k2, segment) in block.chunks_exact(m1).enumerate() {
                work[k2 * self.n1 + from * m1..][..m1].copy_from_slice(segment);
            }
        }
        std::mem::swap(data, work);
    }

    /// Columns of the n1 x m2 matrix: transform over j1, then the factors w^(j2 k1). Column 0 is j2 = `first`.
    fn transform_columns(&mut self, from: &[Complex64], to: &mut [Complex64], first: usize) {
        let m2 = self.n2 / self.ranks;
        let pitch = self.n1 + PAD;
        let mut factors = Factors::new(self.n1);
        for left in (0..m2).step_by(WIDTH) {
            let shape = Shape { rows: self.n1, width: WIDTH.min(m2 - left), stride: m2 };
            gather(&from[left..], shape, &mut self.buffer, pitch);
            for column in 0..shape.width {
                let values = &mut self.buffer[column * pitch..][..self.n1];
                self.columns.process_with_scratch(values, &mut self.scratch);
                factors.multiply(values, &self.roots, first + left + column);
            }
            scatter(&self.buffer, pitch, &mut to[left..], shape);
        }
    }

    /// Rows over j2: `from` holds for each rank s its columns of our rows, [s][k1][j2]; `to` gets [k2][k1].
    fn transform_rows(&mut self, from: &[Complex64], to: &mut [Complex64]) {
        let (m1, m2) = (self.n1 / self.ranks, self.n2 / self.ranks);
        let pitch = self.n2 + PAD;
        for top in (0..m1).step_by(WIDTH) {
            let height = WIDTH.min(m1 - top);
            for row in 0..height {
                let values = &mut self.buffer[row * pitch..][..self.n2];
                for (s, segment) in values.chunks_exact_mut(m2).enumerate() {
                    segment.copy_from_slice(&from[(s * m1 + top + row) * m2..][..m2]);
                }
                self.rows.process_with_scratch(values, &mut self.scratch);
            }
            let shape = Shape { rows: self.n2, width: height, stride: m1 };
            scatter(&self.buffer, pitch, &mut to[top..], shape);
        }
    }
}

/// w^e, w = exp(-2 pi i / n), from a coarse and a fine table.
pub(super) struct Roots {
    mask: usize,
    shift: u32,
    coarse: Vec<Complex64>,
    fine: Vec<Complex64>,
}

impl Roots {
    pub(super) fn new(log_n: u32) -> Self {
        let shift = log_n / 2;
        let n = (1u64 << log_n) as f64;
        let root = |e: usize| Complex64::from_polar(1.0, -std::f64::consts::TAU * e as f64 / n);
        Self {
            mask: (1 << log_n) - 1,
            shift,
            coarse: (0..1usize << (log_n - shift)).map(|e| root(e << shift)).collect(),
            fine: (0..1usize << shift).map(root).collect(),
        }
    }

    /// w^e, any e.
    pub(super) fn power(&self, e: usize) -> Complex64 {
        let e = e & self.mask;
        self.coarse[e >> self.shift] * self.fine[e & ((1 << self.shift) - 1)]
    }
}

/// Room for one row of factors.
struct Factors {
    outer: Vec<Complex64>,
    inner: [Complex64; INNER],
}

impl Factors {
    fn new(n1: usize) -> Self {
        Self { outer: vec![Complex64::default(); n1.div_ceil(INNER)], inner: [Complex64::default(); INNER] }
    }

    /// values[k1] *= w^(j2 k1).
    fn multiply(&mut self, values: &mut [Complex64], roots: &Roots, j2: usize) {
        for (at, factor) in self.outer.iter_mut().enumerate() {
            *factor = roots.power(j2 * at * INNER);
        }
        for (at, factor) in self.inner.iter_mut().enumerate() {
            *factor = roots.power(j2 * at);
        }
        #[cfg(target_arch = "x86_64")]
        if detected!("avx512f", "avx512dq", "avx2", "fma", "f16c") {
            // SAFETY: the CPU has the features.
            return unsafe { self.multiply_avx512(values) };
        } else if detected!("avx2", "fma") {
            // SAFETY: the CPU has both features.
            return unsafe { self.multiply_avx2(values) };
        }
        self.multiply_plain(values);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
    fn multiply_avx512(&self, values: &mut [Complex64]) {
        self.multiply_plain(values);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn multiply_avx2(&self, values: &mut [Complex64]) {
        self.multiply_plain(values);
    }

    #[inline(always)]
    fn multiply_plain(&self, values: &mut [Complex64]) {
        for (block, outer) in values.chunks_mut(INNER).zip(&self.outer) {
            for (value, inner) in block.iter_mut().zip(&self.inner) {
                *value *= outer * inner;
            }
        }
    }
}
