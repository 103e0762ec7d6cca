//! The ranks that run a kernel together, and the few collective helpers that every kernel needs.
//! It never decides who is in a team (the driver does) and never sees the command line.

use std::time::Duration;

use mpi::collective::SystemOperation;
use mpi::topology::{Communicator, Rank, SimpleCommunicator};
use mpi::traits::{CommunicatorCollectives, Root};

use crate::error::{Error, Kind, Result};
use crate::mpi_raw;

/// How often an idle rank looks whether the others are done.
const IDLE_POLL: Duration = Duration::from_millis(2);

/// A communicator with its size and rank read once.
pub struct Team {
    comm: SimpleCommunicator,
    rank: Rank,
    size: Rank,
    /// Other teams that run the same at the same time (Star), for keeping step with them.
    peers: Option<SimpleCommunicator>,
}

impl Team {
    /// Wraps a communicator.
    #[must_use]
    pub fn new(comm: SimpleCommunicator) -> Self {
        let (rank, size) = (comm.rank(), comm.size());
        Self { comm, rank, size, peers: None }
    }

    /// This rank alone, in step with the ranks of `world`, each of which does the same.
    #[must_use]
    pub fn solo_in_step_with(world: &Self) -> Self {
        Self { peers: Some(world.comm.duplicate()), ..Self::solo() }
    }

    /// This rank alone.
    #[must_use]
    pub fn solo() -> Self {
        Self::new(SimpleCommunicator::self_comm())
    }

    /// The communicator, for calls of the `mpi` crate and of `mpi_raw`.
    #[must_use]
    pub fn comm(&self) -> &SimpleCommunicator {
        &self.comm
    }

    /// This rank, from 0.
    #[must_use]
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// Number of ranks, at least 1.
    #[must_use]
    pub fn size(&self) -> Rank {
        self.size
    }

    /// This rank as an index.
    #[must_use]
    pub fn index(&self) -> usize {
        usize::try_from(self.rank).unwrap_or_default()
    }

