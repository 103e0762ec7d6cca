//! `trimtabctl`: the admin's view of trimtabd and its levers.
//!
//! May not: see anything of the daemon but its D-Bus API, through `trimtabd::dbus::proxy`.

mod actions;
mod agent;
mod cli;
mod cpus;
mod decisions;
mod exit;
#[cfg(test)]
mod golden;
mod guests;
mod json;
mod manual;
mod notes;
mod output;
mod status;
mod table;
mod text;
mod top;

use agent::PasswordAgent;
use clap::Parser;
use cli::{Cli, Command, PolicyCommand};
use exit::Failure;
use output::Output;
use std::process::ExitCode;
use trimtabd::dbus::proxy::Client;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.json, cli.color);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output.fail(&Failure::failed(format!("no runtime: {error}"))),
    };
    match runtime.block_on(run(&cli, &output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.fail(&failure),
    }
}

async fn run(cli: &Cli, output: &Output) -> Result<(), Failure> {
    let connect = || Client::connect(&cli.bus);
    let _agent = cli.command.changes_something().then(|| PasswordAgent::start(&cli.bus));
    match &cli.command {
        Command::Status => status::show(&connect().await?, output, &cli.bus).await,
        Command::Guests => guests::list(&connect().await?, output).await,
        Command::Guest { guest } => guests::show(&connect().await?, output, guest).await,
        Command::Decisions(wanted) => decisions::list(&connect().await?, output, wanted).await,
        Command::Notes(wanted) => notes::list(&connect().await?, output, wanted).await,
        Command::Explain { id } => decisions::explain(&connect().await?, output, *id).await,
        Command::Revert { id } => actions::revert(&connect().await?, output, *id).await,
        Command::Restore { guest, .. } => actions::restore(&connect().await?, output, guest.as_deref()).await,
        Command::Mode { mode } => actions::mode(&connect().await?, output, *mode).await,
        Command::Pause => actions::pause(&connect().await?, output).await,
        Command::Resume => actions::resume(&connect().await?, output).await,
        Command::Reload => actions::reload(&connect().await?, output).await,
        Command::Policy(PolicyCommand::Show) => actions::policy_show(&connect().await?, output).await,
        Command::Top(args) => top::run(&cli.bus, output, args).await,
        Command::Completions { shell } => manual::completions(*shell),
        Command::Man { dir } => manual::man(dir.as_deref()),
    }
}
