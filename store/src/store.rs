//! The handle: takes rows at once, answers questions later, and knows when originals are safe.

use crate::error::{Fault, StoreError};
use crate::file::{self, JOURNAL, Lock};
use crate::health::Health;
use crate::mirror::{Content, Mirror, Originals};
use crate::pending::Pending;
use crate::read::Reader;
use crate::rows::{DecisionRow, LessonRow, NoteRow, OriginalRow, OverrideRow, SampleRow};
use crate::writer::{Barrier, Shared, What, Writer, locked};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Smallest size limit: below it nothing useful fits beside the write-ahead log.
pub(crate) const MIN_BYTES: u64 = 8 << 20;

/// Where the journal is and how large it may get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Directory of `journal.db`; made if need be.
    pub state_dir: PathBuf,
    /// Directory on tmpfs for the mirror of originals, overrides and open decisions; without one each new of these waits for
    /// the disk.
    pub runtime_dir: Option<PathBuf>,
    /// Bound of all files of the journal together, bytes; at least 8 MiB (smaller counts as that). Damaged files moved
    /// aside come on top.
    pub max_bytes: u64,
    /// Samples older than this go, days.
    pub samples_days: u32,
    /// Closed decisions and notes older than this go, days; the newest 100 stay.
    pub decisions_days: u32,
    /// Samples are gathered this long before they are written.
    pub gather: Duration,
    /// Time between attempts while writing fails.
    pub retry: Duration,
    /// Time between two checks of the whole file, for damage where nobody reads. 64 MiB take 0.2 s of CPU (2026-11-20).
    pub check: Duration,
    /// How long a caller waits for the disk, where it waits at all, before it goes on without.
    pub patience: Duration,
}

impl Options {
    /// The defaults for a journal in `state_dir`, without a mirror: 64 MiB, samples 30 days, decisions a year.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            runtime_dir: None,
            max_bytes: 64 << 20,
            samples_days: 30,
            decisions_days: 365,
            gather: Duration::from_secs(5),
            retry: Duration::from_secs(5),
            check: Duration::from_secs(600),
            patience: Duration::from_secs(2),
        }
    }
}

/// What an earlier run left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// Originals in force.
    pub originals: Vec<OriginalRow>,
    /// Decisions whose trial was running, oldest first.
    pub pending: Vec<DecisionRow>,
    /// Lessons.
    pub lessons: Vec<LessonRow>,
    /// What the admin has taken over.
    pub overrides: Vec<OverrideRow>,
    /// Highest decision number ever given, 0 if none was.
    pub last_decision: u64,
    /// What the admin should be told, e.g. that a damaged file was moved aside.
    pub said: Vec<String>,
}

/// The journal, open. Dropping it writes what waits, within a bound.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    options: Options,
    finished: Mutex<Receiver<()>>,
}

