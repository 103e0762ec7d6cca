//! The driver: runs kernels of a plan in their variants, repeats laps, joins ranks, and withholds what did not verify.
//! It knows no kernel by name and prints nothing but progress; results go to the caller.

mod laps;
mod progress;
mod repeat;
mod rows;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

pub use laps::corruption_wanted;
pub use repeat::Repeat;

use crate::counters::Counters;
use crate::error::{Error, Exit, Kind, Result};
use crate::host;
use crate::kernel::Variant;
use crate::registry::Entry;
use crate::result::Outcome;
use crate::rng::Rng;
use crate::setup::{ParamMap, Setup, Size};
use crate::team::Team;
use progress::Progress;

/// What holds for every kernel of a run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Variants wanted; `None` means each kernel's own list.
    pub variants: Option<Vec<Variant>>,
    /// When enough laps have been run.
    pub repeat: Repeat,
    /// Laps run and thrown away first.
    pub warmup: u32,
    /// Seed of every choice that is random.
    pub seed: u64,
    /// Longest time that one phase (set up, one lap, one verification) may take; `None`: no limit.
    pub timeout: Option<Duration>,
    /// Where kernels put files.
    pub scratch_dir: PathBuf,
    /// Bytes per rank of [`Size::Auto`]: the same for all kernels and variants of a run.
    pub auto_bytes: u64,
}

/// One kernel to run.
#[derive(Clone)]
pub struct Item {
    /// The kernel.
    pub entry: Entry,
    /// Its size.
    pub size: Size,
    /// Parameters; may hold names of other kernels.
    pub params: ParamMap,
    /// Part of a suite: left out where it does not run on so many ranks, which else ends the run.
    pub optional: bool,
}

/// What the whole run came to. Outcomes and counters are filled on rank 0 only; `exit` is the same on every rank.
#[derive(Debug)]
pub struct Finished {
    /// One per kernel and variant.
    pub outcomes: Vec<Outcome>,
    /// Counter deltas per kernel and variant, for the JSON's meta.
    pub counters: Vec<Value>,
    /// Exit code. The first of these that applies: [`Exit::Usage`], a wrong parameter ended the run; [`Exit::Environment`], a
    /// kernel could not run; [`Exit::VerificationFailed`]; [`Exit::Verified`].
    pub exit: Exit,
}

/// Runs the items one after the other; `show` gets each outcome on rank 0 as soon as it is known.
///
/// An error of the environment ends that kernel only, a wrong parameter all that come after it. Either is handed to `complain`
/// on rank 0 and remembered in the exit code; what was finished before is in the answer. What a suite has to leave out is only
/// handed to `complain`.
///
/// # Errors
/// Usage errors that show before anything runs: a parameter that no item knows, a variant that no item has, too few ranks.
pub fn run(
    world: &Team,
    items: &[Item],
    options: &Options,
    mut show: impl FnMut(&Outcome),
    mut complain: impl FnMut(&str),
) -> Result<Finished> {
    check_usage(world, items, options)?;
    let runs: Vec<(&Item, Variant)> =
        items.iter().flat_map(|i| variants(i, options).into_iter().map(move |v| (i, v))).collect();
    let mut progress = Progress::new(world.is_root(), runs.len());
    let mut finished = Finished { outcomes: Vec::new(), counters: Vec::new(), exit: Exit::Verified };
    let mut rng = Rng::new(options.seed);
    for (item, variant) in runs {
        let single_rank = i32::try_from(rng.below(world.len() as u64)).unwrap_or_default();
        progress.begin(item.entry.spec.name, variant);
        let counters = Counters::start();
        let run = laps::Run { world, item, variant, single_rank, options };
        match run.execute() {
            Ok(outcome) => {
                finished.counters.extend(counter_entry(world, &outcome, counters));
                if !outcome.verified && finished.exit == Exit::Verified {
                    finished.exit = Exit::VerificationFailed;
                }
                if world.is_root() {
                    progress.suspend(|| show(&outcome));
                    finished.outcomes.push(outcome);
                }
            }
            Err(error) => {
                let left_out = item.optional && error.kind() == Kind::Unfit;
                let text = if left_out { format!("left out: {error}") } else { error.to_string() };
                if world.is_root() {
                    progress.suspend(|| complain(&text));
                }
                if !left_out {
                    finished.exit = error.exit();
                }
            }
        }
        progress.end();
        if finished.exit == Exit::Usage {
            break;
        }
    }
    Ok(finished)
}

