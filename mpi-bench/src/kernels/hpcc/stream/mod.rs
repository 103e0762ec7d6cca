//! STREAM: copy, scale, add, triad over three vectors, as HPCC runs it. Two kernels from one type: `stream` with plain loops,
//! and `stream-tuned` on huge pages with the fastest of several loops (non-temporal stores among them) per operation.
//!
//! n = M/24 elements; 10 rounds, the first not counted, the best of the rest; 16/16/24/24 bytes an element; valid when the
//! average relative error of each vector is at most 1e-13.

mod loops;

use crate::error::Result;
use crate::kernel::{Check, Facts, Family, Join, Kernel, Lap, Metric, Param, Reading, Spec, Variant};
use crate::memory::{Array, Pages};
use crate::setup::Setup;
use crate::team::Team;
use loops::Loops;

const ROUNDS: usize = 10;
const SCALAR: f64 = 0.42;
const NAMES: [&str; 4] = ["copy", "scale", "add", "triad"];
const BYTES: [f64; 4] = [16.0, 16.0, 24.0, 24.0];
const METRICS: &[Metric] = &[
    Metric::rate("copy", "GB/s").star(Join::Min),
    Metric::rate("scale", "GB/s").star(Join::Min),
    Metric::rate("add", "GB/s").star(Join::Min),
    Metric::rate("triad", "GB/s").star(Join::Min),
];
const SPEC: Spec = Spec {
    name: "stream",
    family: Family::Hpcc,
    summary: "memory bandwidth, plain loops",
    source: "HPCC 1.5.0 STREAM 5.10",
    variants: &[Variant::Single, Variant::Star],
    min_ranks: 1,
    metrics: METRICS,
    params: &[Param { name: "n", help: "elements of each vector (default: from --size, 24 n bytes)" }],
};

/// The kernel; `TUNED` chooses which of the two.
pub(super) struct Stream<const TUNED: bool> {
    loops: Loops,
    a: Array<f64>,
    b: Array<f64>,
    c: Array<f64>,
}

impl<const TUNED: bool> Stream<TUNED> {
    fn initialise(&mut self) {
        self.a.fill(1.0);
        self.b.fill(2.0);
        self.c.fill(0.0);
        // The original doubles `a` to estimate the clock's granularity; the expected values count on it.
        for value in &mut *self.a {
            *value *= 2.0;
        }
    }

    fn operation(&mut self, which: usize) {
        match which {
            0 => (self.loops.copy)(&mut self.c, &self.a),
            1 => (self.loops.scale)(&mut self.b, &self.c, SCALAR),
            2 => (self.loops.add)(&mut self.c, &self.a, &self.b),
            _ => (self.loops.triad)(&mut self.a, &self.b, &self.c, SCALAR),
        }
    }

    /// Tries every set of loops on the real vectors, in turns so that a disturbance hits all of them, and keeps the fastest
    /// of each operation.
    fn tune(&mut self) {
        const TURNS: usize = 5;
        let mut best = self.loops;
        let mut seconds = [f64::INFINITY; 4];
        for turn in 0..TURNS {
            for candidate in loops::candidates() {
                self.loops = candidate;
                for (which, best_seconds) in seconds.iter_mut().enumerate() {
                    let begin = mpi::time();
                    self.operation(which);
                    let took = mpi::time() - begin;
                    if turn > 0 && took < *best_seconds {
                        *best_seconds = took;
                        best.take(which, &candidate);
                    }
                }
            }
        }
        self.loops = best;
    }
}

impl<const TUNED: bool> Kernel for Stream<TUNED> {
    const SPEC: Spec = if TUNED {
        Spec { name: "stream-tuned", summary: "memory bandwidth, non-temporal stores and huge pages", ..SPEC }
    } else {
        SPEC
    };

    fn setup(setup: &Setup<'_>) -> Result<Self> {
        let n = setup.get::<usize>("n")?.unwrap_or((setup.bytes_per_rank() / 24) as usize);
        if n == 0 {
            return Err(setup.bad("n", n, "must be at least 1"));
        }
        setup.need("n", n, (n as u64).saturating_mul(24))?;
        let vector = || Array::zeroed(n, if TUNED { Pages::Huge } else { Pages::Default });
        let mut stream = Self { loops: loops::PLAIN, a: vector()?, b: vector()?, c: vector()? };
        if TUNED {
            stream.tune();
        }
        Ok(stream)
    }

    fn params(&self) -> Facts {
        let mut params = Facts::from([("n".to_owned(), self.a.len().into())]);
        if TUNED {
            params.insert("loops".to_owned(), self.loops.names().into());
        }
        params
    }

    fn run(&mut self, team: &Team) -> Result<Lap> {
        self.initialise();
        let mut best = vec![f64::INFINITY; 4];
        for round in 0..ROUNDS {
            for (which, best) in best.iter_mut().enumerate() {
                team.barrier_in_step();
                let begin = mpi::time();
                self.operation(which);
                team.barrier_in_step();
                let took = mpi::time() - begin;
                if round > 0 {
                    *best = best.min(took);
                }
            }
        }
        Ok(Lap(best))
    }

    fn verify(&mut self, _team: &Team) -> Result<Check> {
        let (mut a, mut b, mut c) = (2.0, 2.0, 0.0);
        for _ in 0..ROUNDS {
            c = a;
            b = SCALAR * c;
            c = a + b;
            a = b + SCALAR * c;
        }
        debug_assert!(b > 0.0 && c > 0.0);
        let error = |vector: &[f64], expected: f64| {
            vector.iter().map(|x| (x - expected).abs()).sum::<f64>() / vector.len() as f64 / expected.abs()
        };
        let errors = [error(&self.a, a), error(&self.b, b), error(&self.c, c)];
        let worst = errors.into_iter().fold(0.0, |w, e| if e > w || e.is_nan() { e } else { w });
        Ok(Check::at_most("average relative error", worst, 1e-13))
    }

    fn report(&self, lap: &Lap) -> Vec<Reading> {
        let n = self.a.len() as f64;
        (0..4).map(|i| Reading::new(NAMES[i], 1e-9 * BYTES[i] * n / lap.0[i])).collect()
    }

    fn corrupt(&mut self, _team: &Team) {
        let at = self.b.len() / 2;
        self.b[at] *= 3.0;
    }
}
