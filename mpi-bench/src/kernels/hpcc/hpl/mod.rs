//! HPL: dense linear system by LU with partial pivoting on a P x Q grid, in Gflop/s.
//!
//! (N/1e9) (N/t) (2/3 N + 3/2); |Ax-b|inf / (eps (|A|inf |x|inf + |b|inf) N) < 16. Matrix and right-hand side from HPL's
//! generator. Right-looking, recursive panels, look-ahead of 0 or 1 panel, five panel broadcasts, row exchange by gathering
//! pivot rows in each process column.

mod bcast;
mod columns;
mod matrix;
mod panel;
mod solve;
mod update;

use super::grid::{Cyclic, MOST_N, block_size, shape};
use super::{EPS, THRESHOLD};
use crate::error::Result;
use crate::kernel::{Check, Facts, Family, Kernel, Lap, Metric, Param, Reading, Spec, Variant};
use crate::setup::Setup;
use crate::team::Team;
use bcast::Topology;
use matrix::{Grid, Matrix, Norms};
use solve::{Algorithm, Buffers, back_substitute, buffer_words, factorise};

const DEFAULT_NB: usize = 192;

/// The kernel.
pub(super) struct Hpl {
    n: usize,
    nb: usize,
    grid: Grid,
    column_major: bool,
    algorithm: Algorithm,
    matrix: Matrix,
    buffers: Buffers,
    x: Vec<f64>,
    norms: Norms,
    seconds: f64,
}

impl Hpl {
    fn gflops(&self, seconds: f64) -> f64 {
        let n = self.n as f64;
        (n / 1e9) * (n / seconds) * (2.0 / 3.0 * n + 1.5)
    }
}

impl Kernel for Hpl {
    const SPEC: Spec = Spec {
        name: "hpl",
        family: Family::Hpcc,
        summary: "dense linear system, LU with partial pivoting",
        source: "HPCC 1.5.0 HPL 2.0",
        variants: &[Variant::Mpi],
        min_ranks: 1,
        metrics: &[Metric::rate("gflops", "GF/s"), Metric::cost("time", "s")],
        params: &[
            Param {
                name: "n",
                help: "order of the system (default: from --size, 8 n^2 bytes over all ranks)",
            },
            Param { name: "nb", help: "block size, 1 to n (default 192)" },
            Param { name: "p", help: "process rows (default: nearest to a square)" },
            Param { name: "q", help: "process columns" },
            Param { name: "pmap", help: "ranks on the grid: row (default) or column" },
            Param { name: "depth", help: "look-ahead, 0 or 1 (default 1)" },
            Param { name: "bcast", help: "panel broadcast: 1rg, 1rm (default), 2rg, 2rm or lng" },
        ],
    };

    fn setup(setup: &Setup<'_>) -> Result<Self> {
        let (p, q) = shape(setup)?;
        let words = setup.bytes_per_rank() as f64 / 8.0 * setup.team.len() as f64;
        let nb = setup.get::<usize>("nb")?.unwrap_or(DEFAULT_NB);
        let whole_blocks = (words.sqrt() as usize / nb.max(1) * nb).max(1);
        let n = setup.get::<usize>("n")?.unwrap_or(whole_blocks);
        if n == 0 || n > MOST_N {
            return Err(setup.bad("n", n, "must be 1 to 2^30"));
        }
        let nb = block_size(setup, n, DEFAULT_NB)?;
        let column_major = match setup.get::<String>("pmap")?.as_deref() {
            None | Some("row") => false,
            Some("column") => true,
            Some(other) => return Err(setup.bad("pmap", other, "must be row or column")),
        };
        let look_ahead = match setup.get::<u32>("depth")? {
            None | Some(1) => true,
            Some(0) => false,
            Some(other) => return Err(setup.bad("depth", other, "must be 0 or 1")),
        };
        let topology = setup.get::<Topology>("bcast")?.unwrap_or(Topology::RingModified);
        let (rows, cols) = (Cyclic { n, nb, procs: p }, Cyclic { n: n + 1, nb, procs: q });
        let buffers = buffer_words(nb, (rows.local_len(0), cols.local_len(0)), p);
        let words = matrix::local_words(rows, cols) + buffers;
        setup.need("n", n, (words as u64).saturating_mul(8))?;
        let grid = Grid::new(setup.team, p, q, column_major);
        let matrix = Matrix::new(n, nb, &grid)?;
        let buffers = Buffers::new(&matrix, &grid)?;
        Ok(Self {
            n,
            nb,
            grid,
            column_major,
            algorithm: Algorithm { topology, look_ahead },
            matrix,
            buffers,
            x: Vec::new(),
            norms: Norms::default(),
            seconds: f64::NAN,
        })
    }

    fn params(&self) -> Facts {
        Facts::from([
            ("n".to_owned(), self.n.into()),
            ("nb".to_owned(), self.nb.into()),
            ("p".to_owned(), self.grid.p.into()),
            ("q".to_owned(), self.grid.q.into()),
            ("pmap".to_owned(), if self.column_major { "column" } else { "row" }.into()),
            ("depth".to_owned(), u32::from(self.algorithm.look_ahead).into()),
            ("bcast".to_owned(), self.algorithm.topology.name().into()),
        ])
    }

    fn run(&mut self, team: &Team) -> Result<Lap> {
        self.matrix.generate();
        team.barrier();
        let begin = mpi::time();
        factorise(&mut self.matrix, &self.grid, self.algorithm, &mut self.buffers);
        self.x = back_substitute(&self.matrix, &self.grid);
        self.seconds = team.max(mpi::time() - begin);
        Ok(Lap(vec![self.seconds]))
    }

    fn verify(&mut self, _team: &Team) -> Result<Check> {
        self.matrix.generate();
        self.norms = self.matrix.norms(&self.grid, &self.x);
        let Norms { a_inf, x_inf, b_inf, residual_inf, .. } = self.norms;
        let residual = residual_inf / (EPS * (a_inf * x_inf + b_inf) * self.n as f64);
        Ok(Check::at_most("|Ax-b|/(eps(|A||x|+|b|)N)", residual, THRESHOLD))
    }

    fn report(&self, lap: &Lap) -> Vec<Reading> {
        vec![Reading::new("gflops", self.gflops(lap.0[0])), Reading::new("time", lap.0[0])]
    }

    fn corrupt(&mut self, _team: &Team) {
        let middle = self.x.len() / 2;
        self.x[middle] += 1e-3;
    }

    fn facts(&self) -> Facts {
        let norms = self.norms;
        let numbers = [
            ("time", self.seconds),
            ("rnorm_inf", norms.residual_inf),
            ("anorm_1", norms.a_one),
            ("anorm_inf", norms.a_inf),
            ("xnorm_1", norms.x_one),
            ("xnorm_inf", norms.x_inf),
            ("bnorm_inf", norms.b_inf),
        ];
        numbers.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
    }
}
