//! The journal file: locked, opened, checked, and moved aside when it is damaged.
//!
//! The lock is on the state directory itself, so that it can be taken even when no file can be created (full disk).

use crate::error::{Fault, StoreError};
use crate::read::{self, Reader, Together};
use crate::rows::{DecisionRow, LessonRow, OriginalRow, OverrideRow};
use crate::schema;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Name of the journal in the state directory.
pub(crate) const JOURNAL: &str = "journal.db";
/// Who has the journal open; written after the lock is taken, only to name the owner in an error.
const PID_FILE: &str = "journal.pid";
/// Damaged files kept for the admin; older ones are deleted so that a failing disk cannot fill itself with them.
const KEPT_ASIDE: usize = 3;
/// Bytes of write-ahead log between checkpoints; also what a finished log is cut back to.
pub(crate) const WAL_BYTES: u64 = 1 << 20;
/// Room within the size limit that is left to the write-ahead log and its index.
pub(crate) const WAL_ROOM: u64 = 4 << 20;
/// Bytes of a database page.
pub(crate) const PAGE: u64 = 4096;

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { path, action, source }
}

/// Held as long as the store is open; the kernel lets go of it when the process dies in whatever way.
#[derive(Debug)]
pub(crate) struct Lock {
    _dir: File,
    pid_file: PathBuf,
}

impl Lock {
    /// Makes the directory if need be and takes it.
    ///
    /// # Errors
    /// `InUse` if another process has it; `Io` if there is no such directory and none can be made.
    pub(crate) fn take(dir: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(io_error(dir, "make the state directory"))?;
        let held = File::open(dir).map_err(io_error(dir, "open the state directory"))?;
        let pid_file = dir.join(PID_FILE);
        match held.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&pid_file).ok().and_then(|text| text.trim().parse().ok());
                return Err(StoreError::InUse { file: dir.join(JOURNAL), pid });
            }
            Err(TryLockError::Error(source)) => {
                return Err(io_error(dir, "lock the state directory")(source));
            }
        }
        // Only a courtesy to whoever is refused: a full disk must not keep the daemon from starting.
        if let Err(error) = fs::write(&pid_file, std::process::id().to_string()) {
            tracing::debug!(%error, file = %pid_file.display(), "pid not written");
        }
        Ok(Self { _dir: held, pid_file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Best effort: a stale pid is overwritten by the next owner before anybody could be told it.
        let _ = fs::remove_file(&self.pid_file);
    }
}

/// What a start needs to know, as far as the file can be read: all of it, or what is left in a damaged one.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) run: i64,
    pub(crate) originals: Vec<OriginalRow>,
    pub(crate) pending: Vec<DecisionRow>,
    pub(crate) lessons: Vec<LessonRow>,
    pub(crate) overrides: Vec<OverrideRow>,
    pub(crate) last_decision: u64,
}

impl Known {
    /// Reads what can be read; every failure just means less.
    fn read(conn: &Connection) -> Self {
        let (originals, _) = read::originals_that_read(conn).unwrap_or_default();
        Self {
            run: read::last_run(conn).unwrap_or(0),
            originals,
            pending: read::pending(conn).unwrap_or_default(),
            lessons: read::lessons(conn).unwrap_or_default(),
            overrides: read::overrides(conn).unwrap_or_default().0,
            last_decision: read::last_decision(conn).unwrap_or(0),
        }
    }
}

/// Result of opening.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// Absent when the disk does not let us: to be tried again.
    pub(crate) conn: Option<Connection>,
    /// Why `conn` is absent.
    pub(crate) problem: Option<String>,
    /// What the admin should know: a damaged file was moved aside.
    pub(crate) moved: Option<String>,
    /// From the file as it was found.
    pub(crate) known: Known,
}

