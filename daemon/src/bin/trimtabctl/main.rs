//! `trimtabctl`: the admin's view of trimtabd and its levers.
//!
//! May not: see anything of the daemon but its D-Bus API, through `trimtabd::dbus::proxy`.

mod actions;
mod cli;
mod decisions;
mod exit;
mod guests;
mod json;
mod output;
mod status;
mod table;
mod text;

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
    let client = Client::connect(&cli.bus).await?;
    match &cli.command {
        Command::Status => status::show(&client, output, &cli.bus).await,
        Command::Guests => guests::list(&client, output).await,
        Command::Guest { guest } => guests::show(&client, output, guest).await,
        Command::Decisions(wanted) => decisions::list(&client, output, wanted).await,
        Command::Explain { id } => decisions::explain(&client, output, *id).await,
        Command::Revert { id } => actions::revert(&client, output, *id).await,
        Command::Restore { guest, .. } => actions::restore(&client, output, guest.as_deref()).await,
        Command::Mode { mode } => actions::mode(&client, output, *mode).await,
        Command::Pause => actions::pause(&client, output).await,
        Command::Resume => actions::resume(&client, output).await,
        Command::Reload => actions::reload(&client, output).await,
        Command::Policy(PolicyCommand::Show) => actions::policy_show(&client, output).await,
    }
}
