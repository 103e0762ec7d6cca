//! Text as users of IOR know it: the options, a line per timed phase, the summary. A phase whose data were wrong shows no
//! figure. Pure.

use std::fmt::Write as _;

use super::session::{Done, Options};
use super::walk::Reorder;
use crate::print::grouped_bytes;

/// Names and values of the options, as in IOR's `Options` section.
#[must_use]
pub fn options(options: &Options, ranks: u64, per_node: u64) -> Vec<(&'static str, String)> {
    let test = &options.test;
    let order = match test.random {
        None => "sequential",
        Some(_) => "random",
    };
    let (between, offset) = match test.reorder {
        Reorder::None => ("no tasks offsets", None),
        Reorder::Constant(nodes) => ("constant task offset", Some(nodes)),
        Reorder::Random { nodes, .. } => ("random task offset", Some(nodes)),
        Reorder::Shuffled { .. } => ("shuffled task offset", None),
    };
    let files: Vec<String> = options.files.iter().map(|f| f.display().to_string()).collect();
    let mut list = vec![
        ("api", test.access.api().to_owned()),
        ("test filename", files.join("@")),
        ("access", if test.file_per_process { "file-per-process" } else { "single-shared-file" }.to_owned()),
        ("type", if test.access.is_collective() { "collective" } else { "independent" }.to_owned()),
        ("segments", test.segments.to_string()),
        ("ordering in a file", order.to_owned()),
        ("ordering inter file", between.to_owned()),
    ];
    list.extend(offset.map(|nodes| ("task offset", nodes.to_string())));
    list.extend([
        ("nodes", ranks.div_ceil(per_node).to_string()),
        ("tasks", ranks.to_string()),
        ("clients per node", per_node.to_string()),
        ("repetitions", options.repetitions.to_string()),
        ("xfersize", grouped_bytes(test.transfer)),
        ("blocksize", grouped_bytes(test.block)),
        ("aggregate filesize", grouped_bytes(test.block * test.segments * ranks)),
    ]);
    list
}

/// Everything before the first figure.
#[must_use]
pub fn head(options_list: &[(&'static str, String)], command: &str, began: &str) -> String {
    let mut text = format!(
        "trimtab-bench {} ior: parallel I/O as IOR-4 measures it\nBegan               : {began}\n\
         Command line        : {command}\n\nOptions: \n",
        env!("CARGO_PKG_VERSION")
    );
    for (name, value) in options_list {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<20}: {value}");
    }
    text + "\nResults: \n\n\
     access    bw(MiB/s)  IOPS       Latency(s)  block(KiB) xfer(KiB)  open(s)    wr/rd(s)   close(s)   total(s)   iter\n\
     ------    ---------  ----       ----------  ---------- ---------  --------   --------   --------   --------   ----\n"
}

fn name(write: bool) -> &'static str {
    if write { "write" } else { "read" }
}

/// One line.
#[must_use]
pub fn line(options: &Options, done: &Done) -> String {
    let phase = &done.phase;
    if !done.valid {
        return format!(
            "{:<10}invalid: {} wrong                                    {}\n",
            name(done.write),
            phase.wrong,
            done.repetition
        );
    }
    let kib = |bytes: u64| bytes as f64 / 1024.0;
    let rate = |value: f64| match value {
        v if v < 10_000.0 => format!("{v:<10.2}"),
        v => format!("{v:<10.0}"),
    };
    format!(
        "{:<10}{} {} {:<11.6} {:<10.0} {:<10.2} {:<10.6} {:<10.6} {:<10.6} {:<10.6} {:<4}\n",
        name(done.write),
        rate(phase.mib_per_second()),
        rate(phase.iops()),
        phase.latency,
        kib(options.test.block),
        kib(options.test.transfer),
        phase.open,
        phase.transfer,
        phase.close,
        phase.seconds,
        done.repetition
    )
}

/// Largest, smallest and mean figure of the repetitions with its standard deviation (of the whole, not of a sample: IOR's).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Largest.
    pub max: f64,
    /// Smallest.
    pub min: f64,
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub deviation: f64,
}

