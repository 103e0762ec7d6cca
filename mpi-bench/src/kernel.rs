//! The trait [`Kernel`]: what a benchmark is to the driver. A kernel computes and times; it may not print, read the
//! command line, split communicators for Single/Star variants, or repeat itself: all of that is the driver's.
//!
//! # Adding a kernel
//! 1. Write `kernels/<family>/<name>.rs` (file kernels: `io/`) with a type that implements [`Kernel`]:
//!    - [`Kernel::SPEC`]: name, family, source, variants, metrics, parameters. The name is what users type.
//!    - [`Kernel::setup`]: check parameters, size and allocate. Sizes come from [`Setup`]: `setup.get("n")?` for a
//!      parameter the user gave (`--param n=..`), `setup.bytes_per_rank()` or `setup.class()` for `--size`. Say with
//!      `setup.need("n", n, bytes)?` how much memory this rank will touch *before* allocating it. A number of ranks that it
//!      cannot use is `setup.unfit(why)`: a suite then goes on without the kernel.
//!    - [`Kernel::run`]: restore the input, synchronise, do the timed work, return the raw seconds as a [`Lap`]. On a team
//!      of several ranks, reduce the times as the original does: **rank 0 of the team must hold the final numbers**.
//!    - [`Kernel::verify`]: judge the lap just run by the original's criterion. Every rank returns the same [`Check`] or
//!      its own part of it: the driver joins them (all must pass, the worst residual counts).
//!    - [`Kernel::report`]: pure formula from lap to figures; called on rank 0 of each team.
//!    - [`Kernel::corrupt`]: damage the result as a bit flip would (one element; more where the original's criterion forgives
//!      some), on a rank that is sure to hold a part of it. Tests call it
//!      between run and verify and expect `verify` to fail.
//! 2. Register it: one line `entry::<MyKernel>()` in the family's `mod.rs` (`pub fn entries()`), nothing else.
//! 3. `tests/mpi/corruption.rs` runs every registered kernel by itself; give it a case in the family's own test file for what is
//!    particular to it (official verification values, bad parameters).
//!
//! # Variants
//! The driver derives them: **Single** runs the kernel on one random rank with a team of one while the others sleep;
//! **Star** runs it on every rank at once, each with a team of one, and joins the figures by [`Metric::star`]; **Mpi** runs it
//! once over all ranks. The kernel only ever sees its [`Team`].
//!
//! # Errors
//! An `Err` may come from one rank alone only before the team communicates again. Inside a kernel, wrap local fallible work
//! with `team.agree(result)?`: it gives every rank the same outcome. The driver does that around each phase.
//!
//! # Files
//! Files go under `setup.scratch_dir()`; name them through `janitor::TempPath`, which removes them on drop and
//! however else the rank ends.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Result;
use crate::result::Row;
use crate::setup::Setup;
use crate::svg::Chart;
use crate::team::Team;

/// Who runs the kernel.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// One random rank, the others idle.
    Single,
    /// Every rank for itself, at the same time.
    Star,
    /// All ranks together.
    Mpi,
}

impl Variant {
    /// As written in the JSON and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Star => "star",
            Self::Mpi => "mpi",
        }
    }
}

/// Groups of kernels; each is a folder and a `suite`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// HPC Challenge.
    Hpcc,
    /// NAS Parallel Benchmarks.
    Npb,
    /// OSU-like MPI micro benchmarks.
    Osu,
    /// File and metadata I/O.
    Io,
    /// Noise, CPU and network matrix: what the others do not show.
    Micro,
}

/// How the figures of the ranks of a Star run become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// Arithmetic mean.
    Mean,
    /// The slowest rank counts.
    Min,
    /// The largest figure counts (latencies, noise).
    Max,
    /// Aggregate throughput.
    Sum,
}

/// One figure that a kernel reports.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Key in the JSON: `gflops`, `triad`.
    pub name: &'static str,
    /// `GF/s`, `GB/s`, `us`: SI prefixes, powers of ten unless the unit says MiB.
    pub unit: &'static str,
    /// True where more is better; decides the verdict of `compare`.
    pub higher_is_better: bool,
    /// Rule for the Star variant.
    pub star: Join,
}

impl Metric {
    /// A rate: higher is better, mean over ranks in Star.
    #[must_use]
    pub const fn rate(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit, higher_is_better: true, star: Join::Mean }
    }

    /// A duration or another cost: lower is better, the worst rank counts in Star.
    #[must_use]
    pub const fn cost(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit, higher_is_better: false, star: Join::Max }
    }

    /// The same metric with another rule for Star.
    #[must_use]
    pub const fn star(self, star: Join) -> Self {
        Self { star, ..self }
    }
}

