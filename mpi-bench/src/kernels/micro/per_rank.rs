//! Shared by the noise kernels: a few numbers and a histogram from every rank, gathered so that rank 0 can report them all.

use crate::kernel::{Lap, Metric, Reading};
use crate::result::Row;
use crate::svg::{Bar, Chart, Plot};
use crate::team::Team;
use mpi::traits::CommunicatorCollectives;

/// What [`readings`] gives.
pub(super) const METRICS: &[Metric] = &[
    Metric::cost("noise_worst", "%"),
    Metric::cost("noise", "%"),
    Metric::cost("longest", "us"),
    Metric::cost("interruptions", "1/s"),
    Metric::cost("histogram", "count"),
];

/// Bins of a histogram of durations: bin b counts those of 2^b to 2^(b+1) tenths of a microsecond, the last all longer ones.
pub(super) const BINS: usize = 24;

/// The bin of a duration in seconds.
pub(super) fn bin(seconds: f64) -> usize {
    let tenths = (seconds * 1e7).max(1.0);
    (tenths.log2() as usize).min(BINS - 1)
}

/// What one rank found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Noise {
    /// Share of the time that was not the rank's, in percent.
    pub(super) percent: f64,
    /// Longest interruption, seconds.
    pub(super) longest_s: f64,
    /// Interruptions a second.
    pub(super) per_second: f64,
    /// CPU that the rank ended on.
    pub(super) cpu: f64,
    pub(super) histogram: [u64; BINS],
}

const HEAD: usize = 4;
const LENGTH: usize = HEAD + BINS;

impl Noise {
    /// All ranks' numbers as a lap.
    pub(super) fn gather(&self, team: &Team) -> Lap {
        let mut mine = vec![self.percent, self.longest_s, self.per_second, self.cpu];
        mine.extend(self.histogram.iter().map(|&n| n as f64));
        let mut all = vec![0.0; LENGTH * team.len()];
        team.comm().all_gather_into(&mine[..], &mut all[..]);
        Lap(all)
    }
}

/// The CPU that the caller runs on; a number for the report, not a promise.
pub(super) fn current_cpu() -> f64 {
    // SAFETY: takes nothing, returns a number or -1.
    f64::from(unsafe { libc::sched_getcpu() })
}

/// Rows for all ranks: `noise` worst and, per rank with the CPU that it ended on, `noise`, `longest` and `interruptions`; and
/// the summed histogram.
pub(super) fn readings(lap: &Lap) -> Vec<Reading> {
    let ranks: Vec<&[f64]> = lap.0.chunks_exact(LENGTH).collect();
    let worst = ranks.iter().map(|r| r[0]).fold(0.0, f64::max);
    let mut readings = vec![Reading::new("noise_worst", worst)];
    for (rank, numbers) in ranks.iter().enumerate() {
        let figures = [("noise", numbers[0]), ("longest", numbers[1] * 1e6), ("interruptions", numbers[2])];
        // A whole number since it was gathered; -1 where the system did not say.
        let cpu = numbers[3] as i64;
        let of = |(name, value)| Reading::new(name, value).with("rank", rank).with("cpu", cpu);
        readings.extend(figures.map(of));
    }
    for bin in 0..BINS {
        let count: f64 = ranks.iter().map(|r| r[HEAD + bin]).sum();
        readings.push(Reading::new("histogram", count).with("from_us", 0.1 * f64::from(1u32 << bin)));
    }
    readings
}

/// A histogram over all ranks, and the noise of each as bars.
pub(super) fn charts(rows: &[Row]) -> Vec<Chart> {
    let Some(first) = rows.first() else { return Vec::new() };
    let of = |metric: &'static str| rows.iter().filter(move |r| r.metric == metric);
    // The bins double in width: over their number the picture has a logarithmic axis.
    let bins = of("histogram").enumerate().filter_map(|(at, r)| Some((at as f64, r.value? as u64)));
    let bar = |row: &Row| {
        let text = |key: &str| row.params.get(key).map_or_else(String::new, ToString::to_string);
        (
            format!("{} on CPU {}", text("rank"), text("cpu")),
            vec![row.value.map(|value| Bar { value, ci95: row.ci95 })],
        )
    };
    vec![
        Chart {
            name: format!("{}-histogram", first.name),
            title: format!("{}: interruptions by length, all ranks", first.name),
            unit: "count".to_owned(),
            plot: Plot::Histogram { x: "log2 of the length in 0.1 us".to_owned(), bins: bins.collect() },
        },
        Chart {
            name: format!("{}-ranks", first.name),
            title: format!("{}: noise by rank", first.name),
            unit: "%".to_owned(),
            plot: Plot::Bars { series: vec!["noise".to_owned()], groups: of("noise").map(bar).collect() },
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::{BINS, LENGTH, bin, readings};
    use crate::kernel::Lap;

    #[test]
    fn the_rows_of_a_rank_name_its_cpu() {
        let mut lap = vec![0.0; 2 * LENGTH];
        (lap[0], lap[3]) = (1.5, 2.0);
        (lap[LENGTH], lap[LENGTH + 3]) = (2.5, 7.0);
        let rows = readings(&Lap(lap));
        let noise: Vec<_> = rows.iter().filter(|r| r.metric == "noise").collect();
        let named: Vec<_> =
            noise.iter().map(|r| (r.params["rank"].as_i64(), r.params["cpu"].as_i64(), r.value)).collect();
        assert_eq!(named, [(Some(0), Some(2), 1.5), (Some(1), Some(7), 2.5)]);
        assert!(rows.iter().all(|r| r.params.contains_key("cpu") == r.params.contains_key("rank")));
    }

    #[test]
    fn bins_double() {
        assert_eq!((bin(0.0), bin(1e-7), bin(2e-7), bin(4.1e-7)), (0, 0, 1, 2));
        assert_eq!(bin(1e9), BINS - 1);
    }
}
