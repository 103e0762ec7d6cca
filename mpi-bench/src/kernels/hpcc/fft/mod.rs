//! FFT: one complex double-precision transform, in Gflop/s.
//!
//! n = the power of two up to M/32 on one rank, P^2 times that up to M/(64 P) over MPI (on the largest power of two of ranks,
//! as in the original); 5e-9 n log2(n) / t; the inverse must give back x: max|x - x0| / ln(n) / eps < 16. Since an error in
//! the order of the result would cancel in the inverse, one coefficient is also summed by the definition.

mod bcnrand;
mod plan;
mod tiles;

use rustfft::num_complex::Complex64;

use super::{EPS, THRESHOLD};
use crate::error::Result;
use crate::kernel::{Check, Facts, Family, Kernel, Lap, Metric, Param, Reading, Spec, Variant};
use crate::memory::{Array, Pages, as_reals_mut};
use crate::rng::Rng;
use crate::setup::Setup;
use crate::team::Team;
use plan::{Plan, Roots};

/// The kernel.
pub(super) struct Fft {
    log_n: u32,
    /// The ranks that compute; `None` on a rank beyond the largest power of two.
    part: Option<Part>,
    ranks: usize,
    seed: u64,
    max_error: f64,
}

struct Part {
    team: Team,
    plan: Plan,
    data: Array<Complex64>,
    work: Array<Complex64>,
}

impl Part {
    fn generate(&mut self) {
        let reals = as_reals_mut(&mut self.data);
        let first = 53 * (reals.len() * self.team.index()) as u64;
        bcnrand::fill(reals, first);
    }

    /// This rank's part of the coefficient `k` by its definition, from the generated input.
    fn coefficient(&self, log_n: u32, k: usize) -> [f64; 2] {
        let roots = Roots::new(log_n);
        let first = self.data.len() * self.team.index();
        let terms = self.data.iter().enumerate().map(|(j, x)| x * roots.power((first + j).wrapping_mul(k)));
        let sum: Complex64 = terms.sum();
        [self.team.sum(sum.re), self.team.sum(sum.im)]
    }
}

impl Kernel for Fft {
    const SPEC: Spec = Spec {
        name: "fft",
        family: Family::Hpcc,
        summary: "one-dimensional complex FFT, double precision",
        source: "HPCC 1.5.0 FFT",
        variants: &[Variant::Single, Variant::Star, Variant::Mpi],
        min_ranks: 1,
        metrics: &[Metric::rate("gflops", "GF/s")],
        params: &[Param {
            name: "log_n",
            help: "log2 of the points of the (whole) vector (default: from --size)",
        }],
    };

    fn setup(setup: &Setup<'_>) -> Result<Self> {
        let ranks = 1usize << setup.team.len().ilog2();
        let log_ranks = ranks.ilog2();
        let bytes = setup.bytes_per_rank();
        let from_size = match setup.variant {
            Variant::Mpi => (bytes / (64 * ranks as u64)).max(1).ilog2() + 2 * log_ranks,
            Variant::Single | Variant::Star => (bytes / 32).max(1).ilog2(),
        };
        let log_n = setup.get::<u32>("log_n")?.unwrap_or(from_size);
        let least = (2 * log_ranks).max(2);
        if !(least..=40).contains(&log_n) {
            return Err(setup.bad("log_n", log_n, format!("must be {least} to 40 on {ranks} ranks")));
        }
        let local = (1usize << log_n) / ranks;
        setup.need("log_n", log_n, 32 * local as u64)?;
        let team = setup.team.split(i32::from(setup.team.len() > ranks && setup.team.index() >= ranks));
        let part = match setup.team.index() < ranks {
            true => Some(Part {
                plan: Plan::new(log_n, ranks, team.index()),
                team,
                data: Array::zeroed(local, Pages::Huge)?,
                work: Array::zeroed(local, Pages::Huge)?,
            }),
            false => None,
        };
        Ok(Self { log_n, part, ranks, seed: setup.seed, max_error: f64::NAN })
    }

    fn params(&self) -> Facts {
        Facts::from([("n".to_owned(), (1u64 << self.log_n).into()), ("ranks".to_owned(), self.ranks.into())])
    }

    fn run(&mut self, team: &Team) -> Result<Lap> {
        if let Some(part) = &mut self.part {
            part.generate();
        }
        team.barrier_in_step();
        let begin = mpi::time();
        if let Some(part) = &mut self.part {
            part.plan.forward(&part.team, &mut part.data, &mut part.work);
        }
        Ok(Lap(vec![team.max(mpi::time() - begin)]))
    }

    fn verify(&mut self, _team: &Team) -> Result<Check> {
        let Some(part) = &mut self.part else { return Ok(Check::exact("idle rank", 0)) };
        let n = 1usize << self.log_n;
        let k = Rng::new(self.seed).below(n as u64) as usize;
        let local = part.plan.local_len();
        let mine = if k / local == part.team.index() { part.data[k % local] } else { Complex64::default() };
        let found = Complex64::new(part.team.sum(mine.re), part.team.sum(mine.im));
        // The inverse is the conjugate of the transform of the conjugate, over n.
        for value in &mut *part.data {
            *value = value.conj();
        }
        part.plan.forward(&part.team, &mut part.data, &mut part.work);
        part.work.copy_from_slice(&part.data);
        part.generate();
        let error = part.work.iter().zip(&*part.data).map(|(back, x)| (back.conj() / n as f64 - x).norm());
        let error = error.fold(0.0, |w, e| if e > w || e.is_nan() { e } else { w });
        self.max_error = part.team.max(error);
        let ln_n = (n as f64).ln();
        let residual = self.max_error / ln_n / EPS;
        let [re, im] = part.coefficient(self.log_n, k);
        let off = (found - Complex64::new(re, im)).norm();
        // The sum of n terms below 1 in size carries a rounding error of about sqrt(n) eps; 1000 times that is still far
        // below any other coefficient's distance.
        if off > 1000.0 * (n as f64).sqrt() * EPS * ln_n {
            let detail = format!("coefficient {k} is off by {off:.3e}");
            return Ok(Check { passed: false, residual: Some(residual), detail });
        }
        Ok(Check::at_most("max|x-x0|/ln(n)/eps", residual, THRESHOLD))
    }

    fn report(&self, lap: &Lap) -> Vec<Reading> {
        let n = (1u64 << self.log_n) as f64;
        vec![Reading::new("gflops", 5e-9 * n * f64::from(self.log_n) / lap.0[0])]
    }

    fn corrupt(&mut self, _team: &Team) {
        if let Some(part) = &mut self.part {
            part.data[0].re += 1.0;
        }
    }

    fn facts(&self) -> Facts {
        Facts::from([("max_error".to_owned(), self.max_error.into())])
    }
}