/// A parameter that `--param name=value` sets.
#[derive(Debug, Clone, Copy)]
pub struct Param {
    /// As typed.
    pub name: &'static str,
    /// Meaning, unit, range and default in one line.
    pub help: &'static str,
}

/// What the registry knows of a kernel without running it.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Unique; lower case, digits and `-`.
    pub name: &'static str,
    /// Folder and suite.
    pub family: Family,
    /// One line for `list`.
    pub summary: &'static str,
    /// Where formula and criterion come from: `HPCC 1.5.0 HPL`.
    pub source: &'static str,
    /// Variants that make sense, in the order they are run.
    pub variants: &'static [Variant],
    /// Fewest ranks of a team: 2 for point-to-point kernels.
    pub min_ranks: i32,
    /// Every metric that `report` may return.
    pub metrics: &'static [Metric],
    /// Every parameter that `setup` may ask for.
    pub params: &'static [Param],
}

/// Raw numbers of one timed run, mostly seconds, in the kernel's own order. Only rank 0's copy of a team is reported.
#[derive(Debug, Clone, PartialEq)]
pub struct Lap(pub Vec<f64>);

/// One figure of one lap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Name of a [`Metric`] of the kernel's spec.
    pub metric: String,
    /// In the metric's unit.
    pub value: f64,
    /// What distinguishes this row from others of the same metric: `{"bytes": 8}`. Empty mostly.
    pub params: BTreeMap<String, Value>,
}

impl Reading {
    /// A figure that needs no further distinction.
    #[must_use]
    pub fn new(metric: &str, value: f64) -> Self {
        Self { metric: metric.to_owned(), value, params: BTreeMap::new() }
    }

    /// The same figure with one more distinguishing parameter.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.params.insert(key.to_owned(), value.into());
        self
    }
}

/// Verdict on one lap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// May the figure be shown?
    pub passed: bool,
    /// The original's scaled residual, error fraction or deviation; `None` where the check is exact.
    pub residual: Option<f64>,
    /// The criterion in words, with the numbers: `residual 0.003 < 16`.
    pub detail: String,
}

impl Check {
    /// Passes when `residual <= limit` (a NaN fails).
    #[must_use]
    pub fn at_most(what: &str, residual: f64, limit: f64) -> Self {
        let passed = residual <= limit;
        let detail = format!("{what} {residual:.3e}, limit {limit:.3e}");
        Self { passed, residual: Some(residual), detail }
    }

    /// An exact comparison: how many elements differ from what they must be.
    #[must_use]
    pub fn exact(what: &str, wrong: u64) -> Self {
        Self { passed: wrong == 0, residual: None, detail: format!("{what}: {wrong} wrong") }
    }
}

/// Facts beyond the metrics that reports of the original's form need: `{"rnorm_inf": 1e-12}`.
pub type Facts = BTreeMap<String, Value>;

/// One benchmark. See the module's guide.
pub trait Kernel: Sized + 'static {
    /// What the registry shows.
    const SPEC: Spec;

    /// Checks parameters, chooses sizes, allocates. Collective over the team.
    ///
    /// # Errors
    /// A parameter out of range, not enough memory, a missing path.
    fn setup(setup: &Setup<'_>) -> Result<Self>;

    /// Sizes in effect, for the `params` of the result: everything that a repetition needs.
    fn params(&self) -> Facts;

    /// One timed run on fresh input. Collective over the team.
    ///
    /// # Errors
    /// What the system refuses (files, memory).
    fn run(&mut self, team: &Team) -> Result<Lap>;

    /// Judges the result of the last [`Kernel::run`]. Collective over the team.
    ///
    /// # Errors
    /// What the system refuses; a wrong result is a [`Check`] that did not pass, not an error.
    fn verify(&mut self, team: &Team) -> Result<Check>;

    /// From raw seconds to figures. Pure.
    fn report(&self, lap: &Lap) -> Vec<Reading>;

    /// Damages the result so that [`Kernel::verify`] must fail. Called between run and verify by tests only.
    fn corrupt(&mut self, team: &Team);

    /// Facts for reports in the original's form, after a verified lap. Only rank 0's are used.
    fn facts(&self) -> Facts {
        Facts::new()
    }

    /// Text in the original's own form (`# Size  Latency (us)`), printed instead of the table. From verified rows only.
    #[must_use]
    fn render(_rows: &[Row]) -> Option<String> {
        None
    }

    /// Pictures for `--svg`; without any, the driver draws the samples of each row. From verified rows only.
    #[must_use]
    fn charts(_rows: &[Row]) -> Vec<Chart> {
        Vec::new()
    }
}
