//! osu_barrier. Its check counts arrivals in the memory of rank 0: whoever has left the barrier must see all of them.

use mpi::collective::SystemOperation;

use super::bench::{Bench, spec};
use super::collective::{BYTES_PER_ITERATION, METRICS, time};
use super::plan::{COLLECTIVE, COUNTS_ONLY, Counts, Needs, Plan};
use crate::error::{Error, Result};
use crate::kernel::Spec;
use crate::mpi_raw::{Access, Window};
use crate::team::Team;

/// The kernel.
pub(super) struct Barrier {
    arrivals: Window<u64>,
    /// Arrivals so far that this rank saw after the last checked barrier, and those it had to see.
    seen: u64,
    due: u64,
}

impl Bench for Barrier {
    const SPEC: Spec =
        spec("osu-barrier", "barrier of all ranks", "OSU 7.4 osu_barrier", METRICS, COUNTS_ONLY);
    const TITLE: &'static str = "OSU MPI Barrier Latency Test";
    const NOTES: &'static [&'static str] = &[];
    const NEEDS: Needs = Needs {
        pace: COLLECTIVE,
        element: 0,
        windowed: false,
        bytes_per_iteration: BYTES_PER_ITERATION,
        memory: |_, _| 0,
    };

    fn new(team: &Team, _plan: &Plan) -> Result<Self> {
        let window = Window::allocate(team.comm(), 1);
        let none = || Error::Environment("osu-barrier: MPI gives no memory for a window".to_owned());
        Ok(Self { arrivals: team.agree(window.ok_or_else(none))?, seen: 0, due: 0 })
    }

    fn time(&mut self, team: &Team, _bytes: usize, counts: Counts) -> Vec<f64> {
        time(team, counts, || team.barrier())
    }

    fn exchange(&mut self, team: &Team, _bytes: usize) {
        self.arrivals.access(0, Access::Accumulate(&[1], SystemOperation::sum()), 1);
        team.barrier();
        let mut seen = [0];
        self.arrivals.access(0, Access::Get(&mut seen), 1);
        self.seen = seen[0];
        self.due += team.len() as u64;
        // Nobody may arrive for the next check while others still look at this one.
        team.barrier();
    }

    fn wrong(&self, _team: &Team, _bytes: usize) -> u64 {
        self.due.abs_diff(self.seen)
    }

    fn damage(&mut self) {
        self.seen -= 1;
    }
}
