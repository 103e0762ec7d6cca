//! osu_bw, osu_bibw and osu_mbw_mr: windows of non-blocking messages between pairs of ranks.
//!
//! All messages of a window use one buffer on either side, which is OSU's default. One way, the receiver answers each window
//! with four bytes; both ways, the windows answer each other.

use std::marker::PhantomData;

use super::bench::{BANDWIDTH_METRIC, Bench, DATA, spec};
use super::buffers::{Buffers, pattern};
use super::plan::{BANDWIDTH, Counts, Needs, Plan, WINDOW_PARAMS};
use crate::error::Result;
use crate::kernel::{Facts, Metric, Spec};
use crate::mpi_raw::{Requests, recv, send};
use crate::team::Team;

/// Tag of the answer to a window.
const ANSWER: i32 = 2;

/// What distinguishes the three kernels.
pub(super) trait Flow: 'static {
    const SPEC: Spec;
    const TITLE: &'static str;
    /// Both ranks of a pair send.
    const BOTH: bool;
    /// Every rank has a partner; otherwise only ranks 0 and 1.
    const ALL_PAIRS: bool;
}

/// osu_bw.
pub(super) struct OneWay;
impl Flow for OneWay {
    const SPEC: Spec = spec(
        "osu-bw",
        "bandwidth from one rank to another",
        "OSU 7.4 osu_bw",
        BANDWIDTH_METRIC,
        WINDOW_PARAMS,
    );
    const TITLE: &'static str = "OSU MPI Bandwidth Test";
    const BOTH: bool = false;
    const ALL_PAIRS: bool = false;
}

/// osu_bibw.
pub(super) struct BothWays;
impl Flow for BothWays {
    const SPEC: Spec = spec(
        "osu-bibw",
        "bandwidth of two ranks that both send, sum of the directions",
        "OSU 7.4 osu_bibw",
        BANDWIDTH_METRIC,
        WINDOW_PARAMS,
    );
    const TITLE: &'static str = "OSU MPI Bi-Directional Bandwidth Test";
    const BOTH: bool = true;
    const ALL_PAIRS: bool = false;
}

/// osu_mbw_mr.
pub(super) struct AllPairs;
impl Flow for AllPairs {
    const SPEC: Spec = spec(
        "osu-mbw-mr",
        "bandwidth and message rate of several pairs at once",
        "OSU 7.4 osu_mbw_mr",
        &[Metric::rate("bandwidth", "MB/s"), Metric::rate("message_rate", "1/s")],
        WINDOW_PARAMS,
    );
    const TITLE: &'static str = "OSU MPI Multiple Bandwidth / Message Rate Test";
    const BOTH: bool = false;
    const ALL_PAIRS: bool = true;
}

/// This rank's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    partner: usize,
    sends: bool,
    receives: bool,
}

/// Rank `rank` of so many pairs: the lower half sends to the upper half. `None`: no partner.
fn part(rank: usize, pairs: usize, both: bool) -> Option<Part> {
    match rank {
        lower if lower < pairs => Some(Part { partner: lower + pairs, sends: true, receives: both }),
        upper if upper < 2 * pairs => Some(Part { partner: upper - pairs, sends: both, receives: true }),
        _ => None,
    }
}

/// The kernel.
pub(super) struct Bandwidth<F> {
    buffers: Buffers<u8>,
    requests: Requests,
    window: usize,
    pairs: usize,
    part: Option<Part>,
    flow: PhantomData<F>,
}

impl<F: Flow> Bandwidth<F> {
    fn one_window(&mut self, team: &Team, bytes: usize) {
        let Some(Part { partner, sends, receives }) = self.part else { return };
        let (comm, peer) = (team.comm(), partner as i32);
        let into = receives.then_some((&mut self.buffers.into[..bytes], peer));
        let out = sends.then_some((&self.buffers.out[..bytes], peer));
        self.requests.window(comm, into, out, DATA, self.window);
        match (sends, receives) {
            (true, false) => recv(comm, &mut [0i32], peer, ANSWER),
            (false, true) => send(comm, &[0i32], peer, ANSWER),
            _ => {}
        }
    }
}

impl<F: Flow> Bench for Bandwidth<F> {
    const SPEC: Spec = F::SPEC;
    const TITLE: &'static str = F::TITLE;
    const NOTES: &'static [&'static str] = &["Datatype: MPI_CHAR."];
    const NEEDS: Needs =
        Needs { pace: BANDWIDTH, element: 1, windowed: true, bytes_per_iteration: 0, memory: |s, _| 2 * s };

    fn new(team: &Team, plan: &Plan) -> Result<Self> {
        let pairs = if F::ALL_PAIRS { team.len() / 2 } else { 1 };
        Ok(Self {
            buffers: team.agree(Buffers::new(plan.largest(), plan.largest()))?,
            requests: Requests::new(plan.window),
            window: plan.window,
            pairs,
            part: part(team.index(), pairs, F::BOTH),
            flow: PhantomData,
        })
    }

    fn time(&mut self, team: &Team, bytes: usize, counts: Counts) -> Vec<f64> {
        for _ in 0..counts.skip {
            self.one_window(team, bytes);
        }
        let begin = mpi::time();
        for _ in 0..counts.iterations {
            self.one_window(team, bytes);
        }
        let took = mpi::time() - begin;
        // The mean over the senders, as in the original; rank 0 is the only one but for several pairs.
        let sender = team.index() < self.pairs;
        vec![if F::ALL_PAIRS { team.sum(if sender { took } else { 0.0 }) / self.pairs as f64 } else { took }]
    }

    fn exchange(&mut self, team: &Team, bytes: usize) {
        self.buffers.mark(team.index(), bytes, bytes);
        self.one_window(team, bytes);
    }

    fn wrong(&self, _team: &Team, bytes: usize) -> u64 {
        match self.part {
            Some(Part { partner, receives: true, .. }) => {
                self.buffers.wrong(bytes, |at| Some(pattern(partner, at)))
            }
            _ => 0,
        }
    }

    fn damage(&mut self) {
        self.buffers.into[0] ^= 1;
    }

    fn figures(&self, bytes: usize, counts: Counts, seconds: &[f64]) -> Vec<f64> {
        let directions = if F::BOTH { 2 } else { 1 };
        let messages = (counts.iterations * self.window * self.pairs * directions) as f64;
        let rate = messages / seconds[0];
        vec![1e-6 * rate * bytes as f64, rate]
    }

    fn facts(&self) -> Facts {
        if F::ALL_PAIRS { Facts::from([("pairs".to_owned(), self.pairs.into())]) } else { Facts::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Part, part};

    #[test]
    fn the_lower_half_sends_to_the_upper_half() {
        assert_eq!(part(1, 2, false), Some(Part { partner: 3, sends: true, receives: false }));
        assert_eq!(part(3, 2, false), Some(Part { partner: 1, sends: false, receives: true }));
        assert_eq!(part(4, 2, false), None);
        assert_eq!(part(0, 1, true), Some(Part { partner: 1, sends: true, receives: true }));
    }
}
