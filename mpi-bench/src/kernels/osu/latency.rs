//! osu_latency: blocking ping-pong between ranks 0 and 1; half a round trip.

use super::bench::{Bench, DATA, LATENCY_METRIC, spec};
use super::buffers::{Buffers, pattern};
use super::plan::{Counts, LATENCY, Needs, PARAMS, Plan};
use crate::error::Result;
use crate::kernel::Spec;
use crate::mpi_raw::{recv, send};
use crate::team::Team;

/// The kernel.
pub(super) struct Latency {
    buffers: Buffers<u8>,
}

impl Latency {
    /// One ping-pong on this rank.
    fn ping_pong(&mut self, team: &Team, bytes: usize) {
        let (out, into) = (&self.buffers.out[..bytes], &mut self.buffers.into[..bytes]);
        match team.rank() {
            0 => {
                send(team.comm(), out, 1, DATA);
                recv(team.comm(), into, 1, DATA);
            }
            1 => {
                recv(team.comm(), into, 0, DATA);
                send(team.comm(), out, 0, DATA);
            }
            _ => {}
        }
    }
}

impl Bench for Latency {
    const SPEC: Spec =
        spec("osu-latency", "ping-pong latency of two ranks", "OSU 7.4 osu_latency", LATENCY_METRIC, PARAMS);
    const TITLE: &'static str = "OSU MPI Latency Test";
    const NOTES: &'static [&'static str] = &["Datatype: MPI_CHAR."];
    const NEEDS: Needs =
        Needs { pace: LATENCY, element: 1, windowed: false, bytes_per_iteration: 0, memory: |s, _| 2 * s };

    fn new(team: &Team, plan: &Plan) -> Result<Self> {
        Ok(Self { buffers: team.agree(Buffers::new(plan.largest(), plan.largest()))? })
    }

    fn time(&mut self, team: &Team, bytes: usize, counts: Counts) -> Vec<f64> {
        for _ in 0..counts.skip {
            self.ping_pong(team, bytes);
        }
        let begin = mpi::time();
        for _ in 0..counts.iterations {
            self.ping_pong(team, bytes);
        }
        vec![(mpi::time() - begin) / (2 * counts.iterations) as f64]
    }

    fn exchange(&mut self, team: &Team, bytes: usize) {
        self.buffers.mark(team.index(), bytes, bytes);
        self.ping_pong(team, bytes);
    }

    fn wrong(&self, team: &Team, bytes: usize) -> u64 {
        match team.index() {
            me @ (0 | 1) => self.buffers.wrong(bytes, |at| Some(pattern(1 - me, at))),
            _ => 0,
        }
    }

    fn damage(&mut self) {
        self.buffers.into[0] ^= 1;
    }
}
