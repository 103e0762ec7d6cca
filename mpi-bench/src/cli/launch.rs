//! From parsed options to a finished run: watchdog, MPI, driver, output. All MPI ranks pass through here together.

use std::path::Path;
use std::time::Duration;

use mpi::Threading;

use super::args::RunOptions;
use super::report::{Report, try_writing};
use super::suites::Selection;
use crate::driver::{self, Item, Options};
use crate::error::{Error, Exit, Result};
use crate::result::Document;
use crate::team::Team;
use crate::{janitor, print, setup, watchdog};

/// This process's rank as the launcher's environment tells it before MPI is started; 0 without a launcher.
pub(super) fn rank_from_environment() -> i32 {
    ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"]
        .iter()
        .find_map(|name| std::env::var(name).ok()?.parse().ok())
        .unwrap_or(0)
}

/// So many processes the launcher says that it has started, in the variables of Hydra and of Open MPI. Slurm's own is left out:
/// what a job script starts alone has it too.
fn started_together() -> Option<i32> {
    ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"].iter().find_map(|name| std::env::var(name).ok()?.parse().ok())
}

/// Refuses ranks that do not know of one another: each would measure as if it were alone, beside the others, and write the same
/// files.
fn check_company(ranks: i32) -> Result<()> {
    match started_together() {
        Some(started) if started > 1 && ranks == 1 => Err(Error::Environment(format!(
            "the launcher started {started} processes, but each is alone to MPI: the launcher does not speak the protocol \
             of the MPI library that this program was built with. Use that library's own launcher; for the MPICH of \
             Ubuntu 24.04, which was built for PMIx, mpirun.openmpi"
        ))),
        _ => Ok(()),
    }
}

/// Runs a selection.
///
/// # Errors
/// Only those that every rank has by itself, for the caller to print.
pub(super) fn run(selection: &Selection, options: &RunOptions) -> Result<Exit> {
    with_mpi(options.timeout.0, |world| run_on(world, selection, options))
}

/// Starts the watchdog and MPI, runs `body` on all ranks and says on rank 0 what went wrong, before any rank ends: launchers
/// stop the others then.
///
/// # Errors
/// Only those that every rank has by itself, for the caller to print.
pub(super) fn with_mpi(timeout: Option<Duration>, body: impl FnOnce(&Team) -> Result<Exit>) -> Result<Exit> {
    // While there is one thread.
    janitor::start()?;
    watchdog::start(rank_from_environment())?;
    watchdog::phase("the start of MPI", timeout);
    // The level of the originals' MPI_Init: above it Open MPI locks, which is a third of the latency of a small message. The
    // watchdog's threads never call MPI.
    let Some((_universe, _)) = mpi::initialize_with_threading(Threading::Single) else {
        return Err(Error::Environment("MPI did not start".to_owned()));
    };
    let world = Team::new(mpi::topology::SimpleCommunicator::world());
    check_company(world.size())?;
    let exit = match body(&world) {
        Ok(exit) => exit,
        Err(error) => {
            if world.is_root() {
                eprintln!("trimtab-bench: {error}");
            }
            error.exit()
        }
    };
    watchdog::finished(exit, timeout);
    world.barrier();
    Ok(exit)
}

/// The run proper. Errors are the same on every rank.
pub(super) fn run_on(world: &Team, selection: &Selection, options: &RunOptions) -> Result<Exit> {
    world.agree(check_paths(world, options, selection.hpcc_output()))?;
    let items = items(selection, options, world)?;
    let auto_bytes = setup::auto_bytes(driver::free_bytes_per_rank(world)?);
    let mut report = Report::new(world, &items, options, auto_bytes, selection.hpcc_output());
    let finished = driver::run(
        world,
        &items,
        &Options {
            variants: options.variant.clone(),
            repeat: options.repeat_rule(),
            warmup: options.warmup,
            seed: options.seed,
            timeout: options.timeout.0,
            scratch_dir: options.dir.clone(),
            auto_bytes,
        },
        |outcome| {
            print::out(&print::outcome(outcome));
            report.add(outcome);
        },
        |words| eprintln!("trimtab-bench: {words}"),
    )?;
    watchdog::phase("the report", options.timeout.0);
    world.agree(report.finish(world, &finished))?;
    Ok(finished.exit)
}

/// The kernels with their sizes; those that a suite cannot run on so few ranks are named.
fn items(selection: &Selection, options: &RunOptions, world: &Team) -> Result<Vec<Item>> {
    let params = options.param_map()?;
    let chosen = selection.choose(options.size, &params, world)?;
    if world.is_root() {
        for remark in &chosen.remarks {
            eprintln!("trimtab-bench: {remark}");
        }
        for entry in &chosen.left_out {
            eprintln!("trimtab-bench: left out: {}: needs {} ranks", entry.spec.name, entry.spec.min_ranks);
        }
    }
    if chosen.items.is_empty() {
        return Err(Error::Usage(format!("no kernel of this suite runs on {} ranks", world.size())));
    }
    Ok(chosen.items)
}

/// Fails before the run rather than after it: the directory must exist on every rank, what is to be written be writable on rank 0.
fn check_paths(world: &Team, options: &RunOptions, hpcc_output: Option<&Path>) -> Result<()> {
    let directory = |option: &str, path: &Path| match path.is_dir() {
        true => Ok(()),
        false => Err(Error::Usage(format!("{option}: {} is not a directory", path.display()))),
    };
    directory("--dir", &options.dir)?;
    if !world.is_root() {
        return Ok(());
    }
    if let Some(svg) = &options.svg {
        directory("--svg", svg)?;
    }
    if let Some(json) = &options.json {
        match json.parent() {
            Some(parent) if parent != Path::new("") => directory("--json", parent)?,
            _ => {}
        }
        try_writing(&Document::part(json))?;
    }
    hpcc_output.map_or(Ok(()), try_writing)
}
