//! IOR's JSON summary: the keys that users' tools read. Values of phases whose data were wrong are null. Pure.

use serde_json::{Map, Value, json};

use super::session::{Done, Options};
use super::table::{self, World, spread};
use super::walk::{Random, Reorder};

/// What the document says beside the figures.
#[derive(Debug, Clone)]
pub struct Head<'a> {
    /// Time of the beginning.
    pub began: &'a str,
    /// Time of the end.
    pub finished: &'a str,
    /// Command line.
    pub command: &'a str,
    /// Host.
    pub machine: &'a str,
    /// `-v`, times.
    pub verbose: u8,
}

/// The whole document.
#[must_use]
pub fn document(options: &Options, done: &[Done], world: World, head: &Head<'_>) -> Value {
    let list = table::options(options, world.ranks, world.per_node);
    let shown: Map<String, Value> =
        list.into_iter().map(|(name, value)| (name.to_owned(), number_or_text(name, &value))).collect();
    let summaries: Vec<Value> =
        [true, false].iter().filter_map(|&write| summary(options, done, world, write)).collect();
    json!({
        "Version": format!("trimtab-bench {}", env!("CARGO_PKG_VERSION")),
        "Began": head.began,
        "Command line": head.command,
        "Machine": head.machine,
        "tests": [{
            "TestID": 0,
            "StartTime": head.began,
            "Parameters": parameters(options, world, head),
            "Options": shown,
            "Results": done.iter().map(|d| result(options, d)).collect::<Vec<_>>(),
        }],
        "summary": summaries,
        "Finished": head.finished,
    })
}

/// Counts are numbers in IOR's document, everything else is text.
fn number_or_text(name: &str, value: &str) -> Value {
    let counts = ["segments", "task offset", "nodes", "tasks", "clients per node", "repetitions"];
    match value.parse::<u64>() {
        Ok(number) if counts.contains(&name) => number.into(),
        _ => value.into(),
    }
}

fn flag(value: bool) -> Value {
    u8::from(value).into()
}

fn parameters(options: &Options, world: World, head: &Head<'_>) -> Value {
    let test = &options.test;
    let files: Vec<String> = options.files.iter().map(|f| f.display().to_string()).collect();
    let (shuffled, seed) = match test.reorder {
        Reorder::Random { seed, .. } => (1, seed),
        Reorder::Shuffled { seed } => (2, seed),
        Reorder::None | Reorder::Constant(_) => (0, 0),
    };
    let random = match test.random {
        None => 0,
        Some((Random::Shuffled, _)) => 1,
        Some((Random::Anywhere, _)) => 2,
    };
    json!({
        "testID": 0,
        "refnum": world.reference,
        "api": test.access.api(),
        "platform": format!("{}(Linux)", head.machine),
        "testFileName": files.join("@"),
        "deadlineForStonewall": test.stonewall.deadline.map_or(0.0, |d| d.as_secs_f64()),
        "stoneWallingWearOut": flag(test.stonewall.wear_out),
        "maxTimeDuration": options.max_time.map_or(0, |d| d.as_secs() / 60),
        "nodes": world.ranks.div_ceil(world.per_node),
        "tasksPerNode": world.per_node,
        "repetitions": options.repetitions,
        "multiFile": flag(options.multi_file),
        "interTestDelay": options.delay.as_secs(),
        "fsync": flag(test.fsync),
        "fsyncperwrite": flag(test.fsync_each),
        "useExistingTestFile": flag(options.use_existing),
        "uniqueDir": flag(test.unique_dir),
        "readFile": flag(options.read),
        "writeFile": flag(options.write),
        "filePerProc": flag(test.file_per_process),
        "reorderTasks": flag(matches!(test.reorder, Reorder::Constant(_))),
        "reorderTasksRandom": shuffled,
        "reorderTasksRandomSeed": seed,
        "randomOffset": random,
        "checkWrite": flag(options.check_write),
        "checkRead": flag(options.check_read),
        "keepFile": flag(options.keep),
        "keepFileWithError": flag(options.keep_with_error),
        "verbose": head.verbose,
        "setTimeStampSignature/incompressibleSeed": options.signature.unwrap_or(0),
        "collective": flag(test.access.is_collective()),
        "useO_DIRECT": flag(test.access.is_direct()),
        "pageCache": options.cache.name(),
        "segmentCount": test.segments,
        "transferSize": test.transfer,
        "blockSize": test.block,
    })
}

fn result(options: &Options, done: &Done) -> Value {
    let phase = &done.phase;
    let shown = |value: f64| if done.valid { json!(value) } else { Value::Null };
    json!({
        "access": if done.write { "write" } else { "read" },
        "bwMiB": shown(phase.mib_per_second()),
        "blockKiB": options.test.block as f64 / 1024.0,
        "xferKiB": options.test.transfer as f64 / 1024.0,
        "iops": shown(phase.iops()),
        "latency": shown(phase.latency),
        "openTime": shown(phase.open),
        "wrRdTime": shown(phase.transfer),
        "closeTime": shown(phase.close),
        "totalTime": shown(phase.seconds),
        "pageCache": done.page_cache,
        "verified": done.valid,
    })
}

fn summary(options: &Options, done: &[Done], world: World, write: bool) -> Option<Value> {
    let bandwidth = spread(done, write, |d| d.phase.mib_per_second())?;
    let seconds = spread(done, write, |d| d.phase.seconds)?;
    let test = &options.test;
    let per_mib = (1u64 << 20) as f64 / test.transfer as f64;
    let offset = match test.reorder {
        Reorder::Constant(nodes) | Reorder::Random { nodes, .. } => nodes,
        Reorder::None | Reorder::Shuffled { .. } => 1,
    };
    let parameters =
        parameters(options, world, &Head { began: "", finished: "", command: "", machine: "", verbose: 0 });
    let mut summary = json!({
        "operation": if write { "write" } else { "read" },
        "API": test.access.api(),
        "TestID": 0,
        "ReferenceNumber": world.reference,
        "numTasks": world.ranks,
        "taskPerNodeOffset": offset,
        "bwMaxMIB": bandwidth.max,
        "bwMinMIB": bandwidth.min,
        "bwMeanMIB": bandwidth.mean,
        "bwStdMIB": bandwidth.deviation,
        "OPsMax": bandwidth.max * per_mib,
        "OPsMin": bandwidth.min * per_mib,
        "OPsMean": bandwidth.mean * per_mib,
        "OPsSD": bandwidth.deviation * per_mib,
        "MeanTime": seconds.mean,
        "xsizeMiB": (test.block * test.segments * world.ranks) as f64 / (1u64 << 20) as f64,
    });
    let same = [
        "segmentCount",
        "blockSize",
        "transferSize",
        "tasksPerNode",
        "repetitions",
        "filePerProc",
        "reorderTasks",
        "reorderTasksRandom",
        "reorderTasksRandomSeed",
    ];
    for key in same {
        summary[key] = parameters[key].clone();
    }
    Some(summary)
}
