//! What a run leaves behind: its JSON, pictures and hpccoutf.txt. Rank 0 writes; what the figures are is the driver's.
//!
//! The JSON is on disk after every outcome, marked as unfinished: a run of hours may end by a limit that gives no notice.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::args::RunOptions;
use crate::driver::{Finished, Item};
use crate::error::{Error, Exit, Result};
use crate::host;
use crate::kernels::hpcc::report;
use crate::result::{Document, Outcome};
use crate::setup::Size;
use crate::svg;
use crate::team::Team;

/// In the meta data of a file that a run has not finished.
const UNFINISHED: &str = "unfinished";

/// The files of one run.
pub(super) struct Report<'a> {
    options: &'a RunOptions,
    hpcc_output: Option<&'a Path>,
    document: Document,
}

impl<'a> Report<'a> {
    /// Nothing is written yet.
    pub(super) fn new(
        world: &Team,
        items: &[Item],
        options: &'a RunOptions,
        auto_bytes: u64,
        hpcc_output: Option<&'a Path>,
    ) -> Self {
        let mut meta = host::meta();
        let stem =
            options.json.as_deref().and_then(Path::file_stem).map(|s| s.to_string_lossy().into_owned());
        let size = items.first().map_or(Size::Auto, |i| i.size).to_string();
        for (key, value) in [
            ("label", json!(options.label.clone().or(stem))),
            ("seed", json!(options.seed)),
            ("size", json!(size)),
            ("auto_bytes_per_rank", json!(auto_bytes)),
            ("warmup_laps", json!(options.warmup)),
            ("world_size", json!(world.size())),
            (UNFINISHED, json!(true)),
        ] {
            meta.insert(key.to_owned(), value);
        }
        Self { options, hpcc_output, document: Document { meta, results: Vec::new() } }
    }

    /// Adds an outcome to the JSON. That this cannot be written is said at the end, when it counts.
    pub(super) fn add(&mut self, outcome: &Outcome) {
        self.document.results.extend(outcome.rows.iter().cloned());
        if let Some(path) = &self.options.json {
            let _ = self.document.write(path);
        }
    }

    /// Writes everything, on rank 0. Collective: every rank contributes its part of the meta data.
    ///
    /// # Errors
    /// The first file that cannot be written; the others are written all the same.
    pub(super) fn finish(mut self, world: &Team, finished: &Finished) -> Result<()> {
        let mine = serde_json::to_vec(&host::rank_meta(world.rank())).unwrap_or_default();
        let ranks = world.gather_bytes(&mine);
        // A mistyped parameter must not replace the results of an earlier run by none.
        let nothing = finished.outcomes.is_empty() && finished.exit == Exit::Usage;
        if !world.is_root() || nothing {
            return Ok(());
        }
        let ranks = ranks.iter().filter_map(|bytes| serde_json::from_slice::<Value>(bytes).ok());
        let meta = &mut self.document.meta;
        meta.remove(UNFINISHED);
        meta.insert("ranks".to_owned(), ranks.collect());
        meta.insert("counters".to_owned(), json!(finished.counters));
        let json = self.options.json.as_deref().map_or(Ok(()), |path| self.document.write(path));
        let pictures = self.draw(finished);
        let hpcc = self.hpcc_output.map_or(Ok(()), |path| append_hpcc(path, world, finished));
        json.and(pictures).and(hpcc)
    }

    fn draw(&self, finished: &Finished) -> Result<()> {
        let Some(directory) = &self.options.svg else { return Ok(()) };
        finished
            .outcomes
            .iter()
            .flat_map(svg::charts_of)
            .try_for_each(|chart| chart.write(directory).map(drop))
    }
}

/// Finds out before a run of hours whether this file can be written after it. What is there stays as it is.
///
/// # Errors
/// It cannot.
pub(super) fn try_writing(path: &Path) -> Result<()> {
    let new = !path.exists();
    File::options().append(true).create(true).open(path).map_err(Error::io("open", path))?;
    if new { std::fs::remove_file(path).map_err(Error::io("remove", path)) } else { Ok(()) }
}

fn append_hpcc(path: &Path, world: &Team, finished: &Finished) -> Result<()> {
    let host = host::hostname().unwrap_or_default();
    let now = jiff::Timestamp::now().to_string();
    let text = report::text(&finished.outcomes, world.size(), &host, &now);
    let mut file = File::options().create(true).append(true).open(path).map_err(Error::io("open", path))?;
    file.write_all(text.as_bytes()).map_err(Error::io("write", path))
}
