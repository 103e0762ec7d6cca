//! Ping-pong between ordered pairs of ranks, one pair at a time.

use super::{Part, SHORTEST_S, first_byte, longer};
use crate::error::Result;
use crate::memory::{Array, Pages};
use crate::mpi_raw::{recv, send};
use crate::team::Team;

const PING: i32 = 100;
const PONG: i32 = 101;

/// What the server adds to the bytes that it returns.
const ANSWER: u8 = 13;

/// Buffers and results of one message length.
pub(super) struct PingPong {
    pub(super) part: Part,
    out: Array<u8>,
    into: Array<u8>,
    /// What `into` must hold after the last pair of this rank.
    expected: Option<[u8; 2]>,
    wrong: u64,
    /// Best one-way seconds of each pair whose client is this rank.
    best: Vec<f64>,
}

/// One-way seconds over all pairs, on every rank.
pub(super) struct Seconds {
    pub(super) min: f64,
    pub(super) avg: f64,
    pub(super) max: f64,
    pub(super) pairs: u64,
}

impl PingPong {
    /// # Errors
    /// No memory for the buffers.
    pub(super) fn new(part: Part) -> Result<Self> {
        // New memory whatever ran before, because the original's is: all but the ends of what it sends was never written.
        let buffer = || Array::untouched(part.bytes, Pages::Default);
        Ok(Self { part, out: buffer()?, into: buffer()?, expected: None, wrong: 0, best: Vec::new() })
    }

    /// Bytes that were not what the partner sent, so far.
    pub(super) fn wrong_bytes(&self) -> u64 {
        let last = self.expected.map_or(0, |[first, last]| {
            let middle = &self.into[1..self.part.bytes - 1];
            u64::from(self.into[0] != first)
                + u64::from(self.into[self.part.bytes - 1] != last)
                + middle.iter().filter(|&&b| b != 0).count() as u64
        });
        self.wrong + last
    }

    /// Mean of the pairs' rates in bytes a second, on every rank: HPCC averages bandwidths, not times.
    pub(super) fn average_rate(&self, team: &Team) -> f64 {
        let bytes = self.part.bytes as f64;
        let sum: f64 = self.best.iter().map(|seconds| bytes / seconds).sum();
        team.sum(sum) / team.sum(self.best.len() as f64)
    }

    /// Runs the pairs that fit into the time.
    pub(super) fn measure(&mut self, team: &Team) -> Seconds {
        self.wrong = 0;
        let last = team.size() - 1;
        let mut loops = self.part.ping_pong_loops;
        let probe = self.one_pair(team, 0, last, &mut loops);
        let probe = team.max(probe.unwrap_or(0.0));
        let stride = stride(team.size(), self.part, probe);
        self.best.clear();
        for _ in 0..self.part.measurements {
            let mut at = 0;
            for client in (0..=last).step_by(stride) {
                for server in (last % stride as i32..=last).step_by(stride) {
                    if server == client {
                        continue;
                    }
                    if let Some(seconds) = self.one_pair(team, client, server, &mut loops) {
                        match self.best.get_mut(at) {
                            Some(best) => *best = best.min(seconds),
                            None => self.best.push(seconds),
                        }
                        at += 1;
                    }
                }
                // Keeps the ranks that have no part in it from running ahead into the next client's pairs.
                team.barrier();
            }
        }
        let sum: f64 = self.best.iter().sum();
        let pairs = team.sum(self.best.len() as f64);
        Seconds {
            min: team.min(self.best.iter().copied().fold(f64::INFINITY, f64::min)),
            avg: team.sum(sum) / pairs,
            max: team.max(self.best.iter().copied().fold(0.0, f64::max)),
            pairs: pairs as u64,
        }
    }

    /// One measurement of a pair; the one-way seconds on the client.
    fn one_pair(&mut self, team: &Team, client: i32, server: i32, loops: &mut u32) -> Option<f64> {
        if team.rank() == client {
            Some(self.client(team, server, loops))
        } else {
            if team.rank() == server {
                self.server(team, client);
            }
            None
        }
    }

    fn client(&mut self, team: &Team, server: i32, loops: &mut u32) -> f64 {
        let (comm, end) = (team.comm(), self.part.bytes - 1);
        loop {
            send(comm, &[*loops], server, PING);
            let mut begin = 0.0;
            let mut sent = 0;
            for at in -1..i64::from(*loops) {
                if at == 0 {
                    begin = mpi::time();
                }
                sent = first_byte(at, team.rank());
                (self.out[0], self.out[end]) = (sent, sent + 1);
                send(comm, &self.out, server, PING);
                recv(comm, &mut self.into, server, PONG);
                self.wrong += u64::from(self.into[0] != sent + ANSWER || self.into[end] != sent + 1 + ANSWER);
            }
            let took = mpi::time() - begin;
            self.expected = Some([sent + ANSWER, sent + 1 + ANSWER]);
            let enough = took >= SHORTEST_S;
            send(comm, &[u32::from(enough)], server, PING);
            if enough {
                return took / f64::from(2 * *loops);
            }
            *loops = longer(*loops);
        }
    }

    fn server(&mut self, team: &Team, client: i32) {
        let (comm, end) = (team.comm(), self.part.bytes - 1);
        loop {
            let mut loops = [0u32];
            recv(comm, &mut loops, client, PING);
            for at in -1..i64::from(loops[0]) {
                recv(comm, &mut self.into, client, PING);
                (self.out[0], self.out[end]) = (self.into[0] + ANSWER, self.into[end] + ANSWER);
                send(comm, &self.out, client, PONG);
                let sent = first_byte(at, client);
                self.expected = Some([sent, sent + 1]);
            }
            let mut enough = [0u32];
            recv(comm, &mut enough, client, PING);
            if enough[0] == 1 {
                return;
            }
        }
    }
}

/// Distance between clients and between servers such that all pairs fit into the time: 1, or an odd prime, as in the
/// original, so that clients and servers meet on different distances.
fn stride(ranks: i32, part: Part, one_way_s: f64) -> usize {
    let pair_s = (2.0 * one_way_s * f64::from(part.ping_pong_loops + 1)).max(SHORTEST_S);
    let pairs = part.time_s / (pair_s * part.measurements as f64);
    let a_side = pairs.sqrt().max(5.0).floor();
    let stride = (f64::from(ranks) / a_side + 0.9) as usize;
    match stride {
        0 | 1 => 1,
        2 => 3,
        n => (n..).find(|&n| n > ranks as usize / 3 || (2..n).all(|d| n % d != 0)).unwrap_or(n),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BANDWIDTH, LATENCY};
    use super::stride;

    #[test]
    fn few_ranks_measure_all_pairs_and_many_an_odd_share() {
        assert_eq!(stride(2, LATENCY, 1e-7), 1);
        assert_eq!(stride(64, LATENCY, 1e-6), 1);
        assert_eq!(stride(64, BANDWIDTH, 1e-3), 1);
        let far = stride(10_000, BANDWIDTH, 1e-3);
        assert!(far > 1 && far % 2 == 1, "{far}");
    }
}
