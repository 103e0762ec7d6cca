//! `cargo xtask bench io --ior PROGRAM --iozone PROGRAM`: the user's IOR and iozone and trimtab-bench in alternation, ratio per
//! rate.
//!
//! Neither program is in every distribution, so they are the user's. Both sides get the same options, files of the same
//! size in the same directory, the same ranks and binding; each writes its own file and reads it back from wherever that
//! left it, and what counts as written (the sync with `-e`, the close) is the original's. A run that fails costs its rows,
//! not the bench. May not: count a rate whose data trimtab-bench found wrong.

mod figures;
mod scratch;

use super::hpcc::{build, finish, launcher, launcher_bound};
use super::rows::{Better, Figures, Row, Sample, alternate, outcome};
use crate::cmd::SignalGuard;
use crate::{mpi, workspace};
use anyhow::{Context, Result, bail};
use scratch::Scratch;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Least ratio promised.
const BOUND: f64 = 0.97;
/// Of IOR, and processes of iozone's throughput mode.
const RANKS: &str = "2";
/// Each rank's file and one call, in a form that all programs read.
const FILE: &str = "256m";
const RECORD: &str = "1m";
/// Times that IOR writes and reads; the median counts.
const REPETITIONS: &str = "3";

/// IOR's option for `O_DIRECT`, which not every file system has.
const DIRECT: &str = "--posix.odirect";

/// What IOR is run with.
const IOR: [&[&str]; 5] = [
    &["-a", "POSIX", "-e"],
    &["-a", "POSIX", "-F", "-e"],
    &["-a", "POSIX", "-e", DIRECT],
    &["-a", "MPIIO", "-e"],
    &["-a", "MPIIO", "-c", "-e"],
];

/// The user's programs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Programs<'a> {
    /// IOR.
    pub(super) ior: Option<&'a Path>,
    /// iozone.
    pub(super) iozone: Option<&'a Path>,
}

/// How one run is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// IOR with these options.
    Ior(&'static [&'static str]),
    /// iozone's table, one process.
    Iozone,
    /// iozone's throughput mode.
    Throughput,
}

/// A run and what came of it.
struct Case {
    kind: Kind,
    program: PathBuf,
    pairs: Vec<(Figures, Figures)>,
}

/// What both programs are started with.
struct Setting {
    library: &'static mpi::Library,
    ours: PathBuf,
    dir: Scratch,
}

/// Runs the pairs and prints the table. The rows as JSON values, and whether every bound is met.
pub(super) fn run(programs: Programs<'_>, dir: Option<&Path>, pairs: u32) -> Result<(Vec<Value>, bool)> {
    let default = workspace::target_dir().join("bench-io");
    let library = &mpi::LIBRARIES[0];
    let ours = build(library)?;
    let signals = SignalGuard::take();
    let setting = Setting { library, ours, dir: Scratch::below(dir.unwrap_or(&default))? };
    let mut cases = cases(programs, setting.dir.takes_direct())?;
    let place = setting.dir.path().display();
    for pair in 0..pairs {
        println!("I/O, pair {} of {pairs}: {FILE} a rank by {RECORD} in {place}", pair + 1);
        for case in &mut cases {
            let both = alternate(
                pair,
                || outcome(setting.dir.settle().and_then(|()| setting.original(case.kind, &case.program))),
                || outcome(setting.dir.settle().and_then(|()| setting.trimtab(case.kind))),
            );
            signals.check()?;
            case.pairs.push(both);
        }
    }
    let rows: Vec<Row> = cases.iter().flat_map(Case::rows).collect();
    Ok(Row::table(&rows))
}

/// What there is to run.
fn cases(programs: Programs<'_>, direct: bool) -> Result<Vec<Case>> {
    let mut kinds = Vec::new();
    if let Some(ior) = programs.ior.map(program).transpose()? {
        let meant = IOR.iter().filter(|args| direct || !args.contains(&DIRECT));
        kinds.extend(meant.map(|args| (Kind::Ior(args), ior.clone())));
        if !direct {
            println!("No rows for {DIRECT}: the file system has no direct I/O");
        }
    }
    if let Some(iozone) = programs.iozone.map(program).transpose()? {
        kinds.extend([(Kind::Iozone, iozone.clone()), (Kind::Throughput, iozone)]);
    }
    Ok(kinds.into_iter().map(|(kind, program)| Case { kind, program, pairs: Vec::new() }).collect())
}

/// The program to start. It runs in another directory than ours, so a path is made absolute; a mere name is left to PATH.
fn program(named: &Path) -> Result<PathBuf> {
    if named.components().count() == 1 && !named.is_file() {
        return Ok(named.to_path_buf());
    }
    let place = named.canonicalize().with_context(|| format!("cannot open {}", named.display()))?;
    if !place.is_file() {
        bail!("{} is not a program", named.display());
    }
    Ok(place)
}

