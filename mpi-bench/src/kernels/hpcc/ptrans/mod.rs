//! PTRANS: C <- A^T + C, both n x n, block-cyclic over a P x Q grid, in GB/s.
//!
//! n is half of HPL's N; GB/s = 8e-9 n^2 / t. Five random placements of the ranks on the grid, the slowest counts, as in the
//! original. Matrices from ScaLAPACK's generator (seeds 100 and 200); max|C - expected| / max|expected| / (eps n) <= 16.

mod transpose;

use super::grid::{Cyclic, MOST_N, block_size, shape};
use super::lcg::{SCALAPACK, Step};
use super::{EPS, THRESHOLD};
use crate::error::Result;
use crate::kernel::{Check, Facts, Family, Kernel, Lap, Metric, Param, Reading, Spec, Variant};
use crate::memory::{Array, Pages};
use crate::rng::Rng;
use crate::setup::Setup;
use crate::team::Team;
use transpose::{Placement, add_transposed};

const SEED_A: u64 = 100;
const SEED_C: u64 = 200;
const PLACEMENTS: usize = 5;
const DEFAULT_NB: usize = 192;

/// The kernel.
pub(super) struct Ptrans {
    n: usize,
    nb: usize,
    grid: (usize, usize),
    seed: u64,
    placement: Placement,
    a: Array<f64>,
    c: Array<f64>,
    residual: f64,
    seconds: f64,
}

impl Ptrans {
    fn generate(&mut self) {
        let n = self.n as u64;
        let (rows, cols) = (self.placement.rows, self.placement.cols);
        let (row, col) = (self.placement.row, self.placement.col);
        let ld = rows.local_len(row);
        for local_col in 0..cols.local_len(col) {
            let j = cols.global(local_col, col) as u64;
            let column = local_col * ld..(local_col + 1) * ld;
            let place = |local: usize| rows.global(local, row) as u64;
            // A(i, j) is number i + j n of its stream, C(i, j) number j + i n: C is generated transposed.
            fill(&mut self.a[column.clone()], SEED_A, rows.nb, 1, |local| place(local) + j * n);
            fill(&mut self.c[column], SEED_C, rows.nb, n, |local| j + place(local) * n);
        }
    }

    /// Largest difference from the expected element, and largest expected element, on this rank.
    fn compare(&self) -> (f64, f64) {
        let n = self.n as u64;
        let (rows, cols) = (self.placement.rows, self.placement.cols);
        let (row, col) = (self.placement.row, self.placement.col);
        let ld = rows.local_len(row);
        let (mut worst, mut largest) = (0.0, 0.0);
        let (mut a, mut c) = (vec![0.0; ld], vec![0.0; ld]);
        for local_col in 0..cols.local_len(col) {
            let j = cols.global(local_col, col) as u64;
            let position = |local: usize| j + rows.global(local, row) as u64 * n;
            fill(&mut a, SEED_A, rows.nb, n, position);
            fill(&mut c, SEED_C, rows.nb, n, position);
            for (found, expected) in self.c[local_col * ld..].iter().zip(a.iter().zip(&c).map(|(a, c)| a + c))
            {
                let difference = (found - expected).abs();
                if difference > worst || difference.is_nan() {
                    worst = difference;
                }
                largest = f64::max(largest, expected.abs());
            }
        }
        (worst, largest)
    }
}

/// Fills one local column, in runs of `nb` elements that lie `stride` apart in the stream; `position` gives the place of a
/// run's first element.
fn fill(out: &mut [f64], seed: u64, nb: usize, stride: u64, position: impl Fn(usize) -> u64) {
    let step: Step = SCALAPACK.times(stride);
    for (block, run) in out.chunks_mut(nb).enumerate() {
        // The first element of the stream is one step after the seed.
        let mut state = SCALAPACK.times(position(block * nb) + 1).apply(seed);
        for value in run {
            *value = 1.0 - 2.0 * (state as f64 / 2_147_483_648.0);
            state = step.apply(state);
        }
    }
}

