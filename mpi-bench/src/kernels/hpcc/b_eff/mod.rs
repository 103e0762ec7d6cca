//! b_eff: latency (8 bytes) and bandwidth (2,000,000 bytes) between ranks, as HPCC's bench_lat_bw measures them.
//!
//! Ping-pong over ordered pairs (all of them, or a stride that fits the time), the best of several measurements per pair;
//! naturally ordered ring and random rings in both directions, per ring the better of two Sendrecv and of four non-blocking
//! calls, the slowest rank, the best measurement, and the geometric mean over the random rings.
//! Every message carries its loop number in its first and last byte; the last one of each pair is compared byte by byte.

mod ping_pong;
mod ring;

use crate::error::Result;
use crate::kernel::{Check, Facts, Family, Kernel, Lap, Metric, Param, Reading, Spec, Variant};
use crate::rng::Rng;
use crate::setup::Setup;
use crate::team::Team;
use ping_pong::PingPong;
use ring::Ring;

/// Metric names in the order of the lap.
const METRICS: &[Metric] = &[
    Metric::cost("ping_pong_latency_min", "us"),
    Metric::cost("ping_pong_latency_avg", "us"),
    Metric::cost("ping_pong_latency_max", "us"),
    Metric::rate("ping_pong_bandwidth_min", "GB/s"),
    Metric::rate("ping_pong_bandwidth_avg", "GB/s"),
    Metric::rate("ping_pong_bandwidth_max", "GB/s"),
    Metric::cost("natural_ring_latency", "us"),
    Metric::cost("random_ring_latency", "us"),
    Metric::rate("natural_ring_bandwidth", "GB/s"),
    Metric::rate("random_ring_bandwidth", "GB/s"),
];

/// Shortest time that a clock with a tick of a microsecond (HPCC's floor) measures well: ten ticks.
const SHORTEST_S: f64 = 10e-6;

/// Messages, repetitions and time of one of the two parts.
#[derive(Debug, Clone, Copy)]
struct Part {
    bytes: usize,
    ping_pong_loops: u32,
    ring_loops: u32,
    measurements: usize,
    random_rings: usize,
    /// For all ping-pong pairs.
    time_s: f64,
}

const LATENCY: Part =
    Part { bytes: 8, ping_pong_loops: 8, ring_loops: 8, measurements: 5, random_rings: 30, time_s: 10.0 };
const BANDWIDTH: Part = Part {
    bytes: 2_000_000,
    ping_pong_loops: 1,
    ring_loops: 3,
    measurements: 2,
    random_rings: 10,
    time_s: 30.0,
};

/// For how long the ranks are kept busy before the first measurement.
const WAKE_S: f64 = 0.05;

/// The driver's ranks come out of sleep; the original's out of other benchmarks. What a CPU does in its first milliseconds after
/// a sleep (its clock, and in a guest its host thread) is not the network's latency.
fn wake_up(team: &Team) {
    let begin = mpi::time();
    while team.min(mpi::time() - begin) < WAKE_S {}
}

/// First byte of message `loop_number` (from -1) of `rank`; the last byte is one more. As in the original.
fn first_byte(loop_number: i64, rank: i32) -> u8 {
    ((loop_number + i64::from(rank) + 1) & 0x7f) as u8
}

/// Longer loops for a measurement that was too short for the clock.
fn longer(loops: u32) -> u32 {
    (loops + loops / 2).max(loops + 1)
}

/// The kernel.
pub(super) struct BEff {
    seed: u64,
    pairs: [u64; 2],
    ping_pongs: Vec<PingPong>,
    rings: Vec<Ring>,
}

impl Kernel for BEff {
    const SPEC: Spec = Spec {
        name: "b-eff",
        family: Family::Hpcc,
        summary: "latency and bandwidth: ping-pong, natural and random rings",
        source: "HPCC 1.5.0 bench_lat_bw 1.5.1",
        variants: &[Variant::Mpi],
        min_ranks: 2,
        metrics: METRICS,
        params: &[
            Param { name: "latency_bytes", help: "message length of the latency part (default 8)" },
            Param { name: "bandwidth_bytes", help: "message length of the bandwidth part (default 2000000)" },
        ],
    };

    fn setup(setup: &Setup<'_>) -> Result<Self> {
        let latency = setup.get_bytes("latency_bytes")?.unwrap_or(LATENCY.bytes as u64) as usize;
        let bandwidth = setup.get_bytes("bandwidth_bytes")?.unwrap_or(BANDWIDTH.bytes as u64) as usize;
        for (name, bytes) in [("latency_bytes", latency), ("bandwidth_bytes", bandwidth)] {
            if !(2..=1 << 30).contains(&bytes) {
                return Err(setup.bad(name, bytes, "must be 2 bytes to 1 GiB"));
            }
            setup.need(name, bytes, 4 * bytes as u64)?;
        }
        let parts = [Part { bytes: latency, ..LATENCY }, Part { bytes: bandwidth, ..BANDWIDTH }];
        Ok(Self {
            seed: setup.seed,
            pairs: [0; 2],
            ping_pongs: parts.iter().map(|&part| PingPong::new(part)).collect::<Result<_>>()?,
            rings: parts.iter().map(|&part| Ring::new(part)).collect::<Result<_>>()?,
        })
    }

    fn params(&self) -> Facts {
        Facts::from([
            ("latency_bytes".to_owned(), self.rings[0].part.bytes.into()),
            ("bandwidth_bytes".to_owned(), self.rings[1].part.bytes.into()),
            ("latency_pairs".to_owned(), self.pairs[0].into()),
            ("bandwidth_pairs".to_owned(), self.pairs[1].into()),
        ])
    }

    fn run(&mut self, team: &Team) -> Result<Lap> {
        let mut lap = Vec::with_capacity(METRICS.len());
        wake_up(team);
        for (ping_pong, pairs) in self.ping_pongs.iter_mut().zip(&mut self.pairs) {
            let seconds = ping_pong.measure(team);
            *pairs = seconds.pairs;
            lap.extend([seconds.min, seconds.avg, seconds.max]);
        }
        // The best bandwidth is the shortest time: the order of metrics wants min before max.
        lap.swap(3, 5);
        let bytes = self.ping_pongs[1].part.bytes as f64;
        lap[4] = bytes / self.ping_pongs[1].average_rate(team);
        for ring in &mut self.rings {
            let (natural, random) = ring.measure(team, &mut Rng::new(self.seed));
            lap.extend([natural, random]);
        }
        Ok(Lap(lap))
    }

    fn verify(&mut self, team: &Team) -> Result<Check> {
        let wrong: u64 = self.ping_pongs.iter().map(PingPong::wrong_bytes).sum::<u64>()
            + self.rings.iter().map(Ring::wrong_bytes).sum::<u64>();
        Ok(Check::exact("received bytes", team.sum_u64(wrong)))
    }

    fn report(&self, lap: &Lap) -> Vec<Reading> {
        let bytes = self.rings[1].part.bytes as f64;
        let figure = |(metric, seconds): (&Metric, &f64)| {
            let value = if metric.higher_is_better { 1e-9 * bytes / seconds } else { 1e6 * seconds };
            Reading::new(metric.name, value)
        };
        METRICS.iter().zip(&lap.0).map(figure).collect()
    }

    fn corrupt(&mut self, team: &Team) {
        if team.is_root() {
            self.rings[1].flip_a_bit();
        }
    }
}
