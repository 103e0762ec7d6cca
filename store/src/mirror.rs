//! The mirror: originals, and decisions that the disk has not taken yet, in one small file on tmpfs.
//!
//! Knobs are live, they die with the host, so their originals need not survive a reboot: a file in memory is as good as
//! a disk for them, and it neither blocks nor fills when the disk does. Written whole to a new file and renamed, so it is
//! always one version or the next. The copy in memory is the truth of the running daemon whether there is a file or not.
//!
//! Which copy is right at start? Every start of the store has a number (`run`), kept in the journal and in the mirror. The
//! mirror is written before the journal, so it is right unless a later run did without it (its number is then lower).

use crate::error::StoreError;
use crate::rows::{DecisionRow, OriginalRow, checksum};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Name of the mirror in the runtime directory.
const FILE: &str = "originals.json";
/// Newest decisions kept in the file while the disk does not take them.
const MAX_DECISIONS: usize = 256;
const FORMAT: u32 = 1;

/// Originals by guest and knob.
pub(crate) type Originals = BTreeMap<(String, String), OriginalRow>;

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
    /// Decisions that are not in the journal yet.
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
    /// Decisions whose trial runs. Only in memory, for a journal that is damaged while it is in use.
    pub(crate) open: BTreeMap<u64, DecisionRow>,
    waiting: Vec<DecisionRow>,
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
            open: BTreeMap::new(),
            waiting: Vec::new(),
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

    /// Replaces the list of decisions that wait for the disk; the file is only written when that changes it.
    pub(crate) fn set_waiting(&mut self, newest_first: impl Iterator<Item = DecisionRow>) {
        let waiting: Vec<_> = newest_first.take(MAX_DECISIONS).collect();
        if waiting != self.waiting {
            self.waiting = waiting;
            self.write();
        }
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
            decisions: self.waiting.clone(),
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
