//! osu_put_latency, osu_get_latency, osu_acc_latency, osu_put_bw, osu_get_bw: one-sided access of rank 0 to rank 1.
//!
//! OSU's default: MPI_Win_allocate and MPI_Win_flush in a passive epoch; the epoch here lasts as long as the window.

use std::marker::PhantomData;

use mpi::collective::SystemOperation;

use super::bench::{BANDWIDTH_METRIC, Bench, LATENCY_METRIC, spec};
use super::buffers::{Buffers, pattern};
use super::plan::{BANDWIDTH, Counts, LATENCY, Needs, PARAMS, Plan, WINDOW_PARAMS};
use crate::error::{Error, Result};
use crate::kernel::Spec;
use crate::mpi_raw::{Access, Window};
use crate::team::Team;

/// Who accesses, and whose memory.
const ORIGIN: usize = 0;
const TARGET: usize = 1;

/// What is done to the target's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Put,
    Get,
    Accumulate,
}

/// What distinguishes the kernels.
pub(super) trait Transfer: 'static {
    const SPEC: Spec;
    const TITLE: &'static str;
    const KIND: Kind;
    /// A window of accesses before each flush, and a rate; otherwise one access a flush, and its time.
    const WINDOWED: bool;
}

/// osu_put_latency.
pub(super) struct PutLatency;
impl Transfer for PutLatency {
    const SPEC: Spec =
        spec("osu-put-latency", "MPI_Put and flush", "OSU 7.4 osu_put_latency", LATENCY_METRIC, PARAMS);
    const TITLE: &'static str = "OSU MPI_Put Latency Test";
    const KIND: Kind = Kind::Put;
    const WINDOWED: bool = false;
}

/// osu_get_latency.
pub(super) struct GetLatency;
impl Transfer for GetLatency {
    const SPEC: Spec =
        spec("osu-get-latency", "MPI_Get and flush", "OSU 7.4 osu_get_latency", LATENCY_METRIC, PARAMS);
    const TITLE: &'static str = "OSU MPI_Get latency Test";
    const KIND: Kind = Kind::Get;
    const WINDOWED: bool = false;
}

/// osu_acc_latency.
pub(super) struct AccumulateLatency;
impl Transfer for AccumulateLatency {
    const SPEC: Spec = spec(
        "osu-acc-latency",
        "MPI_Accumulate (sum of bytes) and flush",
        "OSU 7.4 osu_acc_latency",
        LATENCY_METRIC,
        PARAMS,
    );
    const TITLE: &'static str = "OSU MPI_Accumulate latency Test";
    const KIND: Kind = Kind::Accumulate;
    const WINDOWED: bool = false;
}

/// osu_put_bw.
pub(super) struct PutBandwidth;
impl Transfer for PutBandwidth {
    const SPEC: Spec =
        spec("osu-put-bw", "windows of MPI_Put", "OSU 7.4 osu_put_bw", BANDWIDTH_METRIC, WINDOW_PARAMS);
    const TITLE: &'static str = "OSU MPI_Put Bandwidth Test";
    const KIND: Kind = Kind::Put;
    const WINDOWED: bool = true;
}

/// osu_get_bw.
pub(super) struct GetBandwidth;
impl Transfer for GetBandwidth {
    const SPEC: Spec =
        spec("osu-get-bw", "windows of MPI_Get", "OSU 7.4 osu_get_bw", BANDWIDTH_METRIC, WINDOW_PARAMS);
    const TITLE: &'static str = "OSU MPI_Get Bandwidth Test";
    const KIND: Kind = Kind::Get;
    const WINDOWED: bool = true;
}

/// The kernel.
pub(super) struct Rma<X> {
    buffers: Buffers<u8>,
    memory: Window<u8>,
    per_flush: usize,
    transfer: PhantomData<X>,
}

impl<X: Transfer> Rma<X> {
    /// What the origin does between two flushes.
    fn access(&mut self, bytes: usize, times: usize) {
        let what = match X::KIND {
            Kind::Put => Access::Put(&self.buffers.out[..bytes]),
            Kind::Get => Access::Get(&mut self.buffers.into[..bytes]),
            Kind::Accumulate => Access::Accumulate(&self.buffers.out[..bytes], SystemOperation::sum()),
        };
        self.memory.access(TARGET as i32, what, times);
    }
}

impl<X: Transfer> Bench for Rma<X> {
    const SPEC: Spec = X::SPEC;
    const TITLE: &'static str = X::TITLE;
    const NOTES: &'static [&'static str] =
        &["Window creation: MPI_Win_allocate", "Synchronization: MPI_Win_flush"];
    const NEEDS: Needs = Needs {
        pace: if X::WINDOWED { BANDWIDTH } else { LATENCY },
        element: 1,
        windowed: X::WINDOWED,
        bytes_per_iteration: 0,
        memory: |s, _| 3 * s,
    };

    fn new(team: &Team, plan: &Plan) -> Result<Self> {
        let buffers = team.agree(Buffers::new(plan.largest(), plan.largest()))?;
        let window = Window::allocate(team.comm(), plan.largest());
        let none = || Error::Environment(format!("{}: MPI gives no memory for a window", X::SPEC.name));
        let memory = team.agree(window.ok_or_else(none))?;
        Ok(Self { buffers, memory, per_flush: plan.window, transfer: PhantomData })
    }

    fn time(&mut self, team: &Team, bytes: usize, counts: Counts) -> Vec<f64> {
        let mut took = 0.0;
        if team.index() == ORIGIN {
            for _ in 0..counts.skip {
                self.access(bytes, self.per_flush);
            }
            let begin = mpi::time();
            for _ in 0..counts.iterations {
                self.access(bytes, self.per_flush);
            }
            took = mpi::time() - begin;
        }
        // The target waits inside MPI: libraries without hardware access need its help.
        team.barrier();
        vec![took / counts.iterations as f64]
    }

    fn exchange(&mut self, team: &Team, bytes: usize) {
        let me = team.index();
        self.buffers.mark(me, bytes, bytes);
        self.memory.store(&self.buffers.out[..bytes]);
        team.barrier();
        if me == ORIGIN {
            self.access(bytes, 1);
        }
        team.barrier();
        if me == TARGET {
            self.memory.load(&mut self.buffers.into[..bytes]);
        }
    }

    fn wrong(&self, team: &Team, bytes: usize) -> u64 {
        match (X::KIND, team.index()) {
            (Kind::Get, ORIGIN) => self.buffers.wrong(bytes, |at| Some(pattern(TARGET, at))),
            (Kind::Put, TARGET) => self.buffers.wrong(bytes, |at| Some(pattern(ORIGIN, at))),
            (Kind::Accumulate, TARGET) => {
                self.buffers.wrong(bytes, |at| Some(pattern(ORIGIN, at) + pattern(TARGET, at)))
            }
            _ => 0,
        }
    }

    fn damage(&mut self) {
        self.buffers.into[0] ^= 1;
    }

    fn figures(&self, bytes: usize, _counts: Counts, seconds: &[f64]) -> Vec<f64> {
        vec![if X::WINDOWED { 1e-6 * (bytes * self.per_flush) as f64 / seconds[0] } else { 1e6 * seconds[0] }]
    }
}
