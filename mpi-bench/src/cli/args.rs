//! The words of the command line and their ranges. Definitions only.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::driver::Repeat;
use crate::error::{Error, Result};
use crate::kernel::Variant;
use crate::setup::{ParamMap, Size};

/// MPI benchmarks that verify what they measure.
///
/// Start it with mpirun or srun; without either it runs as one rank.
/// Exit codes: 0 all results verified, 1 a verification failed, 2 usage, 3 environment.
#[derive(Debug, Parser)]
#[command(name = "trimtab-bench", version, max_term_width = 110)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show every kernel with its metrics, units, parameters and source
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Run kernels by name
    Run {
        /// Kernels, as `list` shows them
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        options: RunOptions,
    },
    /// Run a suite
    Suite {
        /// Which
        suite: Suite,
        /// Input of suite hpcc (default: hpccinf.txt if it exists)
        #[arg(long, value_name = "FILE")]
        input: Option<PathBuf>,
        /// Where suite hpcc appends its report
        #[arg(long, value_name = "FILE", default_value = "hpccoutf.txt")]
        output: PathBuf,
        #[command(flatten)]
        options: RunOptions,
    },
    /// Parallel I/O with IOR's options, table and JSON summary
    Ior(super::ior::IorArgs),
    /// iozone's tests with iozone's options and tables
    Iozone(super::iozone::IozoneArgs),
    /// Compare result files: ratio, confidence interval and verdict per metric, and bars
    Compare {
        /// Results written by --json
        #[arg(required = true, num_args = 2..)]
        files: Vec<PathBuf>,
        /// Label of the run that the others are compared with (default: the first)
        #[arg(long, value_name = "LABEL")]
        baseline: Option<String>,
        /// Draw the bars as SVG into this directory
        #[arg(long, value_name = "DIR")]
        svg: Option<PathBuf>,
    },
}

/// Named sets of kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Suite {
    /// HPC Challenge; reads hpccinf.txt if there is one, appends hpccoutf.txt
    Hpcc,
    /// NAS Parallel Benchmarks
    Npb,
    /// MPI micro benchmarks
    Osu,
    /// File and metadata I/O
    Io,
    /// A little of everything in under a minute
    Quick,
}

#[derive(Debug, Clone, Args)]
pub(super) struct RunOptions {
    /// Problem size: auto (from the free memory of the smallest node), quick, a class (S W A B C), or bytes per rank (256MiB)
    #[arg(long, value_name = "SIZE")]
    pub(super) size: Option<Size>,
    /// Parameter of the kernels that have it, or of one: n=8000, hpl.nb=192 (see `list`)
    #[arg(long = "param", value_name = "[KERNEL.]NAME=VALUE", value_parser = parse_param)]
    pub(super) params: Vec<(String, String)>,
    /// Only these variants
    #[arg(long, value_delimiter = ',', value_name = "VARIANT")]
    pub(super) variant: Option<Vec<Variant>>,
    /// Number of laps, or `until` the confidence interval is narrow enough (--ci)
    #[arg(long, default_value = "1", value_name = "N|until", value_parser = parse_repeat)]
    pub(super) repeat: RepeatArg,
    /// Half width of the 95 % interval, relative to the mean, at which `--repeat until` stops
    #[arg(long, default_value = "2%", value_name = "PERCENT", value_parser = parse_percent)]
    pub(super) ci: f64,
    /// Most laps of `--repeat until`
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_repeat: u32,
    /// Laps run and thrown away first
    #[arg(long, value_name = "LAPS", default_value_t = 0, default_missing_value = "1", num_args = 0..=1)]
    pub(super) warmup: u32,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Draw the results as SVG into this directory
    #[arg(long, value_name = "DIR")]
    pub(super) svg: Option<PathBuf>,
    /// Seed of every random choice
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Longest time for one phase of a kernel, in seconds, or `none`
    #[arg(long, default_value = "3600", value_name = "SECONDS", value_parser = parse_timeout)]
    pub(super) timeout: Timeout,
    /// Directory for the files of I/O kernels
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// Name of this run in comparisons (default: the JSON file's name)
    #[arg(long)]
    pub(super) label: Option<String>,
}

/// `--repeat` as typed.
#[derive(Debug, Clone, Copy)]
pub(super) enum RepeatArg {
    Times(u32),
    Until,
}

/// `--timeout` as typed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeout(pub(super) Option<Duration>);

impl RunOptions {
    /// The repetition rule.
    pub(super) fn repeat_rule(&self) -> Repeat {
        match self.repeat {
            RepeatArg::Times(n) => Repeat::Times(n),
            RepeatArg::Until => Repeat::Until { relative_half_width: self.ci, limit: self.max_repeat },
        }
    }

    /// The parameters by name.
    ///
    /// # Errors
    /// The same name twice.
    pub(super) fn param_map(&self) -> Result<ParamMap> {
        let mut map = ParamMap::new();
        for (name, value) in &self.params {
            if map.insert(name.clone(), value.clone()).is_some() {
                return Err(Error::Usage(format!("--param {name} is given twice")));
            }
        }
        Ok(map)
    }
}

fn parse_param(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

fn parse_repeat(text: &str) -> Result<RepeatArg, String> {
    match (text, u32::from_str(text)) {
        ("until", _) => Ok(RepeatArg::Until),
        (_, Ok(n)) if n > 0 => Ok(RepeatArg::Times(n)),
        _ => Err("expected a number above 0, or until".to_owned()),
    }
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<f64>();
    number
        .ok()
        .filter(|p| *p > 0.0 && *p < 100.0)
        .map(|p| p / 100.0)
        .ok_or("expected 0 < PERCENT < 100".to_owned())
}

pub(super) fn parse_timeout(text: &str) -> Result<Timeout, String> {
    match (text, text.parse::<f64>()) {
        ("none", _) => Ok(Timeout(None)),
        (_, Ok(s)) if s > 0.0 && s < 1e9 => Ok(Timeout(Some(Duration::from_secs_f64(s)))),
        _ => Err("expected seconds above 0, or none".to_owned()),
    }
}
