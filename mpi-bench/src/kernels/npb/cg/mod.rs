//! CG: the smallest eigenvalue of a large sparse symmetric matrix by inverse iteration; each of its steps solves a system by
//! 25 conjugate-gradient steps.
//!
//! Rows of the matrix and of the vectors are dealt out evenly; a step gathers the direction vector on all ranks and sums two
//! scalars. (The original deals out blocks of a two-dimensional grid and needs a power of two of ranks.) One iteration runs
//! untimed; verified is zeta = shift + 1/(x.z) of the last, to 1e-10.

mod matrix;
mod sliced;

use super::class::Class;
use super::official::{Compared, judge};
use super::shares::{Parts, all_gather, share};
use super::simd::dispatch;
use crate::error::Result;
use crate::kernel::{Check, Facts, Kernel, Lap, Reading, Spec};
use crate::memory::{Array, Pages};
use crate::setup::Setup;
use crate::team::Team;
use matrix::Problem;
use sliced::Sliced;

/// Conjugate-gradient steps for each system.
const STEPS: usize = 25;

/// Relative deviation of zeta that NPB allows.
const LIMIT: f64 = 1e-10;

/// zeta by class.
const OFFICIAL: [f64; 5] =
    [8.597_177_507_864_8, 10.362_595_087_124, 17.130_235_054_029, 22.712_745_482_631, 28.973_605_592_845];

/// The kernel.
pub(super) struct Cg {
    class: Class,
    problem: Problem,
    iterations: usize,
    solver: Solver,
    zeta: f64,
    residual: f64,
}

/// This rank's rows and vectors.
struct Solver {
    operator: Operator,
    x: Array<f64>,
    z: Array<f64>,
    r: Array<f64>,
    p: Array<f64>,
}

/// The matrix as something to multiply by.
struct Operator {
    matrix: Sliced,
    parts: Parts,
    whole: Array<f64>,
    /// This rank's part of the last product.
    product: Array<f64>,
}

impl Operator {
    /// Multiplies the vector of which every rank gives its part.
    fn apply(&mut self, team: &Team, part: &[f64]) {
        all_gather(team, part, &mut self.whole, &self.parts);
        self.matrix.multiply(&self.whole, &mut self.product);
    }
}

impl Solver {
    fn new(problem: &Problem, team: &Team) -> Result<Self> {
        let rows = share(problem.n, team.index(), team.len());
        let local = || Array::zeroed(rows.len(), Pages::Huge);
        let operator = Operator {
            matrix: Sliced::new(&matrix::rows(problem, rows.clone()), problem.n)?,
            parts: Parts::even(problem.n, 1, team.len()),
            whole: Array::zeroed(problem.n, Pages::Huge)?,
            product: local()?,
        };
        Ok(Self { operator, x: local()?, z: local()?, r: local()?, p: local()? })
    }

    /// Solves matrix * z = x approximately; returns |x - matrix * z|.
    fn solve(&mut self, team: &Team) -> f64 {
        self.z.fill(0.0);
        self.r.copy_from_slice(&self.x);
        self.p.copy_from_slice(&self.x);
        let mut rho = team.sum(dot(&self.r, &self.r));
        for _ in 0..STEPS {
            self.operator.apply(team, &self.p);
            let product = &self.operator.product;
            let alpha = rho / team.sum(dot(&self.p, product));
            let next = team.sum(advance(alpha, &self.p, product, &mut self.z, &mut self.r));
            turn(next / rho, &self.r, &mut self.p);
            rho = next;
        }
        self.operator.apply(team, &self.z);
        team.sum(distance_squared(&self.x, &self.operator.product)).sqrt()
    }

    /// One step of the inverse iteration: makes x of z; returns x.z before that, and the residual.
    fn iterate(&mut self, team: &Team) -> (f64, f64) {
        let residual = self.solve(team);
        let (along, length) = (team.sum(dot(&self.x, &self.z)), team.sum(dot(&self.z, &self.z)).sqrt());
        for (x, z) in self.x.iter_mut().zip(&*self.z) {
            *x = z / length;
        }
        (along, residual)
    }
}

/// Partial sums that a reduction keeps, for the sake of vector instructions.
const LANES: usize = 16;

dispatch! {
    /// a . b
    fn dot<M: Arithmetic>(a: &[f64], b: &[f64]) -> f64 {
        let (a, a_rest) = a.as_chunks::<LANES>();
        let (b, b_rest) = b.as_chunks::<LANES>();
        let mut sums = [0.0; LANES];
        for (a, b) in a.iter().zip(b) {
            for lane in 0..LANES {
                sums[lane] = M::mul_add(a[lane], b[lane], sums[lane]);
            }
        }
        a_rest.iter().zip(b_rest).fold(sums.iter().sum(), |sum, (a, b)| sum + a * b)
    }
}

