//! Files of /proc and /sys that are read again and again: kept open and read at offset 0, or, over the budget of file
//! descriptors, opened for each read.
//!
//! A kept file of a thread belongs to that thread for ever: once it has ended every read fails, also when its id is
//! given to another one. May not: parse.

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, pread};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Descriptors that are left to everything else in the daemon: D-Bus, SQLite, sockets, the runtime.
const RESERVE: usize = 256;
/// Assumed limit where the process has none: 200 guests of 30 threads, two files and three events each.
const UNLIMITED: usize = 32_768;

/// How many descriptors the sensors may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    limit: usize,
    used: usize,
}

impl Budget {
    /// Raises the process' soft limit to its hard limit and leaves `RESERVE` to others.
    pub(super) fn of_process() -> Self {
        let now = getrlimit(Resource::Nofile);
        let wanted = Rlimit { current: now.maximum, maximum: now.maximum };
        // Refused only where the soft limit was already all there is: go on with what it was.
        let soft = if setrlimit(Resource::Nofile, wanted).is_ok() { now.maximum } else { now.current };
        let soft = soft.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(UNLIMITED);
        Self::new(soft.saturating_sub(RESERVE).min(UNLIMITED))
    }
    /// A given budget.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, used: 0 }
    }
    /// The budget in all.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }
    /// Sets what is held now, counted by the caller. Between two counts, `take` only adds.
    pub(super) fn set_used(&mut self, used: usize) {
        self.used = used;
    }
    /// Takes `n` descriptors if at most `share` (0..=1) of the budget is then in use.
    pub(super) fn take(&mut self, n: usize, share: f64) -> bool {
        let fits = (self.used + n) as f64 <= self.limit as f64 * share;
        if fits {
            self.used += n;
        }
        fits
    }
}

/// A path relative to a directory, built without allocation: `parts` are joined with `/`.
pub(super) struct RelPath {
    bytes: [u8; 64],
    len: usize,
}

impl RelPath {
    /// `id/name`, as below `/proc/PID/task` (or `/proc` itself).
    pub(super) fn of(id: i32, name: &str) -> Self {
        let mut path = Self { bytes: [0; 64], len: 0 };
        let mut rest = &mut path.bytes[..];
        let fits = write!(rest, "{id}/{name}").is_ok();
        debug_assert!(fits, "a name in /proc/PID/task/TID is short");
        let left = rest.len();
        path.len = path.bytes.len() - left;
        path
    }
    fn as_str(&self) -> &str {
        // Made from text; cut only at the end of the array, and the names are ASCII.
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

/// Opens a file for reading, never waiting and never following into a terminal.
pub(super) fn open_at(dir: impl AsFd, path: &RelPath) -> Result<OwnedFd, Errno> {
    openat(dir, path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a file or directory by its path.
pub(super) fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC | flags, Mode::empty())
}

/// Reads a file from its start into `buf`: what fits.
pub(super) fn read_start<'a>(file: BorrowedFd<'_>, buf: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let len = pread(file, &mut *buf, 0)?;
    Ok(&buf[..len])
}

/// Opens, reads and closes.
pub(super) fn read_once<'a>(dir: impl AsFd, path: &RelPath, buf: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    read_start(open_at(dir, path)?.as_fd(), buf)
}

/// A file of the host that is kept open; absent if it could not be opened.
#[derive(Debug)]
pub(super) struct HostFile(Option<OwnedFd>);

impl HostFile {
    /// Opens it. A missing file is absent for the life of the daemon.
    pub(super) fn open(path: &Path) -> Self {
        Self(open(path, OFlags::empty()).ok())
    }
    /// Its start, if it is there and can be read now.
    pub(super) fn read<'a>(&self, buf: &'a mut [u8]) -> Option<&'a [u8]> {
        read_start(self.0.as_ref()?.as_fd(), buf).ok()
    }
    /// Descriptors held.
    pub(super) fn descriptors(&self) -> usize {
        usize::from(self.0.is_some())
    }
}
