//! What can go wrong, and how SQLite's codes sort into what the writer does about them.

use rusqlite::ErrorCode;
use std::path::PathBuf;

/// An error of the journal. Unless the variant says otherwise, the file is as it was before the call.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the journal open.
    #[error("journal {} is in use by {}", file.display(), pid.map_or("another process".to_owned(), |pid| format!("process {pid}")))]
    InUse {
        /// The journal.
        file: PathBuf,
        /// Who holds it, where that could be found out.
        pid: Option<u32>,
    },
    /// The journal was written by a newer Trimtab; it is left as it is.
    #[error("journal {} has schema {found}, this Trimtab knows up to {known}: upgrade again, or move the file away", file.display())]
    Newer {
        /// The journal.
        file: PathBuf,
        /// Version in the file.
        found: i64,
        /// Newest version known here.
        known: i64,
    },
    /// A file or directory beside the journal cannot be used.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// SQLite failed. A write was rolled back whole.
    #[error("journal {}: cannot {action}", file.display())]
    Sqlite {
        /// The journal.
        file: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why not.
        #[source]
        source: rusqlite::Error,
    },
    /// The content is damaged.
    #[error("journal {} is damaged: {what}", file.display())]
    Damaged {
        /// The journal.
        file: PathBuf,
        /// Where.
        what: String,
    },
    /// The journal cannot be read at present; it is tried again by itself.
    #[error("the journal cannot be read: {0}")]
    Unavailable(String),
    /// No answer within the time bound. Of originals: they do not count as saved.
    #[error("{what}: the journal did not answer within {ms} ms")]
    Timeout {
        /// What was asked.
        what: &'static str,
        /// The bound.
        ms: u128,
    },
    /// The store is closing.
    #[error("the journal is closed")]
    Closed,
}

/// What the writer does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No space: keep what matters in memory, try again.
    Full,
    /// The file is damaged or no journal: move it aside, begin anew.
    Damaged,
    /// Somebody else holds a lock: try again.
    Busy,
    /// The disk or the file system fails: reopen and try again.
    Io,
    /// This row cannot be written at all; trying again would never end.
    Row,
}

impl Fault {
    pub(crate) fn of(error: &rusqlite::Error) -> Self {
        /// SQLITE_IOERR_DATA and SQLITE_IOERR_CORRUPTFS: the medium says that the content is wrong.
        /// SQLITE_IOERR_SHORT_READ: the file was cut; reading on would fail for ever, and in silence.
        const WRONG_CONTENT: [i32; 3] = [10 | (32 << 8), 10 | (33 << 8), 10 | (2 << 8)];
        let cause = match error {
            rusqlite::Error::SqliteFailure(cause, _) => cause,
            // Our own statements, on columns of our own making: no text where there was one, no such column.
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::SqlInputError { .. }
            | rusqlite::Error::Utf8Error(..) => return Self::Damaged,
            _ => return Self::Row,
        };
        match cause.code {
            _ if cause.extended_code == rusqlite::ffi::SQLITE_ERROR => Self::Damaged,
            ErrorCode::DiskFull => Self::Full,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Damaged,
            _ if WRONG_CONTENT.contains(&cause.extended_code) => Self::Damaged,
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy,
            ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed => Self::Io,
            _ => Self::Row,
        }
    }
}

impl StoreError {
    /// The fault behind it, where it is one of SQLite's or of the content.
    pub(crate) fn fault(&self) -> Option<Fault> {
        match self {
            Self::Sqlite { source, .. } => Some(Fault::of(source)),
            Self::Damaged { .. } => Some(Fault::Damaged),
            _ => None,
        }
    }
    /// The whole chain in one line.
    pub(crate) fn line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        line
    }
}
