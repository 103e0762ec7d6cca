//! The page cache: how to get a file out of it before it is read, and how much of it is still in there, which is what tells
//! whether a rate is the device's or the memory's.

use std::ffi::c_void;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::str::FromStr;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::team::Team;

const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

/// What is done about the page cache between writing and reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// Nothing.
    Keep,
    /// Each file is synced and its pages are given up (`POSIX_FADV_DONTNEED`).
    Advise,
    /// The whole cache of every node is dropped; root only.
    Drop,
}

impl FromStr for Cache {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "keep" => Ok(Self::Keep),
            "advise" => Ok(Self::Advise),
            "drop" => Ok(Self::Drop),
            _ => Err(()),
        }
    }
}

impl Cache {
    /// As typed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Advise => "advise",
            Self::Drop => "drop",
        }
    }

    /// Gets this rank's file, or everything, out of the cache. Collective; nothing in it is timed.
    ///
    /// # Errors
    /// The file cannot be synced; the cache cannot be dropped (not root).
    pub fn defeat(self, team: &Team, file: &Path) -> Result<()> {
        let done = match self {
            Self::Keep => Ok(()),
            Self::Advise => advise(file),
            Self::Drop => drop_all(team),
        };
        team.agree(done)
    }
}

fn advise(path: &Path) -> Result<()> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.sync_all().map_err(Error::io("sync", path))?;
    let advised = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    advised.map_err(|e| Error::io("drop the cached pages of", path)(e.into()))
}

/// One rank of each node does it: it takes long and does not get better by doing it twice.
fn drop_all(team: &Team) -> Result<()> {
    if team.node().is_root() {
        rustix::fs::sync();
        std::fs::write(DROP_CACHES, "3").map_err(|e| match e.kind() {
            std::io::ErrorKind::PermissionDenied => {
                Error::Environment(format!("cache=drop needs root: {DROP_CACHES} may not be written"))
            }
            _ => Error::io("write", DROP_CACHES)(e),
        })?;
    }
    Ok(())
}

/// Share of the file's pages that are in memory now; `None` if the system does not say.
#[must_use]
pub fn resident_share(path: &Path) -> Option<f64> {
    const WINDOW: u64 = 1 << 30;
    let file = File::open(path).ok()?;
    let bytes = file.metadata().ok()?.len();
    let (mut pages, mut resident) = (0usize, 0usize);
    let mut at = 0;
    while at < bytes {
        let len = usize::try_from((bytes - at).min(WINDOW)).ok()?;
        let states = page_states(&file, at, len)?;
        pages += states.len();
        resident += states.iter().filter(|&&state| state & 1 == 1).count();
        at += WINDOW;
    }
    (pages > 0).then(|| resident as f64 / pages as f64)
}

/// `mincore` of a part of a file: bit 0 of each byte says whether that page is in memory.
fn page_states(file: &File, at: u64, len: usize) -> Option<Vec<u8>> {
    let mut states = vec![0u8; len.div_ceil(rustix::param::page_size())];
    let (fd, offset) = (file.as_raw_fd(), libc::off_t::try_from(at).ok()?);
    // SAFETY: a new read-only mapping at an address of the kernel's choice; nothing is read through it.
    let map: *mut c_void =
        unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, libc::MAP_SHARED, fd, offset) };
    if map == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the range is the mapping, the vector has a byte for each of its pages.
    let failed = unsafe { libc::mincore(map, len, states.as_mut_ptr()) };
    // SAFETY: the mapping made above, used by nobody else.
    unsafe { libc::munmap(map, len) };
    (failed == 0).then_some(states)
}

/// Where the bytes of a phase went to or came from, for the row of its rate.
#[must_use]
pub fn label_of_read(direct: bool, resident: Option<f64>) -> Value {
    match resident {
        _ if direct => "bypassed".into(),
        Some(share) if share < 0.01 => "cold".into(),
        Some(share) if share < 0.99 => "partly cached".into(),
        Some(_) => "cached".into(),
        None => "unknown".into(),
    }
}

/// The same for writing.
#[must_use]
pub fn label_of_write(direct: bool, synced: bool) -> Value {
    match (direct, synced) {
        (true, _) => "bypassed".into(),
        (false, true) => "synced".into(),
        (false, false) => "absorbs".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{label_of_read, resident_share};

    #[test]
    fn a_file_just_written_is_in_memory() {
        let file = tempfile::NamedTempFile::new().expect("file");
        assert_eq!(resident_share(file.path()), None, "an empty file has no pages");
        std::fs::write(file.path(), vec![1u8; 100_000]).expect("write");
        let share = resident_share(file.path()).expect("mincore");
        assert!(share > 0.9, "{share}");
        assert_eq!(label_of_read(true, Some(1.0)), "bypassed");
        assert_eq!(label_of_read(false, Some(0.0)), "cold");
        assert_eq!(label_of_read(false, Some(0.5)), "partly cached");
    }
}
