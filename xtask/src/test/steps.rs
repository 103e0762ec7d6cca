//! Which checks there are, found in the workspace: a new test file needs no line here.
//!
//! May not: run them.

use super::Args;
use crate::{cmd, mpi, workspace};
use anyhow::{Context, Result};
use serde_json::Value;
use std::process::Command;

/// The package whose `live_*` tests start real hosts.
const TESTBED: &str = "trimtab-tests";
/// The package that needs an MPI library to build.
const MPI: &str = "trimtab-bench";

/// One thing to do.
pub(super) enum Step {
    /// Run it.
    Run {
        /// For people.
        name: String,
        /// How its output counts.
        kind: Kind,
        /// What to run.
        command: Command,
    },
    /// It cannot run here.
    Skip {
        /// For people.
        name: String,
        /// Why not.
        why: String,
    },
}

/// How the output of a step counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only a failure counts.
    Build,
    /// Counts as one.
    Check,
    /// Counts as the tests that it reports.
    Tests,
}

/// All steps, in order.
pub(super) fn all(args: &Args) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    if args.filter.is_none() {
        checks(&mut steps);
    }
    let live = live_targets()?;
    unit(&mut steps, args, &live);
    if !args.no_mpi {
        with_mpi(&mut steps, args);
    }
    if !args.no_live {
        for target in &live {
            let mut command = cargo(&["test", "--locked", "-p", TESTBED, "--test", target, "--"]);
            command.args(&args.filter).arg("--test-threads=1");
            if args.require_live {
                command.env("TRIMTAB_REQUIRE_LIVE", "1");
            }
            steps.push(Step::Run { name: format!("live tests: {target}"), kind: Kind::Tests, command });
        }
    }
    Ok(steps)
}

/// Format, lints, licences.
fn checks(steps: &mut Vec<Step>) {
    steps.push(check("rustfmt", cargo(&["fmt", "--all", "--check"])));
    let mut clippy = cargo(&["clippy", "--locked", "--workspace", "--exclude", MPI, "--all-targets"]);
    clippy.args(["--", "-D", "warnings"]);
    steps.push(check("clippy", clippy));
    if workspace::in_path("cargo-deny") {
        let deny = cargo(&["deny", "--offline", "check", "bans", "licenses", "sources"]);
        steps.push(check("cargo-deny", deny));
    } else {
        // Not a skip: what it checks changes only with Cargo.lock, and `--require-live` does not need it.
        println!("note: cargo-deny is not installed, licences of dependencies not checked");
    }
}

/// Unit, property, rule and doc tests, and the programs that the live tests start.
fn unit(steps: &mut Vec<Step>, args: &Args, live: &[String]) {
    let programs = cargo(&["build", "--locked", "-p", "trimtabd", "-p", TESTBED, "--bins"]);
    steps.push(Step::Run { name: "build of the programs".into(), kind: Kind::Build, command: programs });
    let mut all = cargo(&["test", "--locked", "--workspace", "--no-fail-fast"]);
    all.args(["--exclude", MPI, "--exclude", TESTBED, "--"]).args(&args.filter);
    steps.push(tests("unit, property, rule and doc tests", all));
    let mut bed = cargo(&["test", "--locked", "-p", TESTBED, "--lib", "--bins", "--no-fail-fast"]);
    for target in test_targets().unwrap_or_default().iter().filter(|target| !live.contains(target)) {
        bed.args(["--test", target]);
    }
    bed.arg("--").args(&args.filter);
    steps.push(tests("tests of the testbed", bed));
}

/// What is the same with any MPI library, and long: whether a kernel sees that its own result was damaged. Run with the last one,
/// whose launcher is the quicker one.
const ANY_LIBRARY: &str = "damaged_every_kernel_is_caught";

/// trimtab-bench with each MPI library, each in its own build directory. Lints and unit tests once: they call no MPI.
fn with_mpi(steps: &mut Vec<Step>, args: &Args) {
    let mut first = true;
    let last = mpi::LIBRARIES.iter().rposition(|library| library.usable().is_ok());
    for (number, library) in mpi::LIBRARIES.iter().enumerate() {
        let name = format!("trimtab-bench with {}", library.name);
        if let Err(why) = library.usable() {
            steps.push(Step::Skip { name, why });
            continue;
        }
        if args.filter.is_none() && first {
            let mut clippy = cargo(&["clippy", "--locked", "-p", MPI, "--all-targets"]);
            library.apply(&mut clippy);
            clippy.args(["--", "-D", "warnings"]);
            steps.push(check(&format!("clippy of {name}"), clippy));
        }
        let mut test = cargo(&["test", "--locked", "-p", MPI, "--no-fail-fast"]);
        if !std::mem::take(&mut first) {
            test.args(["--test", "*"]);
        }
        library.apply(&mut test);
        // One job at a time: ranks spin while they wait, and on fewer cores than ranks each message then costs a time slice.
        test.args(["--", "--test-threads=1"]).args(&args.filter);
        if last != Some(number) {
            test.args(["--skip", ANY_LIBRARY]);
        }
        steps.push(tests(&name, test));
    }
}

fn cargo(words: &[&str]) -> Command {
    let mut command = workspace::cargo();
    command.args(words);
    command
}

fn check(name: &str, command: Command) -> Step {
    Step::Run { name: name.to_owned(), kind: Kind::Check, command }
}

fn tests(name: &str, command: Command) -> Step {
    Step::Run { name: name.to_owned(), kind: Kind::Tests, command }
}

/// Test files of the testbed that start real hosts.
fn live_targets() -> Result<Vec<String>> {
    Ok(test_targets()?.into_iter().filter(|name| name.starts_with("live_")).collect())
}

/// Test files of the testbed, from cargo itself.
fn test_targets() -> Result<Vec<String>> {
    let text = cmd::output(&mut cargo(&["metadata", "--no-deps", "--offline", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata without packages")?;
    let testbed = packages.iter().find(|package| package["name"] == TESTBED);
    let targets = testbed.and_then(|package| package["targets"].as_array()).context("no testbed package")?;
    let tests = targets.iter().filter(|target| target["kind"][0] == "test");
    Ok(tests.filter_map(|target| target["name"].as_str().map(str::to_owned)).collect())
}
