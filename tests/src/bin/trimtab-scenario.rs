//! `trimtab-scenario demo|bench`: the noisy-neighbour demonstration and the `loop` bench, on a private real libvirt host.
//!
//! Called by `cargo xtask demo` and `cargo xtask bench loop`. Needs root. Leaves nothing behind, also on Ctrl-C.

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use trimtab_tests::scenario::{bench, demo};
use trimtab_tests::{Testbed, testbed};

/// Scenarios on a private, real libvirt host.
#[derive(Parser)]
#[command(name = "trimtab-scenario", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the noisy neighbour untouched, under Trimtab and under the best static configuration
    Demo {
        /// Write the arms, gains and decisions there as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Where the report goes [default: target/demo/report.html]
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
    },
    /// Measure the control loop's promised numbers, each beside its bound; exit status 1 when one is missed
    Bench {
        /// Write [{"name","value","bound","unit","pass"}] there
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Only these parts
        #[arg(long, value_enum, value_name = "PART")]
        part: Vec<bench::Part>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(missing) = Testbed::available() {
        eprintln!("error: {missing}");
        return ExitCode::from(2);
    }
    if let Err(error) = testbed::interrupt::take_down_on_signals() {
        eprintln!("error: {error}");
        return ExitCode::from(2);
    }
    let result = match &cli.command {
        Command::Demo { json, report } => {
            let default = testbed::image::target_dir().join("demo/report.html");
            demo::run(json.as_deref(), report.as_deref().unwrap_or(&default)).map(|()| true)
        }
        Command::Bench { json, part } => bench::run(json.as_deref(), part),
    };
    testbed::interrupt::wait_if_interrupted();
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
