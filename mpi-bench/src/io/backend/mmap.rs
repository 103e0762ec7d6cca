//! Loads and stores in a shared mapping of the whole file.
//!
//! The blocks are reserved before they are mapped: a store into a hole of a full file system is a SIGBUS, not an error. For
//! the same reason a file that is shorter than it must be is refused before it is read.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::ptr::NonNull;

use super::{Backend, Judge, Prepare, Target};
use crate::error::{Error, Result};
use crate::io::files::{self, Flags};
use crate::io::pool::Pool;

/// See the module.
pub(super) struct Mapped {
    map: Map,
    file: File,
    path: PathBuf,
    pool: Pool,
}

/// The mapping; unmapped on drop.
struct Map {
    start: NonNull<u8>,
    len: usize,
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: start and len are what mmap gave; nobody else uses the mapping.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

impl Mapped {
    pub(super) fn open(target: &Target<'_>, pool: Pool) -> Result<Self> {
        let path = target.path.to_path_buf();
        let file = files::open(&path, Flags { write: target.write, ..Flags::default() })?;
        if target.write {
            reserve(&file, target.bytes).map_err(Error::io("reserve space for", &path))?;
        }
        let there = file.metadata().map_err(Error::io("ask for the size of", &path))?.len();
        if there < target.bytes {
            let why = format!("it has {there} bytes, {} are to be mapped", target.bytes);
            return Err(Error::io("map", &path)(std::io::Error::other(why)));
        }
        let map = Map::new(&file, target).map_err(Error::io("map", &path))?;
        Ok(Self { map, file, path, pool })
    }

    /// Where a transfer of `len` bytes at `at` is in memory.
    fn part(&self, at: u64, len: usize) -> Result<*mut u8> {
        let start =
            usize::try_from(at).ok().filter(|at| at.checked_add(len).is_some_and(|end| end <= self.map.len));
        match start {
            // SAFETY: start + len is inside the mapping.
            Some(start) => Ok(unsafe { self.map.start.as_ptr().add(start) }),
            None => Err(Error::io("reach", &self.path)(std::io::Error::other(format!(
                "{at} is beyond the mapping"
            )))),
        }
    }
}

impl Map {
    fn new(file: &File, target: &Target<'_>) -> std::io::Result<Self> {
        let len = usize::try_from(target.bytes).map_err(std::io::Error::other)?;
        let protection = libc::PROT_READ | if target.write { libc::PROT_WRITE } else { 0 };
        // SAFETY: a new mapping at an address of the kernel's choice, of a file that is long enough.
        let map = unsafe {
            libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        match NonNull::new(map.cast::<u8>()) {
            Some(start) if map != libc::MAP_FAILED => Ok(Self { start, len }),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}

fn reserve(file: &File, bytes: u64) -> std::io::Result<()> {
    let len = libc::off_t::try_from(bytes).map_err(std::io::Error::other)?;
    // SAFETY: the descriptor is open; the call takes numbers only.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len) } {
        0 => Ok(()),
        errno => Err(std::io::Error::from_raw_os_error(errno)),
    }
}

impl Backend for Mapped {
    fn write(&mut self, at: u64, prepare: Prepare<'_>) -> Result<()> {
        let len = self.pool.slot(0).len();
        let to = self.part(at, len)?;
        let buffer = self.pool.slot(0);
        prepare(at, buffer);
        // SAFETY: part() checked the range; the mapping is writable (opened to write) and is not the buffer.
        unsafe { std::ptr::copy_nonoverlapping(buffer.as_ptr(), to, len) };
        Ok(())
    }

    fn read(&mut self, at: u64, judge: Judge<'_>) -> Result<()> {
        let len = self.pool.slot(0).len();
        let from = self.part(at, len)?;
        let buffer = self.pool.slot(0);
        // SAFETY: part() checked the range; the buffer is not the mapping.
        unsafe { std::ptr::copy_nonoverlapping(from, buffer.as_mut_ptr(), len) };
        judge(at, buffer);
        Ok(())
    }

    /// fsync writes the pages that a mapping has made dirty, too.
    fn sync(&mut self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io("sync", &self.path)(e))
    }

    fn close(self: Box<Self>) -> (Pool, Result<()>) {
        let Self { map, file, path, pool } = *self;
        drop(map);
        (pool, files::close(file, &path))
    }
}