/// The variants of an item that are wanted.
fn variants(item: &Item, options: &Options) -> Vec<Variant> {
    let own = item.entry.spec.variants;
    own.iter()
        .copied()
        .filter(|v| options.variants.as_ref().is_none_or(|wanted| wanted.contains(v)))
        .collect()
}

fn check_usage(world: &Team, items: &[Item], options: &Options) -> Result<()> {
    for item in items {
        let spec = item.entry.spec;
        if world.size() < spec.min_ranks {
            return Err(Error::Usage(format!(
                "{} needs at least {} ranks, there are {} (start it with mpirun -n {})",
                spec.name,
                spec.min_ranks,
                world.size(),
                spec.min_ranks
            )));
        }
        if !item.optional && variants(item, options).is_empty() {
            let own: Vec<&str> = spec.variants.iter().map(|v| v.name()).collect();
            return Err(Error::Usage(format!("{} has no such variant, only {}", spec.name, own.join(", "))));
        }
        for name in item.params.keys() {
            let known = items.iter().any(|i| {
                let spec = i.entry.spec;
                let bare =
                    name.strip_prefix(spec.name).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name);
                spec.params.iter().any(|p| p.name == bare)
            });
            if !known {
                return Err(Error::Usage(format!(
                    "--param {name}: no kernel of this run has that parameter"
                )));
            }
        }
    }
    if items.iter().all(|item| variants(item, options).is_empty()) {
        return Err(Error::Usage("no kernel of this suite has such a variant".to_owned()));
    }
    Ok(())
}

/// Counter deltas of all ranks for one outcome; `None` on ranks other than 0.
fn counter_entry(world: &Team, outcome: &Outcome, counters: Counters) -> Option<Value> {
    let mine = serde_json::to_vec(&counters.delta()).unwrap_or_default();
    let all = world.gather_bytes(&mine);
    world.is_root().then(|| {
        let ranks: Vec<Value> = all.iter().filter_map(|bytes| serde_json::from_slice(bytes).ok()).collect();
        // A counter that one rank lacks has no sum.
        let sum = |key: &String| ranks.iter().map(|rank| rank[key].as_f64()).sum::<Option<f64>>();
        let keys = ranks.first().and_then(Value::as_object).into_iter().flat_map(Map::keys);
        let sums: Map<String, Value> = keys.filter_map(|key| Some((key.clone(), json!(sum(key)?)))).collect();
        json!({"name": outcome.spec.name, "variant": outcome.variant, "sum_over_ranks": sums, "ranks": ranks})
    })
}

/// Builds the kernel's view of the run for this rank's team.
fn setup_for<'a>(run: &laps::Run<'a>, team: &'a Team, free_bytes_per_rank: u64) -> Setup<'a> {
    Setup {
        team,
        variant: run.variant,
        seed: run.options.seed,
        spec: run.item.entry.spec,
        size: run.item.size,
        params: &run.item.params,
        auto_bytes: run.options.auto_bytes,
        free_bytes_per_rank,
        scratch_dir: &run.options.scratch_dir,
    }
}

/// Free memory of the smallest node divided by its ranks, the same on every rank. Collective.
///
/// # Errors
/// /proc/meminfo cannot be read on some rank.
pub fn free_bytes_per_rank(world: &Team) -> Result<u64> {
    let ranks_here = world.node().len() as u64;
    let free = world.agree(host::free_memory_bytes())?;
    Ok(world.min_u64(free / ranks_here))
}
