//! The mirror: originals, what the admin has taken over, the decisions whose trial runs, and those that the disk has not
//! taken yet, in one small file on tmpfs.
//!
//! Knobs are live, they die with the host, so their originals need not survive a reboot: a file in memory is as good as
//! a disk for them, and it neither blocks nor fills when the disk does. Written whole to a new file and renamed, so it is
//! always one version or the next. The copy in memory is the truth of the running daemon whether there is a file or not.
//!
//! The same file makes a decision safe before its knobs are turned, and its verdict after: a daemon that is killed while
//! the disk holds up the journal leaves no turned knob that the next start would take for a kept one. And an override is in
//! it before the original that it makes needless is not, so that no start finds a knob of the admin's without either.
//!
//! Which copy is right at start? Every start of the store has a number (`run`), kept in the journal and in the mirror. The
//! mirror is written before the journal, so it is right unless a later run did without it (its number is then lower).

use crate::error::StoreError;
use crate::rows::{DecisionRow, OriginalRow, OverrideRow, checksum};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Name of the mirror in the runtime directory.
const FILE: &str = "originals.json";
/// Decisions kept while the disk does not take them: the newest, and whatever is open.
const MAX_DECISIONS: usize = 256;
const FORMAT: u32 = 1;

/// Originals by guest and knob.
pub(crate) type Originals = BTreeMap<(String, String), OriginalRow>;

/// What the admin has taken over, by guest and family.
pub(crate) type Overrides = BTreeMap<(String, String), OverrideRow>;

/// The file's content.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Content {
    format: u32,
    /// The journal that it belongs to.
    journal: PathBuf,
    /// Number of the run that wrote it.
    pub(crate) run: i64,
    /// Highest decision number ever given.
    pub(crate) last_decision: u64,
    /// Every original in force.
    pub(crate) originals: Vec<OriginalRow>,
    /// Every override in force; absent in files of daemons that left them to the journal.
    #[serde(default)]
    pub(crate) overrides: Option<Vec<OverrideRow>>,
    /// Decisions that are open, or were not in the journal when this was written.
    pub(crate) decisions: Vec<DecisionRow>,
}

impl Content {
    /// What the journal says, where the mirror is absent or older.
    pub(crate) fn of(originals: Vec<OriginalRow>) -> Self {
        Self { originals, ..Self::default() }
    }
}

/// State in memory and, where there is a runtime directory, its file.
#[derive(Debug)]
pub(crate) struct Mirror {
    file: Option<PathBuf>,
    journal: PathBuf,
    pub(crate) run: i64,
    pub(crate) last_decision: u64,
    pub(crate) originals: Originals,
    pub(crate) overrides: Overrides,
    /// Decisions whose trial runs, and closed ones that are not committed.
    decisions: BTreeMap<u64, DecisionRow>,
    /// Why the file could not be written last time.
    pub(crate) problem: Option<String>,
}

impl Mirror {
    /// The mirror of `journal` in `dir` and what an earlier run left in it, if that is readable.
    pub(crate) fn open(dir: Option<&Path>, journal: &Path) -> (Self, Option<Content>) {
        let mut mirror = Self {
            file: dir.map(|dir| dir.join(FILE)),
            journal: journal.to_owned(),
            run: 0,
            last_decision: 0,
            originals: Originals::new(),
            overrides: Overrides::new(),
            decisions: BTreeMap::new(),
            problem: None,
        };
        let Some(file) = mirror.file.clone() else { return (mirror, None) };
        let mut left = read(&file);
        if left.as_ref().is_some_and(|left| left.journal != mirror.journal) {
            // That of another journal, whose daemon may still need it.
            let sum = checksum([&*journal.to_string_lossy()]);
            let own = file.with_file_name(format!("originals-{sum:016x}.json"));
            left = read(&own).filter(|left| left.journal == mirror.journal);
            mirror.file = Some(own);
        }
        (mirror, left)
    }

