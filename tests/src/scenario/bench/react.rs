//! How soon a change of load is answered with a kept decision.

use super::{Bench, Bound, Sheet};
use crate::scenario::Result;
use crate::scenario::arms::SETTLE;
use crate::scenario::rig::{NOISY, WEIGHTED};
use crate::trimtab::{Start, Trimtab};
use std::time::{Duration, Instant};

/// Longest wait for it.
const LIMIT: Duration = Duration::from_secs(90);
const KEPT: &str = "load change to kept decision";

pub(super) fn sheet() -> Sheet {
    Sheet::default().with(KEPT, Bound::AtMost(30.0), "s")
}

/// From a change of load to the first decision kept after it.
pub(super) fn measure(bench: &Bench, sheet: &mut Sheet) -> Result<()> {
    bench.rig.weigh(WEIGHTED)?;
    bench.rig.load(["idle", "cpu:2", "cpu:2"])?;
    let trimtab = Trimtab::start(bench.rig.host(), &Start::mode("enforce"))?;
    bench.progress.step("the writer idles");
    std::thread::sleep(SETTLE + Duration::from_secs(15));
    let known: Vec<u64> = trimtab.decisions()?.iter().map(|d| d.id).collect();
    bench.rig.load(NOISY)?;
    let start = Instant::now();
    bench.progress.step("the writer writes: waiting for a kept decision");
    let mut kept = None;
    while kept.is_none() && start.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(250));
        let helped = trimtab.decisions()?.into_iter().any(|d| d.verdict == "kept" && !known.contains(&d.id));
        kept = helped.then(|| start.elapsed().as_secs_f64());
    }
    sheet.fill(KEPT, kept);
    Ok(trimtab.stop()?)
}
