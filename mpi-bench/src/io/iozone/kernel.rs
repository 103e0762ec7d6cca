//! The kernel `iozone`: the thirteen tests on one process (Single), or on every rank with a file of its own (Mpi: iozone's
//! throughput mode, without its stonewall: every rank moves its whole file).

use super::ops::{Op, Order, TESTS, Way};
use super::report;
use super::run::{Choice, Mixed, Subject, vector_len};
use super::sweep::{self, Range};
use crate::error::Result;
use crate::io::cache::{self, Cache};
use crate::io::clock::Clock;
use crate::io::files;
use crate::io::ior::kernel::{file_bytes, yes};
use crate::io::pool::Pool;
use crate::io::scratch::{Scratch, need_space};
use crate::kernel::{Check, Facts, Family, Kernel, Lap, Metric, Param, Reading, Spec, Variant};
use crate::result::Row;
use crate::setup::Setup;
use crate::svg::Chart;
use crate::team::Team;

/// Number of measurements in [`TESTS`].
const OPS: usize = 22;

/// Every measurement is a metric.
const METRICS: [Metric; OPS] = {
    let mut metrics = [Metric::rate("", "MiB/s"); OPS];
    let (mut test, mut at) = (0, 0);
    while test < TESTS.len() {
        let mut op = 0;
        while op < TESTS[test].len() {
            metrics[at] = Metric::rate(TESTS[test][op].name, "MiB/s");
            op += 1;
            at += 1;
        }
        test += 1;
    }
    metrics
};

const fn param(name: &'static str, help: &'static str) -> Param {
    Param { name, help }
}

/// See the module.
pub struct Iozone {
    ops: Vec<&'static Op>,
    pairs: Vec<(u64, u64)>,
    choice: Choice,
    cache: Cache,
    scratch: Scratch,
    seed: u64,
    ranks: u64,
    excel: bool,
    lap: u64,
    wrong: u64,
    last: Option<Subject>,
}

/// Numbers of one measurement in a [`Lap`].
const NUMBERS: usize = 5;

impl Kernel for Iozone {
    const SPEC: Spec = Spec {
        name: "iozone",
        family: Family::Io,
        summary: "iozone's thirteen tests: a file of each rank, by every way to read and write it",
        source: "iozone 3, tests 0 to 12",
        variants: &[Variant::Single, Variant::Mpi],
        min_ranks: 1,
        metrics: &METRICS,
        params: &[
            param(
                "tests",
                "numbers of the tests, 0,1,2 (default all; 0, or another that writes, is always needed)",
            ),
            param("file", "bytes of each rank's file (default 256 MiB; --size in bytes sets it, too)"),
            param("record", "bytes of one call (default 1 MiB, at most file)"),
            param("direct", "yes: past the page cache, O_DIRECT (default no)"),
            param("sync", "yes: each write synchronous, O_SYNC (default no)"),
            param("time_sync", "yes: the time of the sync after writing counts (default no)"),
            param("time_close", "yes: the time of the close counts (default no)"),
            param("stride", "stride of the stride read, in records (default 17)"),
            param(
                "mix_reads",
                "percentage of reads in the mixed test (default 50); with ranks, of ranks that read (default every other)",
            ),
            param(
                "cache",
                "before each read: keep, advise the file out of the cache, or drop all (root; default keep)",
            ),
            param("sweep", "yes: file sizes 64 KiB to 512 MiB by records of 4 KiB to 16 MiB (default no)"),
            param("file_min", "smallest file of the sweep"),
            param("file_max", "largest file of the sweep"),
            param("record_min", "smallest record of the sweep"),
            param("record_max", "largest record of the sweep"),
            param("all_records", "yes: also small records in large files (default no)"),
            param("excel", "yes: iozone's spreadsheet blocks after the table (default no)"),
        ],
    };

    fn setup(setup: &Setup<'_>) -> Result<Self> {
        let choice = choice(setup)?;
        let pairs = pairs(setup)?;
        let cache: String = setup.get("cache")?.unwrap_or_else(|| "keep".to_owned());
        let cache =
            cache.parse().map_err(|()| setup.bad("cache", &cache, "expected keep, advise or drop"))?;
        if let Some((_, record)) = pairs.iter().find(|p| choice.direct && p.1 % 512 != 0) {
            return Err(setup.bad("record", record, "direct I/O needs a multiple of 512 bytes"));
        }
        let buffers =
            |&(_, record): &(u64, u64)| Pool::bytes(usize::try_from(vector_len(record)).unwrap_or(1), record);
        let record = pairs.iter().map(|p| p.1).max().unwrap_or(0);
        setup.need("record", record, pairs.iter().map(buffers).max().unwrap_or(0))?;
        let ranks = setup.team.len() as u64;
        let largest = pairs.iter().map(|p| p.0).max().unwrap_or(0);
        setup.team.agree(need_space(&setup.scratch_dir(), largest.saturating_mul(ranks)))?;
        Ok(Self {
            ops: tests(setup)?,
            pairs,
            choice,
            cache,
            scratch: Scratch::new(setup.team, &setup.scratch_dir(), Self::SPEC.name)?,
            seed: setup.seed,
            ranks,
            excel: yes(setup, "excel")?.unwrap_or(false),
            lap: 0,
            wrong: 0,
            last: None,
        })
    }

