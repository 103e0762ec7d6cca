//! `cargo xtask demo`: packages, build, then the scenario program takes over this process.
//!
//! May not: hold anything that would need cleaning up when the scenario starts; it cleans up after itself, on every way
//! out, and has the terminal and the signals from then on.

use crate::setup::{self, Consent, Purpose};
use crate::{cmd, workspace};
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Refuse, in one sentence, instead of installing missing system packages
    #[arg(long)]
    no_install: bool,
    /// Install missing system packages without asking (asked only on a terminal)
    #[arg(long, short)]
    yes: bool,
    /// Write the arms, gains and decisions there as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Further arguments for `trimtab-scenario demo`
    #[arg(last = true, value_name = "ARGS")]
    rest: Vec<String>,
}

/// Entry point of the command. Comes back only with an error.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    setup::ensure(&[Purpose::Host], Consent { yes: args.yes, no_install: args.no_install, dry_run: false })?;
    let mut scenario = scenario("demo")?;
    if let Some(file) = &args.json {
        scenario.arg("--json").arg(std::path::absolute(file)?);
    }
    scenario.args(&args.rest);
    Err(cmd::become_program(&mut scenario))
}

/// Build the daemon, its control program and the scenario program; the command line of the latter.
pub(crate) fn scenario(name: &str) -> Result<Command> {
    if !cmd::is_root() {
        bail!("a private libvirt host needs root for its namespaces: run this as root");
    }
    println!("Building trimtabd, trimtabctl and the scenarios");
    let mut build = workspace::cargo();
    build.args(["build", "--release", "--locked", "-p", "trimtabd", "-p", "trimtab-tests", "--bins"]);
    // What a tick costs is measured by an example, because what is no binary is not installed.
    build.args(["--example", "sample_cost"]);
    cmd::shown_ok(&mut build)?;
    let mut command = Command::new(workspace::target_dir().join("release/trimtab-scenario"));
    command.arg(name);
    Ok(command)
}
