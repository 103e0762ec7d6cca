//! CPU: a synthetic load of integer, floating-point, branch and cache work on every virtual CPU at once (Star), and on one
//! (Single). The difference between the two, and between host and guest, is what over-commitment and the scheduler cost.

use crate::error::Result;
use crate::kernel::{Check, Facts, Family, Join, Kernel, Lap, Metric, Param, Reading, Spec, Variant};
use crate::setup::{Setup, Size};
use crate::team::Team;

/// Words of the table that the load walks through: half of a usual first-level cache.
const TABLE: usize = 2048;

/// Units of work; one is a pass of [`TABLE`] steps.
const UNITS: u64 = 200_000;
const UNITS_QUICK: u64 = 20_000;

/// The kernel.
pub(super) struct Cpu {
    units: u64,
    seed: u64,
    result: (u64, f64),
}

impl Kernel for Cpu {
    const SPEC: Spec = Spec {
        name: "cpu",
        family: Family::Micro,
        summary: "synthetic load on one or all CPUs: integer, floating point, branches, cache",
        source: "all-vCPU synthetic of KVM/Xen comparisons",
        variants: &[Variant::Single, Variant::Star],
        min_ranks: 1,
        metrics: &[
            Metric::rate("steps", "Mop/s"),
            Metric::rate("steps_slowest", "Mop/s").star(Join::Min),
            Metric::rate("steps_total", "Mop/s").star(Join::Sum),
        ],
        params: &[Param { name: "units", help: "units of 2048 steps (default 200000, quick 20000)" }],
    };

    fn setup(setup: &Setup<'_>) -> Result<Self> {
        let default = if setup.size() == Size::Quick { UNITS_QUICK } else { UNITS };
        let units = setup.get::<u64>("units")?.unwrap_or(default);
        if units == 0 {
            return Err(setup.bad("units", units, "must be at least 1"));
        }
        Ok(Self { units, seed: setup.seed, result: (0, 0.0) })
    }

    fn params(&self) -> Facts {
        Facts::from([("units".to_owned(), self.units.into())])
    }

    fn run(&mut self, team: &Team) -> Result<Lap> {
        team.barrier_in_step();
        let begin = mpi::time();
        self.result = work(self.units, self.seed);
        Ok(Lap(vec![mpi::time() - begin]))
    }

    fn verify(&mut self, _team: &Team) -> Result<Check> {
        // The integers are exact; the floating-point sum is the same operations in the same order, so exact too.
        let again = work(self.units, self.seed);
        let wrong =
            u64::from(again.0 != self.result.0) + u64::from(again.1.to_bits() != self.result.1.to_bits());
        Ok(Check::exact("checksums", wrong))
    }

    fn report(&self, lap: &Lap) -> Vec<Reading> {
        let rate = 1e-6 * self.units as f64 * TABLE as f64 / lap.0[0];
        ["steps", "steps_slowest", "steps_total"].iter().map(|name| Reading::new(name, rate)).collect()
    }

    fn corrupt(&mut self, _team: &Team) {
        self.result.0 ^= 1;
    }
}

/// `units` passes over the table; every step depends on the one before, so nothing can be left out or done ahead.
fn work(units: u64, seed: u64) -> (u64, f64) {
    let mut table: Vec<u64> =
        (0..TABLE as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed).collect();
    let (mut state, mut sum) = (seed | 1, 1.0_f64);
    for _ in 0..units {
        for _ in 0..TABLE {
            let at = state as usize % TABLE;
            state = state.rotate_left(17).wrapping_mul(5).wrapping_add(table[at]);
            if state & 8 == 0 {
                table[at] ^= state;
            } else {
                sum = sum * 0.999_999 + (state >> 40) as f64;
            }
        }
    }
    (state, sum)
}
