//! `cargo xtask bench [GROUP]`: measure the promised numbers, each printed beside its bound.
//!
//! May not: measure anything itself; each group is a program that does.

mod hpcc;
mod npb;
mod openblas;
mod rows;

use crate::setup::{self, Consent, Purpose};
use crate::{cmd, demo, workspace};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which numbers; without it all of them
    #[arg(value_enum)]
    group: Option<Group>,
    /// Write [{"name","value","bound","unit","pass"}] there
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Refuse, in one sentence, instead of installing missing system packages
    #[arg(long)]
    no_install: bool,
    /// Pairs of runs in group hpcc
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Order of HPL's matrix in group hpcc, from which its other sizes follow; the bounds are for 8000
    #[arg(long, value_name = "N", default_value_t = 8000, value_parser = clap::value_parser!(u32).range(256..))]
    order: u32,
    /// In group hpcc also the NPB programs of class A in DIR (cg.A.x, or cg.A.1 and cg.A.2) against trimtab-bench
    #[arg(long, value_name = "DIR")]
    npb: Option<PathBuf>,
}

/// Groups of numbers, as in docs/SPECIFICATION.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Group {
    /// The control loop on a real libvirt host
    Loop,
    /// trimtab-bench against the distribution's HPC Challenge
    Hpcc,
}

/// Entry point of the command. Exit code 1 when a bound is missed.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let groups = args.group.map_or_else(|| Group::value_variants().to_vec(), |group| vec![group]);
    let consent = Consent { no_install: args.no_install, ..Consent::default() };
    let mut rows = Vec::new();
    let mut all_met = true;
    for group in groups {
        let (new, met) = match group {
            Group::Loop => control_loop(consent)?,
            Group::Hpcc => {
                setup::ensure(&[Purpose::Mpi, Purpose::Hpcc], consent)?;
                hpcc::run(hpcc::Scale { pairs: args.pairs, n: args.order })?
            }
        };
        rows.extend(new);
        all_met &= met;
        if let (Group::Hpcc, Some(dir)) = (group, &args.npb) {
            let (new, met) = npb::run(dir, args.pairs)?;
            rows.extend(new);
            all_met &= met;
        }
    }
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&rows)?;
        fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(if all_met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The scenario program prints its own table; its rows come back as a file.
fn control_loop(consent: Consent) -> Result<(Vec<Value>, bool)> {
    setup::ensure(&[Purpose::Host], consent)?;
    let part = workspace::target_dir().join("bench-loop.json");
    let status = cmd::shown(demo::scenario("bench")?.arg("--json").arg(&part))?;
    match status.code() {
        Some(0 | 1) => Ok((read(&part)?, status.success())),
        _ => bail!("the loop bench ended early ({status})"),
    }
}

fn read(part: &Path) -> Result<Vec<Value>> {
    match read_json(part)? {
        Value::Array(rows) => Ok(rows),
        _ => bail!("{} is not a list of numbers", part.display()),
    }
}

/// A program's report.
fn read_json(file: &Path) -> Result<Value> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))
}