dispatch! {
    /// |a - b|^2
    fn distance_squared<M: Arithmetic>(a: &[f64], b: &[f64]) -> f64 {
        let (a, a_rest) = a.as_chunks::<LANES>();
        let (b, b_rest) = b.as_chunks::<LANES>();
        let mut sums = [0.0; LANES];
        for (a, b) in a.iter().zip(b) {
            for lane in 0..LANES {
                let difference = a[lane] - b[lane];
                sums[lane] = M::mul_add(difference, difference, sums[lane]);
            }
        }
        a_rest.iter().zip(b_rest).fold(sums.iter().sum(), |sum, (a, b)| sum + (a - b) * (a - b))
    }
}

dispatch! {
    /// z += alpha p, r -= alpha q; returns r . r.
    fn advance<M: Arithmetic>(alpha: f64, p: &[f64], q: &[f64], z: &mut [f64], r: &mut [f64]) -> f64 {
        for (z, p) in z.iter_mut().zip(p) {
            *z = M::mul_add(alpha, *p, *z);
        }
        let (q, q_rest) = q.as_chunks::<LANES>();
        let (r, r_rest) = r.as_chunks_mut::<LANES>();
        let mut sums = [0.0; LANES];
        for (r, q) in r.iter_mut().zip(q) {
            for lane in 0..LANES {
                r[lane] = M::mul_add(-alpha, q[lane], r[lane]);
                sums[lane] = M::mul_add(r[lane], r[lane], sums[lane]);
            }
        }
        let mut sum = sums.iter().sum();
        for (r, q) in r_rest.iter_mut().zip(q_rest) {
            *r -= alpha * q;
            sum += *r * *r;
        }
        sum
    }
}

dispatch! {
    /// p = r + beta p
    fn turn<M: Arithmetic>(beta: f64, r: &[f64], p: &mut [f64]) {
        for (p, r) in p.iter_mut().zip(r) {
            *p = M::mul_add(beta, *p, *r);
        }
    }
}

impl Kernel for Cg {
    const SPEC: Spec = super::spec("npb-cg", "smallest eigenvalue by conjugate gradients", "NPB 3.4 CG");

    fn setup(setup: &Setup<'_>) -> Result<Self> {
        let class = Class::of(setup)?;
        let problem = Problem {
            n: class.pick([1400, 7000, 14_000, 75_000, 150_000]),
            nonzeros: class.pick([7, 8, 11, 13, 15]),
            shift: class.pick([10.0, 12.0, 20.0, 60.0, 110.0]),
        };
        setup.need("size", class, problem.bytes(setup.team.len()))?;
        let solver = Solver::new(&problem, setup.team)?;
        let iterations = class.pick([15, 15, 15, 75, 75]);
        Ok(Self { class, problem, iterations, solver, zeta: f64::NAN, residual: f64::NAN })
    }

    fn params(&self) -> Facts {
        super::params(self.class)
    }

    fn run(&mut self, team: &Team) -> Result<Lap> {
        self.solver.x.fill(1.0);
        self.solver.iterate(team);
        self.solver.x.fill(1.0);
        team.barrier();
        let begin = mpi::time();
        for _ in 0..self.iterations {
            let (along, residual) = self.solver.iterate(team);
            (self.zeta, self.residual) = (self.problem.shift + 1.0 / along, residual);
        }
        Ok(Lap(vec![team.max(mpi::time() - begin)]))
    }

    fn verify(&mut self, _team: &Team) -> Result<Check> {
        Ok(judge(&[Compared::new("zeta", self.zeta, self.class.pick(OFFICIAL))], LIMIT))
    }

    fn report(&self, lap: &Lap) -> Vec<Reading> {
        let (n, nonzeros) = (self.problem.n as f64, self.problem.nonzeros as f64);
        let row = nonzeros * (nonzeros + 1.0);
        let step = 3.0 + row + STEPS as f64 * (5.0 + row) + 3.0;
        super::readings(2e-6 * self.iterations as f64 * n * step, lap)
    }

    fn corrupt(&mut self, _team: &Team) {
        self.zeta *= 1.0 + 1e-9;
    }

    fn facts(&self) -> Facts {
        Facts::from([("zeta".to_owned(), self.zeta.into()), ("residual".to_owned(), self.residual.into())])
    }
}
