//! Network matrix: throughput between every two ranks, each pair alone or all pairs of a round at the same time, as a heat map
//! (within a guest, between guests of a host, between hosts, several guests at once).

use std::collections::BTreeMap;

use mpi::traits::CommunicatorCollectives;

use crate::error::Result;
use crate::host;
use crate::kernel::{Check, Facts, Family, Kernel, Lap, Metric, Param, Reading, Spec, Variant};
use crate::mpi_raw::sendrecv;
use crate::result::Row;
use crate::setup::{Setup, Size};
use crate::svg::{Chart, Plot};
use crate::team::Team;

const BYTES: u64 = 1 << 20;
const REPETITIONS: usize = 50;
const REPETITIONS_QUICK: usize = 10;
const TAG: i32 = 31;

/// The kernel.
pub(super) struct NetMatrix {
    hosts: Vec<String>,
    bytes: usize,
    repetitions: usize,
    /// All pairs of a round at once.
    together: bool,
    out: Vec<u8>,
    into: Vec<u8>,
    /// Byte that the last message must consist of, and bytes of earlier ones that were wrong.
    expected: u8,
    wrong: u64,
}

/// Rounds in which every rank meets every other once (the circle method); with an odd number one sits out each round.
fn rounds(ranks: usize) -> Vec<Vec<(usize, usize)>> {
    let even = ranks.next_multiple_of(2);
    let round = |r: usize| {
        let place = |k: usize| if k == 0 { 0 } else { 1 + (k - 1 + r) % (even - 1) };
        let pairs = (0..even / 2).map(|k| (place(k), place(even - 1 - k)));
        pairs.filter(|&(a, b)| a < ranks && b < ranks).map(|(a, b)| (a.min(b), a.max(b))).collect()
    };
    (0..even.saturating_sub(1)).map(round).collect()
}

/// What rank `from` sends to rank `to`.
fn pattern(from: usize, to: usize) -> u8 {
    (from.wrapping_mul(31).wrapping_add(to).wrapping_mul(7).wrapping_add(1) & 0xff) as u8
}

impl NetMatrix {
    fn wrong_now(&self) -> u64 {
        self.into.iter().filter(|&&b| b != self.expected).count() as u64
    }

    /// Both directions at once; bytes a second and direction.
    fn exchange(&mut self, team: &Team, other: usize) -> f64 {
        let (comm, peer) = (team.comm(), other as i32);
        self.out.fill(pattern(team.index(), other));
        self.into.fill(0);
        sendrecv(comm, (&self.out, peer), (&mut self.into, peer), TAG);
        let begin = mpi::time();
        for _ in 0..self.repetitions {
            sendrecv(comm, (&self.out, peer), (&mut self.into, peer), TAG);
        }
        let took = mpi::time() - begin;
        self.expected = pattern(other, team.index());
        self.wrong += self.wrong_now();
        (self.bytes * self.repetitions) as f64 / took
    }
}

impl Kernel for NetMatrix {
    const SPEC: Spec = Spec {
        name: "net-matrix",
        family: Family::Micro,
        summary: "throughput between every two ranks, both directions at once",
        source: "rank-pair matrix of inter-VM studies",
        variants: &[Variant::Mpi],
        min_ranks: 2,
        metrics: &[Metric::rate("slowest_pair", "GB/s"), Metric::rate("pair", "GB/s")],
        params: &[
            Param { name: "bytes", help: "message length (default 1MiB)" },
            Param { name: "repetitions", help: "messages each way per pair (default 50, quick 10)" },
            Param {
                name: "mode",
                help: "alone (default): one pair at a time; together: all pairs of a round",
            },
        ],
    };

    fn setup(setup: &Setup<'_>) -> Result<Self> {
        let default = if setup.size() == Size::Quick { REPETITIONS_QUICK } else { REPETITIONS };
        let bytes = setup.get_bytes("bytes")?.unwrap_or(BYTES) as usize;
        let repetitions = setup.get::<usize>("repetitions")?.unwrap_or(default);
        if repetitions == 0 {
            return Err(setup.bad("repetitions", repetitions, "must be at least 1"));
        }
        if bytes > 1 << 30 {
            return Err(setup.bad("bytes", bytes, "must be at most 1 GiB"));
        }
        let together = match setup.get::<String>("mode")?.as_deref() {
            None | Some("alone") => false,
            Some("together") => true,
            Some(other) => return Err(setup.bad("mode", other, "must be alone or together")),
        };
        setup.need("bytes", bytes, 2 * bytes as u64)?;
        let hosts = setup.team.gather_bytes(host::hostname().unwrap_or_default().as_bytes());
        let hosts = hosts.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        Ok(Self {
            hosts,
            bytes,
            repetitions,
            together,
            out: vec![0; bytes],
            into: vec![0; bytes],
            expected: 0,
            wrong: 0,
        })
    }