    /// Number of ranks as a length.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.size).unwrap_or(1)
    }

    /// Never: a team has at least this rank.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// True on rank 0.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.rank == 0
    }

    /// Waits for every rank (busy, as MPI does: for use around timed regions).
    pub fn barrier(&self) {
        self.comm.barrier();
    }

    /// Waits for every rank that runs this kernel now: the team, or in Star all teams. For use around timed regions.
    pub fn barrier_in_step(&self) {
        self.peers.as_ref().unwrap_or(&self.comm).barrier();
    }

    /// Waits for every rank without using the core: for ranks that have nothing to do.
    pub fn idle_barrier(&self) {
        mpi_raw::sleepy_barrier(&self.comm, IDLE_POLL);
    }

    /// Largest value over the ranks, on every rank.
    #[must_use]
    pub fn max(&self, value: f64) -> f64 {
        self.reduce(value, SystemOperation::max())
    }

    /// Smallest value over the ranks, on every rank.
    #[must_use]
    pub fn min(&self, value: f64) -> f64 {
        self.reduce(value, SystemOperation::min())
    }

    /// Sum over the ranks, on every rank.
    #[must_use]
    pub fn sum(&self, value: f64) -> f64 {
        self.reduce(value, SystemOperation::sum())
    }

    /// Sum of counters over the ranks, on every rank.
    #[must_use]
    pub fn sum_u64(&self, value: u64) -> u64 {
        let mut all = [value];
        mpi_raw::all_reduce_in_place(&self.comm, &mut all, SystemOperation::sum());
        all[0]
    }

    /// Smallest counter over the ranks, on every rank.
    #[must_use]
    pub fn min_u64(&self, value: u64) -> u64 {
        let mut all = [value];
        mpi_raw::all_reduce_in_place(&self.comm, &mut all, SystemOperation::min());
        all[0]
    }

    /// Largest counter over the ranks, on every rank.
    #[must_use]
    pub fn max_u64(&self, value: u64) -> u64 {
        let mut all = [value];
        mpi_raw::all_reduce_in_place(&self.comm, &mut all, SystemOperation::max());
        all[0]
    }

    fn reduce(&self, value: f64, op: SystemOperation) -> f64 {
        let mut all = [value];
        mpi_raw::all_reduce_in_place(&self.comm, &mut all, op);
        all[0]
    }

    /// Rank 0's bytes, on every rank.
    #[must_use]
    pub fn share_bytes(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let root = self.comm.process_at_rank(0);
        let mut len = bytes.len() as u64;
        root.broadcast_into(&mut len);
        bytes.resize(usize::try_from(len).unwrap_or_default(), 0);
        root.broadcast_into(&mut bytes[..]);
        bytes
    }

    /// Every rank's bytes, in rank order, on every rank. For small reports, never inside a timed region.
    #[must_use]
    pub fn gather_bytes(&self, mine: &[u8]) -> Vec<Vec<u8>> {
        let mut lens = vec![0u64; self.len()];
        self.comm.all_gather_into(&(mine.len() as u64), &mut lens[..]);
        let lens: Vec<usize> = lens.iter().map(|&n| usize::try_from(n).unwrap_or_default()).collect();
        let counts: Vec<i32> = lens.iter().map(|&n| mpi_raw::count(n)).collect();
        let displs: Vec<i32> = counts
            .iter()
            .scan(0, |at, &n| {
                let here = *at;
                *at += n;
                Some(here)
            })
            .collect();
        let mut all = vec![0u8; lens.iter().sum()];
        let mut partition = mpi::datatype::PartitionMut::new(&mut all[..], counts, &displs[..]);
        self.comm.all_gather_varcount_into(mine, &mut partition);
        let mut rest = &all[..];
        lens.iter()
            .map(|&n| {
                let (head, tail) = rest.split_at(n);
                rest = tail;
                head.to_vec()
            })
            .collect()
    }

    /// Makes one rank's failure everybody's: if any rank holds an error, every rank gets one (the lowest rank's).
    ///
    /// # Errors
    /// This rank's own error, or a copy of the lowest failing rank's.
    pub fn agree<T>(&self, mine: Result<T>) -> Result<T> {
        let failed_rank = if mine.is_err() { self.rank } else { self.size };
        let mut first = [failed_rank];
        mpi_raw::all_reduce_in_place(&self.comm, &mut first, SystemOperation::min());
        if first[0] == self.size {
            return mine;
        }
        let (kind, text) = match &mine {
            Err(error) => (error.kind(), error.to_string()),
            Ok(_) => (Kind::Environment, String::new()),
        };
        let root = self.comm.process_at_rank(first[0]);
        let mut head = [kind as u64, text.len() as u64];
        root.broadcast_into(&mut head[..]);
        let mut bytes = text.into_bytes();
        bytes.resize(usize::try_from(head[1]).unwrap_or_default(), 0);
        root.broadcast_into(&mut bytes[..]);
        match mine {
            Err(error) if self.rank == first[0] => Err(error),
            _ => Err(Error::Remote {
                rank: first[0],
                text: String::from_utf8_lossy(&bytes).into_owned(),
                kind: Kind::ALL.into_iter().find(|&k| k as u64 == head[0]).unwrap_or(Kind::Environment),
            }),
        }
    }

    /// A new team of the ranks that pass the same colour, in rank order.
    ///
    /// # Panics
    /// On a negative colour.
    #[must_use]
    pub fn split(&self, colour: Rank) -> Self {
        let colour = mpi::topology::Color::with_value(colour);
        Self::new(self.comm.split_by_color(colour).expect("a defined colour always gives a communicator"))
    }

    /// The ranks that share this rank's memory (its node).
    #[must_use]
    pub fn node(&self) -> Self {
        Self::new(self.comm.split_shared(self.rank))
    }

    /// A communicator of the same ranks whose messages cannot be mixed up with the team's.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self::new(self.comm.duplicate())
    }
}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Team").field("rank", &self.rank).field("size", &self.size).finish_non_exhaustive()
    }
}
