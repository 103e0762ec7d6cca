//! `cargo xtask bench [GROUP]`: measure the promised numbers, each printed beside its bound.
//!
//! May not: measure anything itself; each group is a program that does.

use crate::setup::{self, Consent, Purpose};
use crate::{cmd, demo, workspace};
use anyhow::{Context, Result};
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
}

/// Groups of numbers, as in docs/SPECIFICATION.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Group {
    /// The control loop on a real libvirt host
    Loop,
}

impl Group {
    fn name(self) -> &'static str {
        match self {
            Group::Loop => "loop",
        }
    }
}

/// Entry point of the command. Exit code 1 when a bound is missed.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let groups = args.group.map_or_else(|| Group::value_variants().to_vec(), |group| vec![group]);
    let mut rows = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for group in groups {
        let part = workspace::target_dir().join(format!("bench-{}.json", group.name()));
        let status = match group {
            Group::Loop => {
                setup::ensure(
                    &[Purpose::Host],
                    Consent { no_install: args.no_install, ..Consent::default() },
                )?;
                cmd::shown(demo::scenario("bench")?.arg("--json").arg(&part))?
            }
        };
        if !status.success() {
            code = cmd::exit_code(status);
        }
        if part.exists() {
            rows.extend(read(&part)?);
        }
    }
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&rows)?;
        fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(code)
}

fn read(part: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(part).with_context(|| format!("cannot read {}", part.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not a list of numbers", part.display()))
}
