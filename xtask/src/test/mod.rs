//! `cargo xtask test`: every check of the project in one run, quiet unless something fails.
//!
//! Order: cheap and most often broken first; the live tests, which start real hosts, last and one at a time. Nothing is
//! left out silently: what cannot run is counted as skipped and says why, and `--require-live` makes that a failure.
//! May not: know what any test tests.

mod leftovers;
mod report;
mod steps;

use crate::cmd;
use crate::setup::{self, Consent, Purpose};
use anyhow::Result;
use report::Totals;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Instant;
use steps::{Kind, Step};

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only tests whose name contains this (format, lint and licence checks are then left out)
    filter: Option<String>,
    /// A live or MPI test that cannot run here is a failure, not a skip
    #[arg(long)]
    require_live: bool,
    /// Install nothing: what lacks its packages is skipped
    #[arg(long)]
    no_install: bool,
    /// Leave the live tests out
    #[arg(long, conflicts_with = "require_live")]
    no_live: bool,
    /// Leave trimtab-bench and its two MPI libraries out
    #[arg(long, conflicts_with = "require_live")]
    no_mpi: bool,
}

/// Entry point of the command.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    prepare(args)?;
    let mut totals = Totals::default();
    let before = leftovers::Before::now();
    let signals = cmd::SignalGuard::take();
    for step in steps::all(args)? {
        signals.check()?;
        run_step(step, &mut totals)?;
    }
    let left = before.left();
    totals.count(left.is_empty());
    if !left.is_empty() {
        println!("FAILED nothing left behind\n{}", left.join("\n"));
    }
    for (name, why) in &totals.skipped {
        println!("skipped {name}: {why}");
    }
    let refused = args.require_live && !totals.skipped.is_empty();
    if refused {
        println!("--require-live: the skipped ones count as failed");
        totals.failed += std::mem::take(&mut totals.skipped).len();
    }
    println!("{totals}");
    Ok(if totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Bring in packages where we may; without them the tests that need them say so.
fn prepare(args: &Args) -> Result<()> {
    let mut purposes = Vec::new();
    if !args.no_live {
        purposes.push(Purpose::Host);
    }
    if !args.no_mpi {
        purposes.push(Purpose::Mpi);
    }
    let consent = Consent { yes: false, no_install: args.no_install, dry_run: false };
    match setup::ensure(&purposes, consent) {
        Err(error) if args.require_live => Err(error),
        Err(error) => {
            println!("note: {error:#}");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

fn run_step(step: Step, totals: &mut Totals) -> Result<()> {
    let (name, kind, mut command) = match step {
        Step::Skip { name, why } => {
            totals.skipped.push((name, why));
            return Ok(());
        }
        Step::Run { name, kind, command } => (name, kind, command),
    };
    let line = cmd::line(&command);
    let started = Instant::now();
    let terminal = std::io::stderr().is_terminal();
    if terminal {
        eprint!("...    {name}");
    }
    let said = cmd::capture(&mut command)?;
    if terminal {
        // Back to the line's beginning, and clear it.
        eprint!("\r\x1b[K");
    }
    let seconds = started.elapsed().as_secs_f64();
    let mut here = Totals::default();
    match kind {
        Kind::Build if said.ok => {}
        Kind::Build | Kind::Check => here.count(said.ok),
        Kind::Tests => here.read(&said.out, &said.err, said.ok),
    }
    let verdict = if said.ok { "ok    " } else { "FAILED" };
    let tests = if kind == Kind::Tests { format!(", {here}") } else { String::new() };
    println!("{verdict} {name} ({seconds:.1} s{tests})");
    if !said.ok {
        println!("$ {line}\n{}{}", said.out, said.err);
    }
    totals.add(here);
    Ok(())
}
