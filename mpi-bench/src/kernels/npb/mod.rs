//! NAS Parallel Benchmarks: the list of the kernels and what all of them share in the registry. One file or folder a kernel;
//! shared pieces beside them. Sizes, official values, tolerances and operation counts are those of NPB 3.4.
//!
//! EP, CG, IS, MG and FT run on any number of ranks, where the originals (EP apart) ask for a power of two: rows, keys and
//! planes are dealt out as evenly as they go. BT, SP and LU cut their cube in two directions. Timed is what the original
//! times, and no more: generation of the problem and the iteration that touches all memory stay outside.

mod bt;
mod cfd;
mod cg;
mod class;
mod ep;
mod ft;
mod is;
mod lu;
mod mg;
mod official;
mod randlc;
mod shares;
mod simd;
mod sp;

use crate::kernel::{Facts, Family, Lap, Metric, Reading, Spec, Variant};
use crate::registry::{Entry, entry};
use cfd::solver::Solver;
use class::Class;

/// The kernels of this family, in the order of `list`.
#[must_use]
pub fn entries() -> Vec<Entry> {
    vec![
        entry::<ep::Ep>(),
        entry::<cg::Cg>(),
        entry::<is::Is>(),
        entry::<mg::Mg>(),
        entry::<ft::Ft>(),
        entry::<Solver<bt::Bt>>(),
        entry::<Solver<sp::Sp>>(),
        entry::<Solver<lu::Lu>>(),
    ]
}

const METRICS: &[Metric] = &[Metric::rate("mops", "Mop/s"), Metric::cost("time", "s")];

/// The description of an NPB kernel: all ranks together, `--size` chooses the class, the figure is Mop/s.
const fn spec(name: &'static str, summary: &'static str, source: &'static str) -> Spec {
    Spec {
        name,
        family: Family::Npb,
        summary,
        source,
        variants: &[Variant::Mpi],
        min_ranks: 1,
        metrics: METRICS,
        params: &[],
    }
}

/// The figures of a lap whose first number is the seconds of the slowest rank; `mop` is the original's count of operations
/// in millions, over all ranks.
fn readings(mop: f64, lap: &Lap) -> Vec<Reading> {
    let seconds = lap.0[0];
    vec![Reading::new("mops", mop / seconds), Reading::new("time", seconds)]
}

/// What a repetition needs to know, besides the number of ranks.
fn params(class: Class) -> Facts {
    Facts::from([("class".to_owned(), class.to_string().into())])
}