impl Spread {
    /// `None` without values.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let summary = crate::stats::summary(values)?;
        let squares: f64 = values.iter().map(|v| (v - summary.mean).powi(2)).sum();
        Some(Self {
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            mean: summary.mean,
            deviation: (squares / values.len() as f64).sqrt(),
        })
    }
}

/// All repetitions of writing, or of reading; `None` if there was none or one was invalid.
#[must_use]
pub fn spread(done: &[Done], write: bool, of: fn(&Done) -> f64) -> Option<Spread> {
    let mine: Vec<&Done> = done.iter().filter(|d| d.write == write).collect();
    if mine.iter().any(|d| !d.valid) {
        return None;
    }
    Spread::of(&mine.iter().map(|d| of(d)).collect::<Vec<_>>())
}

/// Numbers that the summary repeats.
#[derive(Debug, Clone, Copy)]
pub struct World {
    /// Ranks.
    pub ranks: u64,
    /// Most ranks on a node.
    pub per_node: u64,
    /// `-A`.
    pub reference: i64,
}

/// The part after the last figure.
#[must_use]
pub fn summary(options: &Options, done: &[Done], world: World) -> String {
    let mut text = String::from(
        "\nSummary of all tests:\nOperation   Max(MiB)   Min(MiB)  Mean(MiB)     StdDev   Max(OPs)   Min(OPs)  Mean(OPs)     StdDev    \
         Mean(s) Stonewall(s) Stonewall(MiB) Test# #Tasks tPN reps fPP reord reordoff reordrand seed segcnt   blksiz    \
         xsize aggs(MiB)   API RefNum\n",
    );
    for write in [true, false] {
        let Some(bandwidth) = spread(done, write, |d| d.phase.mib_per_second()) else { continue };
        let Some(seconds) = spread(done, write, |d| d.phase.seconds) else { continue };
        let per_mib = (1u64 << 20) as f64 / options.test.transfer as f64;
        let walls: Vec<(f64, u64)> =
            done.iter().filter(|d| d.write == write).filter_map(|d| d.phase.stonewall).collect();
        let wall = match walls.len() {
            0 => ("NA".to_owned(), "NA".to_owned()),
            n => (
                format!("{:.2}", walls.iter().map(|w| w.0).sum::<f64>() / n as f64),
                format!(
                    "{:.2}",
                    walls.iter().map(|w| w.1 as f64).sum::<f64>() / n as f64 / (1u64 << 20) as f64
                ),
            ),
        };
        let _ = write!(text, "{:<9}", name(write));
        for factor in [1.0, per_mib] {
            for value in [bandwidth.max, bandwidth.min, bandwidth.mean, bandwidth.deviation] {
                let _ = write!(text, " {:>10.2}", value * factor);
            }
        }
        let _ =
            writeln!(text, " {:>10.5} {:>12} {:>14} {}", seconds.mean, wall.0, wall.1, tail(options, world));
    }
    text
}

/// The columns that repeat the options.
fn tail(options: &Options, world: World) -> String {
    let test = &options.test;
    let (constant, offset, random, seed) = match test.reorder {
        Reorder::None => (0, 1, 0, 0),
        Reorder::Constant(nodes) => (1, nodes, 0, 0),
        Reorder::Random { nodes, seed } => (0, nodes, 1, seed),
        Reorder::Shuffled { seed } => (0, 1, 2, seed),
    };
    format!(
        "{:>5} {:>6} {:>3} {:>4} {:>3} {:>5} {:>8} {:>9} {:>4} {:>6} {:>8} {:>8} {:>9.1} {:>5} {:>6}",
        0,
        world.ranks,
        world.per_node,
        options.repetitions,
        u8::from(test.file_per_process),
        constant,
        offset,
        random,
        seed,
        test.segments,
        test.block,
        test.transfer,
        (test.block * test.segments * world.ranks) as f64 / (1u64 << 20) as f64,
        test.access.api(),
        world.reference
    )
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_deviation_is_that_of_the_whole() {
        let spread = Spread::of(&[641.8553, 728.4564]).expect("two values");
        assert!(
            (spread.mean - 685.1559).abs() < 1e-3 && (spread.deviation - 43.3005).abs() < 1e-3,
            "{spread:?}"
        );
        assert_eq!(Spread::of(&[]), None);
    }
}
