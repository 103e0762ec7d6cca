//! osu_bcast, osu_reduce, osu_allreduce, osu_alltoall, osu_alltoallv, osu_allgather.
//!
//! Each call is timed by itself and followed by a barrier, as in the original. A rank's latency is its mean over the
//! iterations; shown are mean, least and greatest of the ranks, and the 99th percentile over the iterations of the slowest
//! rank's time. The reductions sum MPI_INT.

use std::marker::PhantomData;

use mpi::collective::SystemOperation;
use mpi::datatype::{Equivalence, Partition, PartitionMut};
use mpi::topology::{Communicator, Process};
use mpi::traits::{CommunicatorCollectives, Root};

use super::bench::{Bench, spec};
use super::buffers::{Buffers, pattern};
use super::plan::{COLLECTIVE, Counts, Needs, PARAMS, Plan};
use crate::error::Result;
use crate::kernel::{Metric, Spec};
use crate::memory::Plain;
use crate::mpi_raw;
use crate::stats;
use crate::team::Team;

/// Metrics of every collective, in the order of OSU's columns.
pub(super) const METRICS: &[Metric] = &[
    Metric::cost("avg", "us"),
    Metric::cost("min", "us"),
    Metric::cost("max", "us"),
    Metric::cost("p99", "us"),
];

/// What [`time`] keeps of each iteration: its time, and the copy of it that the library may make to find the slowest rank's.
pub(super) const BYTES_PER_ITERATION: u64 = 2 * size_of::<f64>() as u64;

/// Mean, least and greatest of the ranks' mean times, and the percentile, in seconds; `call` is one collective.
pub(super) fn time(team: &Team, counts: Counts, mut call: impl FnMut()) -> Vec<f64> {
    let mut times = vec![0.0; counts.iterations];
    for _ in 0..counts.skip {
        call();
        team.barrier();
    }
    for time in &mut times {
        let begin = mpi::time();
        call();
        *time = mpi::time() - begin;
        team.barrier();
    }
    let mean = times.iter().sum::<f64>() / counts.iterations as f64;
    mpi_raw::all_reduce_in_place(team.comm(), &mut times, SystemOperation::max());
    times.sort_by(f64::total_cmp);
    let p99 = stats::percentile(&times, 0.99).unwrap_or(mean);
    vec![team.sum(mean) / f64::from(team.size()), team.min(mean), team.max(mean), p99]
}

/// The place of every rank's block in a buffer of equal blocks, for the call with counts.
pub(super) struct Blocks {
    counts: Vec<i32>,
    starts: Vec<i32>,
}

/// One collective of MPI.
pub(super) trait Operation: 'static {
    const SPEC: Spec;
    const TITLE: &'static str;
    const NOTES: &'static [&'static str] = &["Datatype: MPI_CHAR."];
    type Item: Plain + Equivalence + From<u8> + PartialEq;

    /// Messages that the send and the receive buffer hold.
    fn messages(ranks: usize) -> (usize, usize);

    /// The call; the buffers have the length of their messages.
    fn call(team: &Team, blocks: &Blocks, out: &[Self::Item], into: &mut [Self::Item]);

    /// What must be received at `at` when messages have `len` elements and every rank sent its pattern; `None`: nothing is.
    fn expected(team: &Team, len: usize, at: usize) -> Option<Self::Item>;
}

fn root(team: &Team) -> Process<'_> {
    team.comm().process_at_rank(0)
}

fn sum_of_patterns(team: &Team, at: usize) -> i32 {
    (0..team.len()).map(|rank| i32::from(pattern(rank, at))).sum()
}

/// osu_bcast.
pub(super) struct Broadcast;
impl Operation for Broadcast {
    const SPEC: Spec = spec("osu-bcast", "broadcast from rank 0", "OSU 7.4 osu_bcast", METRICS, PARAMS);
    const TITLE: &'static str = "OSU MPI Broadcast Latency Test";
    type Item = u8;

    fn messages(_ranks: usize) -> (usize, usize) {
        (0, 1)
    }

    fn call(team: &Team, _blocks: &Blocks, _out: &[u8], into: &mut [u8]) {
        root(team).broadcast_into(into);
    }

    fn expected(_team: &Team, _len: usize, at: usize) -> Option<u8> {
        Some(pattern(0, at))
    }
}

/// osu_reduce.
pub(super) struct Reduce;
impl Operation for Reduce {
    const SPEC: Spec = spec("osu-reduce", "sum of integers at rank 0", "OSU 7.4 osu_reduce", METRICS, PARAMS);
    const TITLE: &'static str = "OSU MPI Reduce Latency Test";
    const NOTES: &'static [&'static str] = &["Datatype: MPI_INT."];
    type Item = i32;

    fn messages(_ranks: usize) -> (usize, usize) {
        (1, 1)
    }

    fn call(team: &Team, _blocks: &Blocks, out: &[i32], into: &mut [i32]) {
        match team.is_root() {
            true => root(team).reduce_into_root(out, into, SystemOperation::sum()),
            false => root(team).reduce_into(out, SystemOperation::sum()),
        }
    }

    fn expected(team: &Team, _len: usize, at: usize) -> Option<i32> {
        team.is_root().then(|| sum_of_patterns(team, at))
    }
}