    fn params(&self) -> Facts {
        let facts = [
            ("ranks", self.ranks.into()),
            ("direct", self.choice.direct.into()),
            ("sync", self.choice.sync.into()),
            ("time_sync", self.choice.time_sync.into()),
            ("time_close", self.choice.time_close.into()),
            ("cache", self.cache.name().into()),
            ("excel", self.excel.into()),
        ];
        facts.map(|(key, value)| (key.to_owned(), value)).into()
    }

    fn run(&mut self, team: &Team) -> Result<Lap> {
        self.lap += 1;
        self.wrong = 0;
        let clock = Clock::new(team);
        let mut numbers = Vec::with_capacity(self.pairs.len() * self.ops.len() * NUMBERS);
        for pair in self.pairs.clone() {
            // The file of the last pair goes before the next takes its name.
            self.last = None;
            let path = self.scratch.path(&format!("file.{}", team.rank()));
            let identity = (self.seed.wrapping_add(self.lap << 16), team.index() as u64);
            let subject =
                files::remove_if_there(&path).and_then(|()| Subject::new(path, pair, self.choice, identity));
            let mut subject = team.agree(subject)?;
            for op in &self.ops {
                numbers.extend(measure(team, &mut subject, op, (&clock, self.cache), &mut self.wrong)?);
            }
            self.last = Some(subject);
        }
        Ok(Lap(numbers))
    }

    fn verify(&mut self, team: &Team) -> Result<Check> {
        let wrong = match self.last.as_mut() {
            Some(subject) => subject.verify(),
            None => Ok(1),
        };
        let wrong = team.agree(wrong)?;
        Ok(Check::exact("records read and words of the last file", self.wrong + wrong))
    }

    fn report(&self, lap: &Lap) -> Vec<Reading> {
        let cases = self.pairs.iter().flat_map(|pair| self.ops.iter().map(move |op| (pair, op)));
        let mut readings = Vec::new();
        for ((&(file, record), op), numbers) in cases.zip(lap.0.chunks_exact(NUMBERS)) {
            let &[sum, least, most, together, resident] = numbers else { continue };
            let direct = self.choice.direct && op.calls != super::ops::Calls::Stdio;
            let label = match op.way {
                Way::Read => cache::label_of_read(direct, (!resident.is_nan()).then_some(resident)),
                _ => cache::label_of_write(direct, self.choice.sync || self.choice.time_sync),
            };
            let reading = |value: f64| {
                Reading::new(op.name, value)
                    .with("file", file)
                    .with("record", record)
                    .with("page_cache", label.clone())
            };
            readings.push(reading(sum));
            if self.ranks > 1 {
                let average = sum / self.ranks as f64;
                let parts = [("parent", together), ("min", least), ("max", most), ("avg", average)];
                readings.extend(parts.map(|(of, value)| reading(value).with("of", of)));
            }
        }
        readings
    }

    fn corrupt(&mut self, team: &Team) {
        if let (true, Some(subject)) = (team.is_root(), &self.last) {
            files::flip_bit(subject.path(), 17);
        }
    }

    fn render(rows: &[Row]) -> Option<String> {
        report::text(rows)
    }

    fn charts(rows: &[Row]) -> Vec<Chart> {
        report::charts(rows)
    }
}

/// One measurement on all ranks: summed, least, largest and common rate in MiB/s, and how much of the file was in memory.
fn measure(
    team: &Team,
    subject: &mut Subject,
    op: &Op,
    (clock, cache): (&Clock, Cache),
    wrong: &mut u64,
) -> Result<[f64; NUMBERS]> {
    let mut resident = None;
    if op.way == Way::Read {
        cache.defeat(team, subject.path())?;
        resident = cache::resident_share(subject.path());
    }
    team.barrier();
    let span = team.agree(subject.measure(op, clock))?;
    *wrong += span.wrong;
    let mib = subject.bytes() as f64 / (1u64 << 20) as f64;
    // Where the clock did not move, its resolution (1 ns) is all that can be said.
    let rate = mib / (span.end - span.begin).max(1e-9);
    let together = mib * team.len() as f64 / (team.max(span.end) - team.min(span.begin)).max(1e-9);
    Ok([team.sum(rate), team.min(rate), team.max(rate), together, resident.unwrap_or(f64::NAN)])
}