/// Opens the journal, making it if there is none and moving a damaged one aside. `damage`: what was found wrong with it
/// while it was in use; it is then moved aside whatever the checks here would find.
///
/// # Errors
/// `Newer` only; everything that the disk may do to us is in [`Opened`].
pub(crate) fn open(path: &Path, max_bytes: u64, damage: Option<String>) -> Result<Opened, StoreError> {
    let sound = match damage {
        Some(what) => Err(StoreError::Damaged { file: path.to_owned(), what }),
        None => try_open(path, max_bytes),
    };
    let why = match sound {
        Ok(conn) => return Ok(Opened { known: Known::read(&conn), conn: Some(conn), ..Opened::default() }),
        Err(error @ StoreError::Newer { .. }) => return Err(error),
        Err(error) => error,
    };
    let known = read_alone(path);
    if why.fault() != Some(Fault::Damaged) {
        return Ok(Opened { problem: Some(why.line()), known, ..Opened::default() });
    }
    let moved = match move_aside(path) {
        Ok(to) => format!("{}; moved to {}, a new one begun", why.line(), to.display()),
        Err(error) => {
            let problem = format!("{}; {}", why.line(), error.line());
            return Ok(Opened { problem: Some(problem), known, ..Opened::default() });
        }
    };
    let (conn, problem) = match try_open(path, max_bytes) {
        Ok(conn) => (Some(conn), None),
        Err(error) => (None, Some(error.line())),
    };
    Ok(Opened { conn, problem, moved: Some(moved), known })
}

fn try_open(path: &Path, max_bytes: u64) -> Result<Connection, StoreError> {
    let file = path.to_owned();
    let fail = |action| {
        let file = file.clone();
        move |source| StoreError::Sqlite { file, action, source }
    };
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags).map_err(fail("open it"))?;
    conn.busy_timeout(Duration::from_secs(1)).map_err(fail("set the busy time"))?;
    let number =
        |conn: &Connection, pragma: &str| conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let pages = number(&conn, "page_count").map_err(fail("read its header"))?;
    let version = number(&conn, "user_version").map_err(fail("read its header"))?;
    let ours = number(&conn, "application_id").map_err(fail("read its header"))? == schema::APPLICATION_ID;
    if pages > 0 && !ours && version > 0 {
        return Err(StoreError::Damaged { file, what: "it is not a journal of Trimtab".to_owned() });
    }
    if version > schema::VERSION {
        return Err(StoreError::Newer { file, found: version, known: schema::VERSION });
    }
    // Only takes effect on a file without tables; also when a first start was cut short.
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(fail("set it up"))?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).map_err(fail("set it up"))?;
    if pages > 0 {
        structure(&conn, &file)?;
    }
    schema::migrate(&mut conn, version).map_err(fail("bring its schema up to date"))?;
    if let Some(column) = schema::missing(&conn).map_err(fail("read its schema"))? {
        return Err(StoreError::Damaged { file, what: format!("there is no column {column}") });
    }
    // Only now, because an older journal has not all columns that are read. One without tables was a start that was cut short.
    if version > 0 {
        conn = content(conn, &file)?;
    }
    limits(&conn, max_bytes).map_err(fail("set its limits"))?;
    Ok(conn)
}

/// The same connection, if the journal of [`schema::VERSION`] is sound.
pub(crate) fn check(conn: Connection, file: &Path) -> Result<Connection, StoreError> {
    structure(&conn, file)?;
    content(conn, file)
}

fn structure(conn: &Connection, file: &Path) -> Result<(), StoreError> {
    let verdict = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    match verdict {
        Ok(text) if text == "ok" => Ok(()),
        Ok(what) => Err(StoreError::Damaged { file: file.to_owned(), what }),
        Err(source) => Err(StoreError::Sqlite { file: file.to_owned(), action: "check it", source }),
    }
}