impl Kernel for Ptrans {
    const SPEC: Spec = Spec {
        name: "ptrans",
        family: Family::Hpcc,
        summary: "parallel matrix transpose and add",
        source: "HPCC 1.5.0 PTRANS",
        variants: &[Variant::Mpi],
        min_ranks: 1,
        metrics: &[Metric::rate("bandwidth", "GB/s")],
        params: &[
            Param { name: "n", help: "order of the matrices (default: half of HPL's N for the same --size)" },
            Param { name: "nb", help: "block size, 1 to n (default 192)" },
            Param { name: "p", help: "process rows (default: nearest to a square)" },
            Param { name: "q", help: "process columns" },
        ],
    };

    fn setup(setup: &Setup<'_>) -> Result<Self> {
        let (p, q) = shape(setup)?;
        let words = setup.bytes_per_rank() as f64 / 8.0 * setup.team.len() as f64;
        let n = setup.get::<usize>("n")?.unwrap_or((words.sqrt() / 2.0) as usize);
        if n == 0 || n > MOST_N {
            return Err(setup.bad("n", n, "must be 1 to 2^30"));
        }
        let nb = block_size(setup, n, DEFAULT_NB)?;
        let (rows, cols) = (Cyclic { n, nb, procs: p }, Cyclic { n, nb, procs: q });
        // Every rank may get every place on the grid: room for the largest part.
        let words = rows.local_len(0) * cols.local_len(0);
        setup.need("n", n, (words as u64).saturating_mul(16))?;
        let placement = Placement::new(rows, cols, (0..setup.team.size()).collect(), setup.team.rank());
        let matrix = || Array::zeroed(words, Pages::Huge);
        let (a, c) = (matrix()?, matrix()?);
        Ok(Self { n, nb, grid: (p, q), seed: setup.seed, placement, a, c, residual: 0.0, seconds: f64::NAN })
    }

    fn params(&self) -> Facts {
        let (p, q) = self.grid;
        let numbers = [("n", self.n), ("nb", self.nb), ("p", p), ("q", q)];
        numbers.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
    }

    fn run(&mut self, team: &Team) -> Result<Lap> {
        let mut rng = Rng::new(self.seed);
        let mut slowest = 0.0;
        self.residual = 0.0;
        for placement in 0..PLACEMENTS {
            if placement > 0 {
                // The one that is overwritten now has been timed: judge it first.
                self.judge(team);
            }
            let mut ranks: Vec<i32> = (0..team.size()).collect();
            rng.shuffle(&mut ranks);
            self.placement = Placement::new(self.placement.rows, self.placement.cols, ranks, team.rank());
            self.generate();
            team.barrier();
            let begin = mpi::time();
            add_transposed(team, &self.placement, &self.a, &mut self.c);
            slowest = f64::max(slowest, team.max(mpi::time() - begin));
        }
        self.seconds = slowest;
        Ok(Lap(vec![slowest]))
    }

    fn verify(&mut self, team: &Team) -> Result<Check> {
        self.judge(team);
        Ok(Check::at_most("scaled residual", self.residual / (EPS * self.n as f64), THRESHOLD))
    }

    fn report(&self, lap: &Lap) -> Vec<Reading> {
        vec![Reading::new("bandwidth", 8e-9 * (self.n as f64).powi(2) / lap.0[0])]
    }

    fn corrupt(&mut self, _team: &Team) {
        // On every rank: with few blocks, rank 0 may hold none.
        self.c[0] += 1e-3;
    }

    fn facts(&self) -> Facts {
        Facts::from([("residual".to_owned(), self.residual.into()), ("time".to_owned(), self.seconds.into())])
    }
}

impl Ptrans {
    /// Keeps the worst residual of all placements.
    fn judge(&mut self, team: &Team) {
        let (worst, largest) = self.compare();
        let residual = team.max(worst) / team.max(largest);
        if residual > self.residual || residual.is_nan() {
            self.residual = residual;
        }
    }
}