fn choice(setup: &Setup<'_>) -> Result<Choice> {
    let flag = |name| Ok(yes(setup, name)?.unwrap_or(false));
    let stride: u64 = setup.get("stride")?.unwrap_or(17);
    if stride == 0 {
        return Err(setup.bad("stride", stride, "must be above 0"));
    }
    let mix_reads: Option<u64> = setup.get("mix_reads")?;
    if let Some(percent) = mix_reads.filter(|percent| *percent > 100) {
        return Err(setup.bad("mix_reads", percent, "is a percentage"));
    }
    Ok(Choice {
        direct: flag("direct")?,
        sync: flag("sync")?,
        time_sync: flag("time_sync")?,
        time_close: flag("time_close")?,
        stride,
        mix: mixed(mix_reads, setup.team.index() as u64, setup.team.len() as u64),
    })
}

/// Several processes share the mixed test as iozone's do: each of them either reads or writes.
fn mixed(percent: Option<u64>, rank: u64, ranks: u64) -> Mixed {
    match (ranks, percent) {
        (1, percent) => Mixed::Records(percent.unwrap_or(50)),
        (_, None) => Mixed::Processes { reads: rank.is_multiple_of(2) },
        (ranks, Some(percent)) => Mixed::Processes { reads: rank < percent * ranks / 100 },
    }
}

/// Sizes of file and record, one pair or the sweep's.
fn pairs(setup: &Setup<'_>) -> Result<Vec<(u64, u64)>> {
    if yes(setup, "sweep")?.unwrap_or(false) {
        let default = Range::default();
        let or = |name, default| Ok(setup.get_bytes(name)?.unwrap_or(default));
        let range = Range {
            file: (or("file_min", default.file.0)?, or("file_max", default.file.1)?),
            record: (or("record_min", default.record.0)?, or("record_max", default.record.1)?),
            all: yes(setup, "all_records")?.unwrap_or(false),
        };
        let pairs = sweep::pairs(&range);
        return match pairs.is_empty() {
            true => Err(setup.bad("file_max", range.file.1, "no file of the sweep holds a whole record")),
            false => Ok(pairs),
        };
    }
    let file = setup.get_bytes("file")?;
    let wanted = file.unwrap_or_else(|| file_bytes(setup));
    let record = setup.get_bytes("record")?.unwrap_or_else(|| (1 << 20).min(wanted));
    match file {
        Some(file) if file % record != 0 => {
            Err(setup.bad("record", record, format!("does not divide the file of {file} bytes")))
        }
        _ => Ok(vec![((wanted / record).max(1) * record, record)]),
    }
}

/// The measurements of the tests asked for, in iozone's order. Something has to write what is read.
fn tests(setup: &Setup<'_>) -> Result<Vec<&'static Op>> {
    let Some(list) = setup.get::<String>("tests")? else {
        return Ok(TESTS.iter().flat_map(|ops| ops.iter()).collect());
    };
    let mut chosen = [false; TESTS.len()];
    for word in list.split(',') {
        let wanted = word.parse::<usize>().ok().and_then(|n| chosen.get_mut(n));
        *wanted.ok_or_else(|| setup.bad("tests", word, "expected numbers from 0 to 12, with commas"))? = true;
    }
    let ops: Vec<&Op> =
        TESTS.iter().zip(chosen).filter(|(_, chosen)| *chosen).flat_map(|(ops, _)| ops.iter()).collect();
    match ops.first() {
        Some(first) if first.writes() && first.order == Order::Forward => Ok(ops),
        _ => Err(setup.bad("tests", list, "the first test must write the file: 0, 6, 9 or 11")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Mixed, mixed};

    #[test]
    fn processes_share_the_mixed_test_and_one_alone_mixes_records() {
        assert_eq!(mixed(None, 0, 1), Mixed::Records(50));
        assert_eq!(mixed(Some(20), 0, 1), Mixed::Records(20));
        let readers = |percent, ranks: u64| -> Vec<u64> {
            (0..ranks).filter(|&r| mixed(percent, r, ranks) == Mixed::Processes { reads: true }).collect()
        };
        assert_eq!(readers(None, 5), [0, 2, 4]);
        assert_eq!(readers(Some(80), 5), [0, 1, 2, 3]);
        assert_eq!(readers(Some(0), 5), [0; 0]);
    }
}
