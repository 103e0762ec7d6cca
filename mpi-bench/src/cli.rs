//! The command line: parses it, starts MPI where it is needed, runs, prints on rank 0, turns errors into exit codes.
//! No measuring here. Everything that goes wrong is said once, by rank 0.

mod args;
mod ior;
mod iozone;
mod launch;
mod report;
mod suites;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use crate::error::{Exit, Result};
use crate::{compare, print, registry};
use args::{Cli, Command};

/// Runs the program; the exit code is the contract of [`Exit`].
#[must_use]
pub fn main() -> ExitCode {
    let speaks = launch::rank_from_environment() == 0;
    let parsed = ior::expand_directives(std::env::args_os()).and_then(Cli::try_parse_from);
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Clap's own texts for --help and --version also come as errors, with exit code 0.
            if !error.use_stderr() {
                if speaks {
                    let _ = error.print();
                }
                return code(Exit::Verified);
            }
            // In one piece: launchers mix words of their own into what comes in several.
            let text = error.render().to_string();
            speak_first(speaks, || eprint!("{text}"));
            return code(Exit::Usage);
        }
    };
    match dispatch(cli, speaks) {
        Ok(exit) => code(exit),
        Err(error) => {
            speak_first(speaks, || eprintln!("trimtab-bench: {error}"));
            code(error.exit())
        }
    }
}

/// Rank 0 speaks; the others leave it the time to: launchers end the job when the first rank fails.
fn speak_first(speaks: bool, words: impl FnOnce()) {
    if speaks {
        words();
    } else {
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn dispatch(cli: Cli, speaks: bool) -> Result<Exit> {
    match cli.command {
        Command::List { json } => {
            if speaks {
                print::out(&print::list(&registry::all(), json));
            }
            Ok(Exit::Verified)
        }
        Command::Run { names, options } => launch::run(&suites::by_name(&names)?, &options),
        Command::Suite { suite, input, output, options } => {
            launch::run(&suites::of(suite, input, output), &options)
        }
        Command::Ior(args) => ior::run(&args),
        Command::Iozone(args) => iozone::run(&args),
        Command::Compare { files, baseline, svg } => {
            let comparison = compare::compare(&compare::read(&files)?, baseline.as_deref())?;
            if speaks {
                print::out(&comparison.text);
                for chart in svg.iter().flat_map(|dir| comparison.charts.iter().map(move |c| (dir, c))) {
                    chart.1.write(chart.0)?;
                }
            }
            Ok(Exit::Verified)
        }
    }
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}