/// What a start acts upon must also be right inside its texts, which SQLite does not check.
fn content(conn: Connection, file: &Path) -> Result<Connection, StoreError> {
    let (waiting, waiting_notes) = (BTreeMap::new(), VecDeque::new());
    let reader = Reader { conn, file: file.to_owned(), waiting, waiting_notes };
    reader.originals()?;
    reader.pending()?;
    let damage = || {
        let (_, of_one) = read::overrides(&reader.conn)?;
        let of_all = Together::Overrides.damage(&reader.conn)?;
        Ok(of_one.or(of_all).or(Together::Pending.damage(&reader.conn)?))
    };
    match damage() {
        Ok(None) => Ok(reader.conn),
        Ok(Some(what)) => Err(StoreError::Damaged { file: file.to_owned(), what }),
        Err(source) => Err(StoreError::Sqlite { file: file.to_owned(), action: "check it", source }),
    }
}

/// Pages that the database proper may have.
pub(crate) fn max_pages(max_bytes: u64) -> i64 {
    (max_bytes.saturating_sub(WAL_ROOM) / PAGE) as i64
}

fn limits(conn: &Connection, max_bytes: u64) -> rusqlite::Result<()> {
    conn.pragma_update(None, "wal_autocheckpoint", (WAL_BYTES / PAGE) as i64)?;
    conn.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES as i64, |_| Ok(()))?;
    conn.pragma_update_and_check(None, "max_page_count", max_pages(max_bytes), |_| Ok(()))?;
    conn.pragma_update(None, "cache_size", -1024)?; // KiB
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    // A memory-mapped file that shrinks under us is a SIGBUS, a read is only an error.
    conn.pragma_update_and_check(None, "mmap_size", 0, |_| Ok(())).or_else(|error| match error {
        rusqlite::Error::QueryReturnedNoRows => Ok(()),
        other => Err(other),
    })
}

/// Reads a file that could not be opened for writing: damaged, or on a full disk. Exclusive, because then SQLite keeps the
/// index of the log in memory instead of in a file that there is no room for.
fn read_alone(path: &Path) -> Known {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let Ok(conn) = Connection::open_with_flags(path, flags) else { return Known::default() };
    // Both best effort. Closing must not write into what the admin may want to examine.
    let _ = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    let _ = conn.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()));
    Known::read(&conn)
}

/// Renames the file, its log and its index, and deletes all but the newest few moved before.
pub(crate) fn move_aside(path: &Path) -> Result<PathBuf, StoreError> {
    // After the newest one there is, also when the clock was set back or two go within a second.
    let newest = stamps_aside(path).into_iter().max();
    let seconds = (now_ms() / 1000).max(newest.map_or(0, |newest| newest + 1));
    let to = aside(path, seconds);
    for suffix in ["-wal", "-shm"] {
        let (from, to) = (with_suffix(path, suffix), with_suffix(&to, suffix));
        match fs::rename(&from, to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error(&from, "move the damaged journal aside")(error));
            }
            _ => {}
        }
    }
    fs::rename(path, &to).map_err(io_error(path, "move the damaged journal aside"))?;
    forget_oldest(path);
    Ok(to)
}

fn aside(path: &Path, seconds: i64) -> PathBuf {
    with_suffix(path, &format!(".corrupt-{seconds}"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Times at which files were moved aside.
fn stamps_aside(path: &Path) -> Vec<i64> {
    let Some((dir, name)) = path.parent().zip(path.file_name()) else { return Vec::new() };
    let prefix = format!("{}.corrupt-", name.to_string_lossy());
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix(&prefix)?.parse().ok())
        .collect()
}

fn forget_oldest(path: &Path) {
    let mut stamps = stamps_aside(path);
    stamps.sort_unstable();
    for stamp in stamps.iter().rev().skip(KEPT_ASIDE) {
        for suffix in ["", "-wal", "-shm"] {
            // A file that cannot be deleted stays; the next move tries again.
            let _ = fs::remove_file(with_suffix(&aside(path, *stamp), suffix));
        }
    }
}
