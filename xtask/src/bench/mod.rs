//! `cargo xtask bench [GROUP]`: measure the promised numbers, each printed beside its bound.
//!
//! May not: measure anything itself; each group is a program that does.

mod hpcc;
mod io;
mod npb;
mod openblas;
mod rows;

use crate::setup::{self, Consent, Purpose};
use crate::{cmd, demo, workspace};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::{Value, json};
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
    /// Pairs of runs in groups hpcc, npb and io
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Order of HPL's matrix in group hpcc, from which its other sizes follow; the bounds are for 8000
    #[arg(long, value_name = "N", default_value_t = 8000, value_parser = clap::value_parser!(u32).range(256..))]
    order: u32,
    /// For group npb: where your NPB programs of class A are (cg.A.x, or cg.A.1 and cg.A.2)
    #[arg(long, value_name = "DIR")]
    npb: Option<PathBuf>,
    /// For group io: your IOR, built with the distribution's Open MPI
    #[arg(long, value_name = "PROGRAM")]
    ior: Option<PathBuf>,
    /// For group io: your iozone
    #[arg(long, value_name = "PROGRAM")]
    iozone: Option<PathBuf>,
    /// In group io: where the files are made, 1 GiB at a time (default: below target/)
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Groups of numbers, as in docs/SPECIFICATION.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Group {
    /// The control loop on a real libvirt host
    Loop,
    /// trimtab-bench against the distribution's HPC Challenge
    Hpcc,
    /// trimtab-bench against your NPB (--npb)
    Npb,
    /// trimtab-bench against your IOR and iozone (--ior, --iozone)
    Io,
}

impl Group {
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Stands for the rows that a group does not have.
    fn failed(self) -> Value {
        json!({"name": format!("group {}", self.name()), "value": null, "bound": null, "unit": "1", "pass": false})
    }
}

impl Args {
    /// The rows of a group, and whether every bound is met.
    fn measure(&self, group: Group) -> Result<(Vec<Value>, bool)> {
        let consent = Consent { no_install: self.no_install, ..Consent::default() };
        match group {
            Group::Loop => control_loop(consent),
            Group::Hpcc => {
                setup::ensure(&[Purpose::Mpi, Purpose::Hpcc], consent)?;
                hpcc::run(hpcc::Scale { pairs: self.pairs, n: self.order })
            }
            Group::Npb => {
                setup::ensure(&[Purpose::Mpi], consent)?;
                npb::run(self.npb.as_deref().context("--npb DIR was not given")?, self.pairs)
            }
            Group::Io => {
                setup::ensure(&[Purpose::Mpi], consent)?;
                let programs = io::Programs { ior: self.ior.as_deref(), iozone: self.iozone.as_deref() };
                io::run(programs, self.dir.as_deref(), self.pairs)
            }
        }
    }

    /// The user's programs that a group compares with are not in any distribution: what is to be given, if it was not.
    fn lacks(&self, group: Group) -> Option<&'static str> {
        match group {
            Group::Npb if self.npb.is_none() => Some("--npb DIR"),
            Group::Io if self.ior.is_none() && self.iozone.is_none() => {
                Some("--ior PROGRAM or --iozone PROGRAM")
            }
            _ => None,
        }
    }

    /// Without a name all groups that can be measured with what was given.
    fn groups(&self) -> Result<Vec<Group>> {
        let Some(group) = self.group else {
            let (lacking, there): (Vec<_>, Vec<_>) =
                Group::value_variants().iter().partition(|group| self.lacks(**group).is_some());
            for group in lacking {
                println!(
                    "Group {group:?} is left out: {} was not given",
                    self.lacks(group).unwrap_or_default()
                );
            }
            return Ok(there);
        };
        match self.lacks(group) {
            Some(option) => bail!("group {} needs {option}", group.name()),
            None => Ok(vec![group]),
        }
    }
}

/// Entry point of the command. Exit code 1 when a bound is missed or a group could not be measured; the other groups are all the
/// same, and the JSON is written anew after each.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut rows = Vec::new();
    let mut all_met = true;
    for group in args.groups()? {
        let (new, met) = args.measure(group).unwrap_or_else(|error| {
            eprintln!("error: group {}: {error:#}", group.name());
            (vec![group.failed()], false)
        });
        // Not the next one after Ctrl-C in this one.
        cmd::SignalGuard::take().check()?;
        rows.extend(new);
        all_met &= met;
        if let Some(file) = &args.json {
            let text = serde_json::to_string_pretty(&rows)?;
            fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    Ok(if all_met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The scenario program prints its own table; its rows come back as a file, which it writes after each part.
fn control_loop(consent: Consent) -> Result<(Vec<Value>, bool)> {
    setup::ensure(&[Purpose::Host], consent)?;
    let part = workspace::target_dir().join("bench-loop.json");
    // What an earlier run left is no value of this one.
    if part.exists() {
        fs::remove_file(&part).with_context(|| format!("cannot remove {}", part.display()))?;
    }
    let status = cmd::shown(demo::scenario("bench")?.arg("--json").arg(&part))?;
    if matches!(status.code(), Some(0 | 1)) {
        return Ok((read(&part)?, status.success()));
    }
    let mut rows = if part.exists() { read(&part)? } else { Vec::new() };
    eprintln!("error: the loop bench ended early ({status})");
    rows.push(Group::Loop.failed());
    Ok((rows, false))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn args(group: Option<Group>, npb: Option<&str>) -> Args {
        let npb = npb.map(PathBuf::from);
        let none = None;
        Args {
            group,
            json: None,
            no_install: true,
            pairs: 5,
            order: 8000,
            npb,
            ior: none.clone(),
            iozone: none.clone(),
            dir: none,
        }
    }

    #[test]
    fn groups_without_their_programs_are_left_out_or_refused() {
        let groups = args(None, Some("/npb")).groups().expect("groups");
        assert_eq!(groups, [Group::Loop, Group::Hpcc, Group::Npb]);
        let error = args(Some(Group::Io), None).groups().expect_err("no programs");
        assert_eq!(error.to_string(), "group io needs --ior PROGRAM or --iozone PROGRAM");
        assert_eq!(args(Some(Group::Hpcc), None).groups().expect("groups"), [Group::Hpcc]);
    }

    #[test]
    fn a_group_that_cannot_be_measured_is_a_row_that_missed() {
        let row = Group::Npb.failed();
        assert!(row["value"].is_null() && row["pass"] == false && row["name"] == "group npb");
    }
}
