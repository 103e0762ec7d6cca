//! DGEMM: C <- beta C + alpha A B with n x n matrices, as HPCC's tstdgemm does it, by [`Product`].
//!
//! n = floor(sqrt(M/24 + 1/4) - 1/2) for M bytes; figure 2e-9 n^3 / t; residual |y|inf / (|C|inf |x|inf n eps) < 16 with
//! y = C x - (alpha A B x + beta C0 x). As in the original, A, B, C come from one seed and start equal.

use super::libc_rand::{LibcRand, RAND_MAX};
use super::{EPS, THRESHOLD};
use crate::error::Result;
use crate::kernel::{Check, Facts, Family, Kernel, Lap, Metric, Param, Reading, Spec, Variant};
use crate::linalg::{Mat, MatMut, Product, gemv, norm_inf};
use crate::memory::{Array, Pages};
use crate::setup::Setup;
use crate::team::Team;

/// The kernel.
pub(super) struct Dgemm {
    n: usize,
    seed: u32,
    a: Array<f64>,
    b: Array<f64>,
    c: Array<f64>,
    product: Product,
}

impl Dgemm {
    fn scale(&self) -> (f64, f64) {
        (self.a[self.n / 2], self.b[self.n / 2])
    }
}

fn fill(matrix: &mut [f64], seed: u32) {
    let mut rand = LibcRand::new(seed);
    for value in matrix {
        *value = f64::from(rand.next()) / RAND_MAX;
    }
}

impl Kernel for Dgemm {
    const SPEC: Spec = Spec {
        name: "dgemm",
        family: Family::Hpcc,
        summary: "dense matrix product, double precision",
        source: "HPCC 1.5.0 DGEMM",
        variants: &[Variant::Single, Variant::Star],
        min_ranks: 1,
        metrics: &[Metric::rate("gflops", "GF/s")],
        params: &[Param {
            name: "n",
            help: "order of the matrices (default: from --size, 24 n (n+1) bytes)",
        }],
    };

    fn setup(setup: &Setup<'_>) -> Result<Self> {
        let from_size = ((setup.bytes_per_rank() as f64 / 24.0 + 0.25).sqrt() - 0.5) as usize;
        let n = setup.get::<usize>("n")?.unwrap_or(from_size);
        if n == 0 {
            return Err(setup.bad("n", n, "must be at least 1"));
        }
        setup.need("n", n, (n as u64).saturating_mul(n as u64).saturating_mul(24))?;
        let matrix = || Array::zeroed(n * n, Pages::Huge);
        // Like the original's time(): any 32-bit seed serves.
        let (seed, product) = (setup.seed as u32, Product::new((n, n, n))?);
        Ok(Self { n, seed, a: matrix()?, b: matrix()?, c: matrix()?, product })
    }

    fn params(&self) -> Facts {
        Facts::from([("n".to_owned(), self.n.into())])
    }

    fn run(&mut self, team: &Team) -> Result<Lap> {
        for matrix in [&mut self.a, &mut self.b, &mut self.c] {
            fill(matrix, self.seed);
        }
        let (n, (alpha, beta)) = (self.n, self.scale());
        team.barrier_in_step();
        let begin = mpi::time();
        let (a, b) = (Mat { data: &self.a, ld: n }, Mat { data: &self.b, ld: n });
        self.product.gemm((n, n, n), alpha, a, b, beta, &mut MatMut { data: &mut self.c, ld: n });
        Ok(Lap(vec![mpi::time() - begin]))
    }

    fn verify(&mut self, _team: &Team) -> Result<Check> {
        let (n, (alpha, beta)) = (self.n, self.scale());
        let mut x = vec![0.0; n];
        fill(&mut x, self.seed);
        let norm_c = norm_inf((n, n), Mat { data: &self.c, ld: n });
        let norm_x = norm_inf((n, 1), Mat { data: &x, ld: n });
        let (mut y, mut z) = (vec![0.0; n], vec![0.0; n]);
        gemv((n, n), 1.0, Mat { data: &self.c, ld: n }, &x, 0.0, &mut y);
        gemv((n, n), 1.0, Mat { data: &self.b, ld: n }, &x, 0.0, &mut z);
        gemv((n, n), alpha, Mat { data: &self.a, ld: n }, &z, -1.0, &mut y);
        fill(&mut self.c, self.seed);
        gemv((n, n), beta, Mat { data: &self.c, ld: n }, &x, 1.0, &mut y);
        let norm_y = norm_inf((n, 1), Mat { data: &y, ld: n });
        Ok(Check::at_most("scaled residual", norm_y / norm_c / norm_x / n as f64 / EPS, THRESHOLD))
    }

    fn report(&self, lap: &Lap) -> Vec<Reading> {
        vec![Reading::new("gflops", 2e-9 * (self.n as f64).powi(3) / lap.0[0])]
    }

    fn corrupt(&mut self, _team: &Team) {
        let at = self.c.len() / 3;
        self.c[at] += 1e-3;
    }
}