    /// The file, while it can be relied on.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref().filter(|_| self.problem.is_none())
    }

    /// Takes a decision in, or its newer version. Not in the file before the next [`Mirror::write`].
    pub(crate) fn enter(&mut self, row: DecisionRow) {
        self.last_decision = self.last_decision.max(row.id);
        self.decisions.insert(row.id, row);
        while self.decisions.len() > MAX_DECISIONS {
            // Open ones stay: there are never more of them than trials that run.
            let Some(closed) = self.decisions.values().find(|row| !row.is_pending()).map(|row| row.id) else {
                break;
            };
            self.decisions.remove(&closed);
        }
    }

    /// These are in the journal now, so closed ones are not needed here. The file sheds them when it is written next:
    /// until then it says what the journal says.
    pub(crate) fn committed<'a>(&mut self, rows: impl Iterator<Item = &'a DecisionRow>) {
        for row in rows.filter(|row| !row.is_pending()) {
            if self.decisions.get(&row.id) == Some(row) {
                self.decisions.remove(&row.id);
            }
        }
    }

    /// Decisions whose trial runs, oldest first.
    pub(crate) fn open_decisions(&self) -> impl Iterator<Item = &DecisionRow> {
        self.decisions.values().filter(|row| row.is_pending())
    }

    /// Writes the file. Whether it can be relied on afterwards.
    pub(crate) fn write(&mut self) -> bool {
        let Some(file) = self.file.clone() else { return false };
        let content = Content {
            format: FORMAT,
            journal: self.journal.clone(),
            run: self.run,
            last_decision: self.last_decision,
            originals: self.originals.values().cloned().collect(),
            overrides: Some(self.overrides.values().cloned().collect()),
            decisions: self.decisions.values().cloned().collect(),
        };
        match replace(&file, &content) {
            Ok(()) => {
                self.problem = None;
                true
            }
            Err(error) => {
                // An old version must not be taken for the truth at the next start.
                let _ = fs::remove_file(&file);
                let line = error.line();
                tracing::warn!(error = line, "mirror of the originals not written");
                self.problem = Some(line);
                false
            }
        }
    }
}

/// What is in the file. One that cannot be read counts as absent: the journal's copy is used then.
fn read(file: &Path) -> Option<Content> {
    let content = match fs::read(file) {
        Ok(bytes) => serde_json::from_slice::<Content>(&bytes).map_err(|error| error.to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => Err(error.to_string()),
    };
    match content {
        Ok(content) if content.format == FORMAT => Some(content),
        Ok(content) => {
            tracing::warn!(file = %file.display(), format = content.format, "mirror of another format, not read");
            None
        }
        Err(error) => {
            tracing::warn!(file = %file.display(), error, "mirror not readable, the journal's originals are used");
            None
        }
    }
}

fn replace(file: &Path, content: &Content) -> Result<(), StoreError> {
    let fail = |action: &'static str| move |source| StoreError::Io { path: file.to_owned(), action, source };
    let new = file.with_extension("json.new");
    let bytes = serde_json::to_vec(content).map_err(|error| fail("encode the originals")(error.into()))?;
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir).map_err(fail("make its directory"))?;
    }
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut out| out.write_all(&bytes).and_then(|()| out.sync_data()))
        .and_then(|()| fs::rename(&new, file));
    written.map_err(|error| {
        let _ = fs::remove_file(&new);
        fail("write the originals")(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(id: u64, verdict: &str) -> DecisionRow {
        DecisionRow { id, verdict: verdict.to_owned(), ..DecisionRow::default() }
    }

    #[test]
    fn closed_decisions_are_kept_until_they_are_committed_and_open_ones_until_their_verdict() {
        let (mut mirror, _) = Mirror::open(None, Path::new("j"));
        mirror.enter(decision(1, "pending"));
        mirror.committed([decision(1, "pending")].iter());
        assert_eq!(mirror.open_decisions().count(), 1);
        mirror.enter(decision(1, "reverted"));
        // A version that was on its way to the disk when the verdict fell.
        mirror.committed([decision(1, "kept")].iter());
        assert_eq!((mirror.decisions.len(), mirror.open_decisions().count()), (1, 0));
        mirror.committed([decision(1, "reverted")].iter());
        assert!(mirror.decisions.is_empty() && mirror.last_decision == 1);
    }

    #[test]
    fn the_oldest_closed_decisions_go_when_there_are_too_many() {
        let (mut mirror, _) = Mirror::open(None, Path::new("j"));
        mirror.enter(decision(1, "pending"));
        (2..=MAX_DECISIONS as u64 + 3).for_each(|id| mirror.enter(decision(id, "kept")));
        let left: Vec<u64> = mirror.decisions.keys().copied().take(2).collect();
        assert_eq!((mirror.decisions.len(), left), (MAX_DECISIONS, vec![1, 5]));
    }
}
