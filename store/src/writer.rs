//! The thread that owns the file: writes batches, answers questions, retries, replaces a damaged file, prunes.
//!
//! Lock order: mirror, then queue, then health. No lock is held while SQLite works, so nobody waits for the disk.

use crate::error::{Fault, StoreError};
use crate::file::{self, Opened, WAL_ROOM, now_ms};
use crate::flush;
use crate::health::{Health, Lost};
use crate::mirror::Mirror;
use crate::pending::Pending;
use crate::prune::{self, Retention};
use crate::read::{self, Reader};
use crate::rows::NoteRow;
use crate::store::{Options, Undo, take_back};
use rusqlite::Connection;
use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time between prunings.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// Rows written before the next pruning if that comes first.
const PRUNE_ROWS: u64 = 4096;
/// Steps of making room for one batch.
const MAKE_ROOM: usize = 32;
/// Samples that wait before they are written early.
const EARLY_SAMPLES: usize = 2048;
/// Questions that may wait.
const MAX_QUESTIONS: usize = 64;

/// Gets the reader, or why there is none; tells what damage it met.
pub(crate) type Question = Box<dyn FnOnce(Result<&Reader, StoreError>) -> Option<String> + Send>;

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Originals, overrides and open decisions.
    Recovery,
    Everything,
}

/// Somebody who waits until what is queued now is committed.
pub(crate) struct Barrier {
    pub(crate) what: What,
    /// What to take back if it fails.
    pub(crate) undo: Undo,
    pub(crate) done: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

#[derive(Default)]
struct Queue {
    pending: Pending,
    questions: VecDeque<Question>,
    barriers: Vec<Barrier>,
    stop: bool,
}

/// What the handle and the thread share.
pub(crate) struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    pub(crate) mirror: Mutex<Mirror>,
    pub(crate) health: Mutex<Health>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// A panic elsewhere must not take the journal with it: the data under these locks is valid after every statement.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(pending: Pending, mirror: Mirror) -> Self {
        Self {
            queue: Mutex::new(Queue { pending, ..Queue::default() }),
            wake: Condvar::new(),
            mirror: Mutex::new(mirror),
            health: Mutex::new(Health::default()),
        }
    }

    /// Adds rows; what finds no room is counted as lost.
    pub(crate) fn queue<T>(&self, add: impl FnOnce(&mut Pending) -> T) {
        let mut queue = locked(&self.queue);
        add(&mut queue.pending);
        let lost = queue.pending.trim();
        drop(queue);
        self.lose(lost, "the disk does not keep up");
        self.wake.notify_one();
    }

    pub(crate) fn barrier(&self, barrier: Barrier) {
        locked(&self.queue).barriers.push(barrier);
        self.wake.notify_one();
    }

    pub(crate) fn ask(&self, question: Question) {
        let mut queue = locked(&self.queue);
        if queue.stop || queue.questions.len() >= MAX_QUESTIONS {
            let why = if queue.stop {
                StoreError::Closed
            } else {
                StoreError::Unavailable("too many questions wait for the disk".to_owned())
            };
            drop(queue);
            question(Err(why));
            return;
        }
        queue.questions.push_back(question);
        drop(queue);
        self.wake.notify_one();
    }

    pub(crate) fn undo(&self, undo: Undo) {
        if undo.is_empty() {
            return;
        }
        let mut mirror = locked(&self.mirror);
        take_back(undo, &mut mirror.originals, &mut locked(&self.queue).pending);
        mirror.write();
    }

    pub(crate) fn stop(&self) {
        locked(&self.queue).stop = true;
        self.wake.notify_one();
    }

    fn lose(&self, lost: Lost, why: &str) {
        if lost.total() > 0 {
            let mut health = locked(&self.health);
            health.lost += lost;
            health.past = Some(why.to_owned());
        }
    }
}