    fn params(&self) -> Facts {
        Facts::from([
            ("bytes".to_owned(), self.bytes.into()),
            ("repetitions".to_owned(), self.repetitions.into()),
            ("mode".to_owned(), if self.together { "together" } else { "alone" }.into()),
        ])
    }

    fn run(&mut self, team: &Team) -> Result<Lap> {
        self.wrong = 0;
        let me = team.index();
        let mut row = vec![0.0; team.len()];
        for round in rounds(team.len()) {
            team.barrier();
            for &(a, b) in &round {
                if me == a || me == b {
                    let other = a + b - me;
                    row[other] = self.exchange(team, other);
                }
                if !self.together {
                    team.barrier();
                }
            }
        }
        let mut all = vec![0.0; team.len() * team.len()];
        team.comm().all_gather_into(&row[..], &mut all[..]);
        Ok(Lap(all))
    }

    fn verify(&mut self, team: &Team) -> Result<Check> {
        Ok(Check::exact("received bytes", team.sum_u64(self.wrong + self.wrong_now())))
    }

    fn report(&self, lap: &Lap) -> Vec<Reading> {
        let ranks = self.hosts.len();
        let mut pairs = Vec::new();
        for (a, b) in (0..ranks).flat_map(|a| (a + 1..ranks).map(move |b| (a, b))) {
            // Both ranks timed the exchange; the slower one saw all of it.
            let rate = 1e-9 * lap.0[a * ranks + b].min(lap.0[b * ranks + a]);
            let reading = Reading::new("pair", rate).with("from", a).with("to", b);
            pairs.push(
                reading.with("from_host", self.hosts[a].as_str()).with("to_host", self.hosts[b].as_str()),
            );
        }
        let slowest = pairs.iter().map(|p| p.value).fold(f64::INFINITY, f64::min);
        pairs.insert(0, Reading::new("slowest_pair", slowest));
        pairs
    }

    fn corrupt(&mut self, _team: &Team) {
        self.into[0] ^= 1;
    }

    fn charts(rows: &[Row]) -> Vec<Chart> {
        let mut values: BTreeMap<(u64, u64), f64> = BTreeMap::new();
        let mut names: BTreeMap<u64, String> = BTreeMap::new();
        for row in rows.iter().filter(|r| r.metric == "pair") {
            let number = |key: &str| row.params.get(key).and_then(serde_json::Value::as_u64);
            let name = |key: &str| row.params.get(key).and_then(|v| v.as_str()).unwrap_or("").to_owned();
            let (Some(from), Some(to), Some(value)) = (number("from"), number("to"), row.value) else {
                continue;
            };
            values.extend([((from, to), value), ((to, from), value)]);
            names.insert(from, format!("{from} {}", name("from_host")));
            names.insert(to, format!("{to} {}", name("to_host")));
        }
        let ranks: Vec<u64> = names.keys().copied().collect();
        let line = |a: &u64| ranks.iter().map(|b| values.get(&(*a, *b)).copied()).collect();
        let labels: Vec<String> = names.values().cloned().collect();
        vec![Chart {
            name: "net-matrix".to_owned(),
            title: "throughput between ranks, each direction".to_owned(),
            unit: "GB/s".to_owned(),
            plot: Plot::HeatMap {
                rows: labels.clone(),
                columns: labels,
                values: ranks.iter().map(line).collect(),
            },
        }]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::rounds;

    #[test]
    fn everybody_meets_everybody_once_and_nobody_twice_in_a_round() {
        for ranks in 2..12 {
            let mut met = BTreeSet::new();
            for round in rounds(ranks) {
                let mut busy = BTreeSet::new();
                for (a, b) in round {
                    assert!(a < b && busy.insert(a) && busy.insert(b));
                    assert!(met.insert((a, b)), "{a} and {b} twice");
                }
            }
            assert_eq!(met.len(), ranks * (ranks - 1) / 2, "{ranks} ranks");
        }
    }
}