impl Store {
    /// Opens the journal and reads what an earlier run left. A damaged file is moved aside and a new one begun; a disk that
    /// cannot be written is no error, [`Store::health`] says so and writing is tried again.
    ///
    /// # Errors
    /// `InUse`, `Newer`, or `Io` when the state directory cannot be made, opened or locked, or no thread started.
    pub fn open(options: Options) -> Result<(Self, Loaded), StoreError> {
        let options = Options { max_bytes: options.max_bytes.max(MIN_BYTES), ..options };
        let lock = Lock::take(&options.state_dir)?;
        let journal = options.state_dir.join(JOURNAL);
        let (mut mirror, left) = Mirror::open(options.runtime_dir.as_deref(), &journal);
        let opened = file::open(&journal, options.max_bytes, None)?;
        let known = opened.known;
        let left = left.filter(|left| left.run >= known.run).unwrap_or_else(|| Content::of(known.originals));

        mirror.run = known.run.max(left.run) + 1;
        mirror.originals = left.originals.into_iter().map(|row| (row.key(), row)).collect();
        let overrides = left.overrides.unwrap_or(known.overrides);
        mirror.overrides = overrides.into_iter().map(|row| (row.key(), row)).collect();
        let mut pending = Pending::default();
        pending.decisions.extend(left.decisions.into_iter().map(|row| (row.id, row)));
        mirror.last_decision = known.last_decision.max(left.last_decision);
        // What the mirror says of a decision is newer.
        known
            .pending
            .into_iter()
            .chain(pending.decisions.values().cloned())
            .for_each(|row| mirror.enter(row));
        let open: Vec<DecisionRow> = mirror.open_decisions().cloned().collect();
        if opened.moved.is_some() {
            pending.keep(open.iter().cloned(), known.lessons.iter().cloned());
        }
        let loaded = Loaded {
            originals: mirror.originals.values().cloned().collect(),
            pending: open,
            lessons: known.lessons,
            overrides: mirror.overrides.values().cloned().collect(),
            last_decision: mirror.last_decision,
            said: opened.moved.iter().cloned().collect(),
        };
        mirror.write();

        let shared = Arc::new(Shared::new(pending, mirror));
        let (done, finished) = sync_channel(1);
        let mut writer = Writer::new(shared.clone(), journal, &options);
        writer.adopt(opened.conn, opened.problem, opened.moved.as_deref());
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                writer.run();
                drop(writer); // closes the file
                drop(lock); // only now: a thread that the disk holds up still has the file open
                drop(done);
            })
            .map_err(|source| StoreError::Io {
                path: options.state_dir.clone(),
                action: "start the journal's thread",
                source,
            })?;
        Ok((Self { shared, options, finished: Mutex::new(finished) }, loaded))
    }

    /// Inserts or updates a decision. Never waits for the disk.
    pub fn record(&self, row: DecisionRow) {
        self.enter(row);
    }

    /// Likewise a decision that is going to be acted upon; returns when it is safe: at once where there is a mirror, else
    /// when the disk has it, and after at most [`Options::patience`].
    ///
    /// # Errors
    /// Whatever kept the disk from taking it, or `Timeout`. Its knobs must then not be turned.
    pub fn record_open(&self, row: DecisionRow) -> Result<(), StoreError> {
        if self.enter(row) {
            return Ok(());
        }
        self.written(What::Recovery, "saving a decision", Undo::new())
    }

    /// Whether the decision survives the death of this process from now on. First the mirror, then the queue: the file
    /// is never older than the journal.
    fn enter(&self, row: DecisionRow) -> bool {
        let mut mirror = locked(&self.shared.mirror);
        mirror.enter(row.clone());
        let safe = mirror.write();
        self.shared.queue(|pending| pending.decisions.insert(row.id, row));
        safe
    }

    /// Inserts or updates a lesson. Never waits.
    pub fn learn(&self, row: LessonRow) {
        self.shared.queue(|pending| pending.lessons.insert((row.profile.clone(), row.recipe.clone()), row));
    }

    /// Inserts or updates what the admin has taken over; returns when it is safe: at once where there is a mirror, else when
    /// the disk has it, and after at most [`Options::patience`].
    ///
    /// # Errors
    /// Whatever kept the disk from taking it, or `Timeout`. It is in force and tried again all the same.
    pub fn save_override(&self, row: OverrideRow) -> Result<(), StoreError> {
        let mut mirror = locked(&self.shared.mirror);
        mirror.overrides.insert(row.key(), row.clone());
        let safe = mirror.write();
        self.shared.queue(|pending| pending.overrides.insert(row.key(), Some(row)));
        drop(mirror);
        if safe { Ok(()) } else { self.written(What::Recovery, "saving an override", Undo::new()) }
    }

    /// The admin gave it back, or the guest is gone. Never waits.
    pub fn forget_override(&self, guest: &str, family: &str) {
        let key = (guest.to_owned(), family.to_owned());
        let mut mirror = locked(&self.shared.mirror);
        if mirror.overrides.remove(&key).is_some() {
            mirror.write();
            self.shared.queue(|pending| pending.overrides.insert(key, None));
        }
    }

    /// Appends a note. Never waits.
    pub fn note(&self, row: NoteRow) {
        self.shared.queue(|pending| pending.notes.push_back(row));
    }

    /// Appends samples. Never waits; written together with others of the next seconds.
    pub fn samples(&self, rows: impl IntoIterator<Item = SampleRow>) {
        self.shared.queue(|pending| pending.samples.extend(rows));
    }

    /// Saves originals (or newer `ours` of saved ones) and returns when they are safe: at once where there is a mirror, else when
    /// the disk has them, and after at most [`Options::patience`].
    ///
    /// # Errors
    /// Whatever kept the disk from taking them, or `Timeout`; they then count as never saved, and their knobs must not be
    /// turned.
    pub fn save_originals_now(&self, rows: Vec<OriginalRow>) -> Result<(), StoreError> {
        let mut mirror = locked(&self.shared.mirror);
        let undo: Undo =
            rows.iter().map(|row| (row.clone(), mirror.originals.get(&row.key()).cloned())).collect();
        mirror.originals.extend(rows.iter().map(|row| (row.key(), row.clone())));
        let safe = mirror.write();
        self.shared
            .queue(|pending| pending.originals.extend(rows.into_iter().map(|row| (row.key(), Some(row)))));
        drop(mirror);
        if safe { Ok(()) } else { self.written(What::Recovery, "saving originals", undo) }
    }

    /// Waits, at most [`Options::patience`], until what is queued is committed; takes back what is not by then.
    fn written(&self, what: What, doing: &'static str, undo: Undo) -> Result<(), StoreError> {
        let (tell, told) = sync_channel(1);
        // The receiver may have given up by then.
        let done = Box::new(move |result| drop(tell.send(result)));
        self.shared.barrier(Barrier { what, undo: undo.clone(), done });
        let bound = self.options.patience;
        told.recv_timeout(bound).unwrap_or_else(|_| {
            self.shared.undo(undo);
            Err(StoreError::Timeout { what: doing, ms: bound.as_millis() })
        })
    }

    /// The original is no longer needed. Never waits.
    pub fn forget_original(&self, guest: &str, knob: &str) {
        let key = (guest.to_owned(), knob.to_owned());
        let mut mirror = locked(&self.shared.mirror);
        if mirror.originals.remove(&key).is_some() {
            mirror.write();
            self.shared.queue(|pending| pending.originals.insert(key, None));
        }
    }

    /// The originals in force, saved or being saved.
    pub fn originals(&self) -> Vec<OriginalRow> {
        locked(&self.shared.mirror).originals.values().cloned().collect()
    }

    /// Asks the journal; `done` gets the answer, from the journal's thread. Never waits.
    pub fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
        done: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) {
        self.shared.ask(Box::new(move |reader| {
            let answer = reader.and_then(question);
            let damage = answer
                .as_ref()
                .err()
                .filter(|error| error.fault() == Some(Fault::Damaged))
                .map(StoreError::line);
            done(answer);
            damage
        }));
    }

    /// Asks the journal and waits, at most [`Options::patience`].
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`, `Closed`, or what the question returned.
    pub fn read_now<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tell, told) = sync_channel(1);
        // The receiver may have given up by then.
        self.read(question, move |answer| drop(tell.send(answer)));
        let bound = self.options.patience;
        told.recv_timeout(bound).map_err(|error| match error {
            RecvTimeoutError::Timeout => {
                StoreError::Timeout { what: "reading the journal", ms: bound.as_millis() }
            }
            RecvTimeoutError::Disconnected => StoreError::Closed,
        })?
    }

    /// How the journal is.
    pub fn health(&self) -> Health {
        locked(&self.shared.health).clone()
    }

    /// Writes everything that waits, samples too, and waits for it, at most [`Options::patience`].
    ///
    /// # Errors
    /// What kept the disk from taking it, or `Timeout`.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.written(What::Everything, "writing the journal", Undo::new())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.stop();
        // A disk that does not answer must not keep the daemon from ending; the thread then dies with the process.
        if locked(&self.finished).recv_timeout(self.options.patience) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("journal not closed in time, the last rows may be missing");
        }
    }
}

/// Originals being saved, each with the version that they replace.
pub(crate) type Undo = Vec<(OriginalRow, Option<OriginalRow>)>;

/// Takes back, as far as nothing newer came.
pub(crate) fn take_back(undo: Undo, originals: &mut Originals, pending: &mut Pending) {
    for (row, before) in undo {
        let key = row.key();
        if originals.get(&key) != Some(&row) {
            continue;
        }
        match &before {
            Some(before) => originals.insert(key.clone(), before.clone()),
            None => originals.remove(&key),
        };
        pending.originals.insert(key, before);
    }
}