impl Case {
    fn rows(&self) -> Vec<Row> {
        let originals = self.pairs.iter().filter_map(|(original, _)| original.as_ref().ok());
        let (head, names) = match self.kind {
            Kind::Ior(args) => (format!("ior {}", args.join(" ")), vec!["write", "read"]),
            Kind::Iozone => ("iozone".to_owned(), figures::columns(originals)),
            Kind::Throughput => {
                (format!("iozone -t {RANKS}"), figures::DOERS.iter().map(|(_, name)| *name).collect())
            }
        };
        let row = |name: &str| {
            let samples: Vec<Sample> =
                self.pairs.iter().map(|(original, ours)| Sample::of(name, original, ours)).collect();
            Row::new(&format!("{head} {name} MiB/s"), Better::More, Some(BOUND), &samples)
        };
        names.into_iter().map(row).collect()
    }
}

impl Setting {
    fn original(&self, kind: Kind, program: &Path) -> Result<BTreeMap<String, f64>> {
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
        match kind {
            Kind::Ior(args) => self.ior(&name, &[program.as_os_str()], args),
            Kind::Iozone => {
                let mut command = launcher(self.library, self.dir.path(), 1);
                // -E: also the tests of pread and its kin, where they were built in.
                command.arg(program).args(["-E", "-f", "original"]);
                let said = finish(&name, command.args(["-s", FILE, "-r", RECORD]))?;
                figures::table(&said).with_context(|| format!("no table in what {name} printed:\n{said}"))
            }
            Kind::Throughput => {
                // One process of the launcher's, which makes its own: bound, they would share its core.
                let mut command = launcher_bound(self.library, self.dir.path(), 1, "none");
                command.arg(program).args(["-t", RANKS, "-x"]).args(figures::DOERS_TESTS);
                Ok(figures::throughput(&finish(&name, command.args(["-s", FILE, "-r", RECORD]))?))
            }
        }
    }

    fn trimtab(&self, kind: Kind) -> Result<BTreeMap<String, f64>> {
        let mut command = match kind {
            Kind::Ior(args) => {
                return self.ior("trimtab-bench", &[self.ours.as_os_str(), "ior".as_ref()], args);
            }
            Kind::Iozone => {
                let mut command = launcher(self.library, self.dir.path(), 1);
                command.arg(&self.ours).arg("iozone").args(figures::SINGLE_TESTS);
                command
            }
            Kind::Throughput => {
                let ranks = RANKS.parse().context("number of ranks")?;
                let mut command = launcher_bound(self.library, self.dir.path(), ranks, "none");
                command.arg(&self.ours).args(["iozone", "-t", RANKS]).args(figures::DOERS_TESTS);
                command
            }
        };
        let file = self.dir.path().join("results.json");
        command.args(["-s", FILE, "-r", RECORD, "-f", "ours", "--json"]).arg(&file);
        finish("trimtab-bench", &mut command)?;
        Ok(figures::ours(&super::read_json(&file)?))
    }

    /// Both speak IOR's options and write its summary.
    fn ior(&self, name: &str, program: &[&OsStr], args: &[&str]) -> Result<BTreeMap<String, f64>> {
        let summary = self.dir.path().join("summary.json");
        let mut command: Command =
            launcher(self.library, self.dir.path(), RANKS.parse().context("number of ranks")?);
        command.args(program).args(["-t", RECORD, "-b", FILE, "-w", "-r", "-i", REPETITIONS]).args(args);
        command.args(["-o", "data", "-O", "summaryFile=summary.json,summaryFormat=JSON"]);
        finish(name, &mut command)?;
        let document = super::read_json(&summary)?;
        // Read once: a program that writes none must not get the figures of the one before it.
        fs::remove_file(&summary).with_context(|| format!("cannot remove {}", summary.display()))?;
        Ok(figures::ior(&document))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(kind: Kind, pairs: Vec<(Figures, Figures)>) -> Case {
        Case { kind, program: PathBuf::from("program"), pairs }
    }

    #[test]
    fn a_failed_run_costs_its_rows_and_nothing_else() {
        let rates = |write: f64| Ok(BTreeMap::from([("write".to_owned(), write), ("read".to_owned(), 9.0)]));
        let good = case(Kind::Ior(IOR[1]), vec![(rates(2.0), rates(3.0))]);
        let lines: Vec<String> = good.rows().iter().map(ToString::to_string).collect();
        assert!(
            lines[0].starts_with("ior -a POSIX -F -e write MiB/s") && lines[0].ends_with("ok"),
            "{lines:?}"
        );
        let bad = case(Kind::Ior(IOR[0]), vec![(rates(2.0), Err("no space".to_owned()))]);
        let lines: Vec<String> = bad.rows().iter().map(ToString::to_string).collect();
        assert!(lines.iter().all(|line| line.ends_with("MISSED (ours: no space)")), "{lines:?}");
    }

    #[test]
    fn without_direct_io_there_is_no_such_case() {
        let programs = Programs { ior: Some(Path::new("ior")), iozone: Some(Path::new("iozone")) };
        let kinds = |direct| -> Vec<Kind> {
            cases(programs, direct).expect("names for PATH").iter().map(|case| case.kind).collect()
        };
        assert_eq!(kinds(true).len(), 7);
        assert!(!kinds(false).contains(&Kind::Ior(IOR[2])));
        assert!(program(Path::new("/no/such/ior")).is_err());
        assert!(program(Path::new("/tmp")).is_err());
    }
}
