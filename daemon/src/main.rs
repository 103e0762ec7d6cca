//! `trimtabd`: reads the command line, sets the parts up and runs the loop. May not: contain anything else.

use anyhow::Context as _;
use clap::Parser as _;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use trimtabd::{cli::Cli, config, setup::read_config, setup::run_daemon};

/// Bad configuration or usage; clap uses the same.
const EXIT_CONFIG: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr();
    let config = match read_config(&cli) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("trimtabd: {error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if cli.check_config {
        return ExitCode::SUCCESS;
    }
    match serve(cli, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trimtabd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(cli: Cli, config: config::Config) -> anyhow::Result<()> {
    // One thread: the loop only computes, everything that waits is asynchronous, and a tick competes with nobody.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(run_daemon(cli, config))
}

/// The service manager adds times by itself; a human at a terminal gets them, and colours.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("TRIMTAB_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let terminal = std::io::stderr().is_terminal();
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.with_ansi(false).without_time().init();
    } else {
        log.with_ansi(terminal).init();
    }
}