/// See the module.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    path: PathBuf,
    max_bytes: u64,
    retention: Retention,
    gather: Duration,
    retry: Duration,
    check: Duration,
    conn: Option<Connection>,
    /// Inode of the file that `conn` has open; a file deleted or replaced under us would swallow rows in silence.
    inode: Option<u64>,
    gather_until: Instant,
    retry_at: Option<Instant>,
    prune_at: Instant,
    /// Until when the rows have grown older.
    aged_at: Instant,
    check_at: Instant,
    unpruned: u64,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, path: PathBuf, options: &Options) -> Self {
        let now = Instant::now();
        Self {
            shared,
            path,
            max_bytes: options.max_bytes,
            retention: Retention {
                samples_days: options.samples_days,
                decisions_days: options.decisions_days,
            },
            gather: options.gather,
            retry: options.retry,
            check: options.check,
            conn: None,
            inode: None,
            gather_until: now + options.gather,
            retry_at: None,
            prune_at: now,
            aged_at: now,
            check_at: now + options.check,
            unpruned: 0,
        }
    }

    /// Takes over what opening gave; queues what makes the file agree with the memory.
    pub(crate) fn adopt(&mut self, conn: Option<Connection>, problem: Option<String>, moved: Option<&str>) {
        let mirror = locked(&self.shared.mirror);
        let mut queue = locked(&self.shared.queue);
        let pending = &mut queue.pending;
        if let Some(conn) = &conn {
            pending.meta.insert("run", mirror.run);
            pending.meta.insert("last_decision", mirror.last_decision as i64);
            let (written, _) = read::originals_that_read(conn).unwrap_or_default();
            pending.originals.extend(written.iter().map(|row| (row.key(), None)));
            pending
                .originals
                .extend(mirror.originals.iter().map(|(key, row)| (key.clone(), Some(row.clone()))));
            let (written, _) = read::overrides(conn).unwrap_or_default();
            pending.overrides.extend(written.iter().map(|row| (row.key(), None)));
            pending
                .overrides
                .extend(mirror.overrides.iter().map(|(key, row)| (key.clone(), Some(row.clone()))));
        }
        if let Some(text) = moved {
            tracing::error!("{text}");
            pending.notes.push_back(NoteRow { time_ms: now_ms(), guest: None, text: text.to_owned() });
            locked(&self.shared.health).past = Some(text.to_owned());
        }
        drop(queue);
        drop(mirror);
        self.inode = fs::metadata(&self.path).ok().map(|file| file.ino());
        self.conn = conn;
        if let Some(problem) = problem {
            self.fail(problem);
        }
    }

    /// Works until told to stop.
    pub(crate) fn run(&mut self) {
        loop {
            let (questions, barriers, stop) = self.wait();
            for question in questions {
                self.answer(question);
            }
            let now = Instant::now();
            let retry = self.retry_at.is_none_or(|at| now >= at);
            let (first, last): (Vec<_>, Vec<_>) =
                barriers.into_iter().partition(|b| b.what == What::Recovery);
            if !first.is_empty() {
                let result = self.flush(What::Recovery);
                first.into_iter().for_each(|barrier| self.release(barrier, &result));
            }
            if stop || !last.is_empty() || retry {
                let result = self.flush(What::Everything);
                last.into_iter().for_each(|barrier| self.release(barrier, &result));
            }
            if (now >= self.prune_at || self.unpruned >= PRUNE_ROWS) && self.retry_at.is_none() {
                self.unpruned = 0;
                self.prune_at = now + PRUNE_EVERY;
                self.look_after();
            }
            if stop {
                return;
            }
            self.let_go_of_pages();
        }
    }

    /// SQLite reads the file anew at the next turn: what it has in memory would hide for hours what became of the file.
    fn let_go_of_pages(&self) {
        let Some(conn) = &self.conn else { return };
        if let Err(error) = conn.execute_batch("PRAGMA shrink_memory") {
            tracing::debug!(%error, "pages not let go of");
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&mut self) -> (VecDeque<Question>, Vec<Barrier>, bool) {
        let mut queue = locked(&self.shared.queue);
        loop {
            let now = Instant::now();
            let due = match self.retry_at {
                Some(at) => at,
                None if queue.pending.is_urgent() || queue.pending.samples.len() >= EARLY_SAMPLES => now,
                None if queue.pending.is_empty() => self.prune_at,
                None => self.gather_until.min(self.prune_at),
            };
            if queue.stop || !queue.questions.is_empty() || !queue.barriers.is_empty() || now >= due {
                let questions = std::mem::take(&mut queue.questions);
                return (questions, std::mem::take(&mut queue.barriers), queue.stop);
            }
            let (woken, _) =
                self.shared.wake.wait_timeout(queue, due - now).unwrap_or_else(PoisonError::into_inner);
            queue = woken;
        }
    }

    fn answer(&mut self, question: Question) {
        let queue = locked(&self.shared.queue);
        let (waiting, waiting_notes) = (queue.pending.decisions.clone(), queue.pending.notes.clone());
        drop(queue);
        let damage = match self.conn.take() {
            Some(conn) => {
                let reader = Reader { conn, file: self.path.clone(), waiting, waiting_notes };
                let damage = question(Ok(&reader));
                self.conn = Some(reader.conn);
                damage
            }
            None => {
                let why = locked(&self.shared.health).problem.clone().unwrap_or_default();
                question(Err(StoreError::Unavailable(why)))
            }
        };
        if let Some(why) = damage {
            self.replace_damaged(why);
        }
    }

    fn release(&self, barrier: Barrier, result: &Result<(), String>) {
        match result {
            Ok(()) => (barrier.done)(Ok(())),
            Err(why) => {
                self.shared.undo(barrier.undo);
                (barrier.done)(Err(StoreError::Unavailable(why.clone())));
            }
        }
    }

    /// Writes what waits. On failure it stays queued and why is returned.
    fn flush(&mut self, what: What) -> Result<(), String> {
        if what == What::Everything {
            self.gather_until = Instant::now() + self.gather;
        }
        let mut replaced = false;
        if self.conn.is_none() {
            self.open(None);
        }
        loop {
            let Some(conn) = &mut self.conn else {
                return Err(locked(&self.shared.health).problem.clone().unwrap_or_default());
            };
            let take = if what == What::Recovery { Pending::take_recovery } else { Pending::take_batch };
            let mut batch = take(&mut locked(&self.shared.queue).pending);
            if batch.is_empty() {
                self.succeed();
                return Ok(());
            }
            if log_is_stuck(conn, &self.path) {
                let dropped = Pending { samples: std::mem::take(&mut batch.samples), ..Pending::default() };
                self.shared.lose(dropped.count(), "another program reads the journal without end");
            }
            let mut written = flush::batch(conn, &batch);
            for _ in 0..MAKE_ROOM {
                match &written {
                    Err(error)
                        if Fault::of(error) == Fault::Full && prune::make_room(conn).unwrap_or(false) =>
                    {
                        written = flush::batch(conn, &batch);
                    }
                    _ => break,
                }
            }
            let Err(error) = written else {
                self.unpruned += batch.count().total();
                locked(&self.shared.mirror).committed(batch.decisions.values());
                continue;
            };
            let fault = Fault::of(&error);
            if fault == Fault::Row {
                let originals = std::mem::take(&mut batch.originals);
                let overrides = std::mem::take(&mut batch.overrides);
                self.shared.lose(batch.count(), &error.to_string());
                batch = Pending { originals, overrides, ..Pending::default() };
            }
            let lost = locked(&self.shared.queue).pending.put_back(batch);
            self.shared.lose(lost, &error.to_string());
            if fault == Fault::Damaged && !replaced {
                replaced = true;
                self.replace_damaged(error.to_string());
                continue;
            }
            if fault == Fault::Io {
                self.conn = None;
            }
            let why = match fault {
                Fault::Full => "disk full".to_owned(),
                _ => error.to_string(),
            };
            self.fail(why.clone());
            return Err(why);
        }
    }

    fn open(&mut self, damage: Option<String>) {
        match file::open(&self.path, self.max_bytes, damage) {
            Ok(Opened { conn, problem, moved, known }) => {
                if moved.is_some() {
                    // What the file says of a trial is older than what is remembered.
                    let mirror = locked(&self.shared.mirror);
                    let mut queue = locked(&self.shared.queue);
                    queue.pending.keep(mirror.open_decisions().cloned(), known.lessons);
                }
                self.adopt(conn, problem, moved.as_deref());
            }
            Err(error) => self.fail(error.line()),
        }
    }

    fn replace_damaged(&mut self, damage: String) {
        self.conn = None;
        self.open(Some(damage));
    }

    fn fail(&mut self, why: String) {
        self.retry_at = Some(Instant::now() + self.retry);
        let file = locked(&self.shared.mirror).file().map(|file| file.display().to_string());
        let mut health = locked(&self.shared.health);
        if health.problem.as_ref() != Some(&why) {
            tracing::error!(journal = %self.path.display(), why, "the journal is not written, control goes on");
        }
        health.since_ms.get_or_insert_with(now_ms);
        health.problem = Some(why);
        health.originals_in = file;
    }

    fn succeed(&mut self) {
        self.retry_at = None;
        let mut health = locked(&self.shared.health);
        let Some(problem) = health.problem.take() else { return };
        let since = health.since_ms.take().unwrap_or_default();
        health.originals_in = None;
        let (now, lost) = (now_ms(), health.lost);
        let text = format!("not written for {} s: {problem}; lost since start: {lost}", (now - since) / 1000);
        health.past = Some(problem);
        drop(health);
        tracing::info!(journal = %self.path.display(), "written again; was {text}");
        let note = NoteRow { time_ms: now, guest: None, text: format!("the journal was {text}") };
        locked(&self.shared.queue).pending.notes.push_back(note);
    }

    fn check_all(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        match file::check(conn, &self.path) {
            Ok(conn) => self.conn = Some(conn),
            Err(error) => self.open((error.fault() == Some(Fault::Damaged)).then(|| error.line())),
        }
    }

    /// Prunes, and sees whether the file is still the one at its name, and now and then whether it is sound in every part.
    fn look_after(&mut self) {
        let there = fs::metadata(&self.path).ok().map(|file| file.ino());
        if self.conn.is_some() && there != self.inode {
            tracing::error!(journal = %self.path.display(), "deleted or replaced under us, opened anew");
            locked(&self.shared.health).past = Some("the file was deleted or replaced under us".to_owned());
            self.conn = None;
            self.open(None);
        }
        if Instant::now() >= self.check_at {
            self.check_at = Instant::now() + self.check;
            self.check_all();
        }
        let Some(conn) = &self.conn else { return };
        let now = Instant::now();
        let pruned = prune::aged_to(conn, now - self.aged_at, now_ms()).and_then(|aged_to| {
            self.aged_at = now;
            locked(&self.shared.queue).pending.meta.insert(prune::AGED_TO, aged_to);
            prune::run(conn, self.max_bytes, self.retention, aged_to)
        });
        match pruned {
            Err(error) if Fault::of(&error) == Fault::Damaged => self.replace_damaged(error.to_string()),
            Err(error) => tracing::warn!(%error, "old rows not pruned"),
            Ok(()) => {}
        }
    }
}

/// Whether the write-ahead log grew over its room because a reader holds on to it.
fn log_is_stuck(conn: &Connection, path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let grown = || fs::metadata(&log).is_ok_and(|file| file.len() > WAL_ROOM);
    if !grown() {
        return false;
    }
    // Cut back if it can be; what this cannot do, it reports by leaving the file as it is.
    let _ = conn.pragma(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()));
    grown()
}
