//! `cargo xtask`: set up, test, demonstrate, measure and package Trimtab with one command each.
//!
//! May not: need anything but a Rust toolchain to build (no MPI, libclang or libvirt), nor know what a guest is: the
//! scenarios, hosts and measurements live in tests/ and mpi-bench/, this program only brings them up.

mod bench;
mod cmd;
mod demo;
mod dist;
mod mpi;
mod setup;
mod test;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Build, test, demonstrate, measure and package Trimtab.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install the system packages that the other commands need (Debian 12/13, Ubuntu 24.04)
    Setup(setup::Args),
    /// Run every check: format, lints, licences, dependency rules, unit and live tests
    Test(test::Args),
    /// Show Trimtab at work on a private, real libvirt host: the noisy-neighbour scenario
    Demo(demo::Args),
    /// Measure the promised numbers of docs/SPECIFICATION.md and print each beside its bound
    Bench(bench::Args),
    /// Make the Debian package of the daemon, target/dist/trimtab_VERSION_ARCH.deb
    Dist(dist::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Setup(args) => setup::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Dist(args) => dist::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}