/// osu_allreduce.
pub(super) struct AllReduce;
impl Operation for AllReduce {
    const SPEC: Spec =
        spec("osu-allreduce", "sum of integers at every rank", "OSU 7.4 osu_allreduce", METRICS, PARAMS);
    const TITLE: &'static str = "OSU MPI Allreduce Latency Test";
    const NOTES: &'static [&'static str] = &["Datatype: MPI_INT."];
    type Item = i32;

    fn messages(_ranks: usize) -> (usize, usize) {
        (1, 1)
    }

    fn call(team: &Team, _blocks: &Blocks, out: &[i32], into: &mut [i32]) {
        team.comm().all_reduce_into(out, into, SystemOperation::sum());
    }

    fn expected(team: &Team, _len: usize, at: usize) -> Option<i32> {
        Some(sum_of_patterns(team, at))
    }
}

/// osu_alltoall, and osu_alltoallv if every message has a count and a place of its own.
pub(super) struct Personalized<const COUNTED: bool>;
impl<const COUNTED: bool> Operation for Personalized<COUNTED> {
    const SPEC: Spec = if COUNTED {
        let summary = "the same with counts and places for every message";
        spec("osu-alltoallv", summary, "OSU 7.4 osu_alltoallv", METRICS, PARAMS)
    } else {
        let summary = "a message from every rank to every rank";
        spec("osu-alltoall", summary, "OSU 7.4 osu_alltoall", METRICS, PARAMS)
    };
    const TITLE: &'static str = if COUNTED {
        "OSU MPI All-to-Allv Personalized Exchange Latency Test"
    } else {
        "OSU MPI All-to-All Personalized Exchange Latency Test"
    };
    type Item = u8;

    fn messages(ranks: usize) -> (usize, usize) {
        (ranks, ranks)
    }

    fn call(team: &Team, blocks: &Blocks, out: &[u8], into: &mut [u8]) {
        if COUNTED {
            let (counts, starts) = (&blocks.counts[..], &blocks.starts[..]);
            let mut into = PartitionMut::new(into, counts, starts);
            team.comm().all_to_all_varcount_into(&Partition::new(out, counts, starts), &mut into);
        } else {
            team.comm().all_to_all_into(out, into);
        }
    }

    /// Block by block each sender's message for this rank.
    fn expected(team: &Team, len: usize, at: usize) -> Option<u8> {
        Some(pattern(at / len, team.index() * len + at % len))
    }
}

/// osu_allgather.
pub(super) struct AllGather;
impl Operation for AllGather {
    const SPEC: Spec =
        spec("osu-allgather", "every rank's message at every rank", "OSU 7.4 osu_allgather", METRICS, PARAMS);
    const TITLE: &'static str = "OSU MPI Allgather Latency Test";
    type Item = u8;

    fn messages(ranks: usize) -> (usize, usize) {
        (1, ranks)
    }

    fn call(team: &Team, _blocks: &Blocks, out: &[u8], into: &mut [u8]) {
        team.comm().all_gather_into(out, into);
    }

    fn expected(_team: &Team, len: usize, at: usize) -> Option<u8> {
        Some(pattern(at / len, at % len))
    }
}

/// The kernel.
pub(super) struct Collective<O: Operation> {
    buffers: Buffers<O::Item>,
    operation: PhantomData<O>,
}

/// Elements of a message, of the send buffer and of the receive buffer, and the blocks.
fn shape<O: Operation>(team: &Team, bytes: usize) -> (usize, usize, usize, Blocks) {
    let len = bytes / size_of::<O::Item>();
    let (out, into) = O::messages(team.len());
    let counts = vec![mpi_raw::count(len); team.len()];
    let starts = (0..team.len()).map(|rank| mpi_raw::count(rank * len)).collect();
    (len, out * len, into * len, Blocks { counts, starts })
}

impl<O: Operation> Bench for Collective<O> {
    const SPEC: Spec = O::SPEC;
    const TITLE: &'static str = O::TITLE;
    const NOTES: &'static [&'static str] = O::NOTES;
    const NEEDS: Needs = Needs {
        pace: COLLECTIVE,
        element: size_of::<O::Item>(),
        windowed: false,
        bytes_per_iteration: BYTES_PER_ITERATION,
        memory: |s, ranks| s * (O::messages(ranks).0 + O::messages(ranks).1),
    };

    fn new(team: &Team, plan: &Plan) -> Result<Self> {
        let (_, out, into, _) = shape::<O>(team, plan.largest());
        Ok(Self { buffers: team.agree(Buffers::new(out, into))?, operation: PhantomData })
    }

    fn time(&mut self, team: &Team, bytes: usize, counts: Counts) -> Vec<f64> {
        let (_, out, into, blocks) = shape::<O>(team, bytes);
        let (out, into) = (&self.buffers.out[..out], &mut self.buffers.into[..into]);
        time(team, counts, || O::call(team, &blocks, out, into))
    }

    fn exchange(&mut self, team: &Team, bytes: usize) {
        let (_, out, into, blocks) = shape::<O>(team, bytes);
        self.buffers.mark(team.index(), out, into);
        O::call(team, &blocks, &self.buffers.out[..out], &mut self.buffers.into[..into]);
    }

    fn wrong(&self, team: &Team, bytes: usize) -> u64 {
        let (len, _, into, _) = shape::<O>(team, bytes);
        self.buffers.wrong(into, |at| O::expected(team, len, at))
    }

    fn damage(&mut self) {
        self.buffers.into[0] = 0.into();
    }
}
