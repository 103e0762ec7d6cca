//! `pread` and `pwrite`, buffered or direct.

use std::fs::File;
use std::io::{Error as IoError, Result as IoResult};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::{Backend, Judge, Prepare, Target};
use crate::error::{Error, Result};
use crate::io::files::{self, Flags};
use crate::io::pool::Pool;

/// See the module.
pub(super) struct Posix {
    file: File,
    path: PathBuf,
    pool: Pool,
    single_attempt: bool,
}

impl Posix {
    pub(super) fn open(target: &Target<'_>, pool: Pool, direct: bool, single_attempt: bool) -> Result<Self> {
        let file = files::open(target.path, Flags { write: target.write, direct, sync: false })?;
        Ok(Self { file, path: target.path.to_path_buf(), pool, single_attempt })
    }
}

/// One call must do.
fn whole(moved: usize, len: usize) -> IoResult<()> {
    match moved == len {
        true => Ok(()),
        false => Err(IoError::other(format!("{moved} of {len} bytes moved at the first attempt"))),
    }
}

impl Backend for Posix {
    fn write(&mut self, at: u64, prepare: Prepare<'_>) -> Result<()> {
        let buffer = self.pool.slot(0);
        prepare(at, buffer);
        let written = match self.single_attempt {
            true => self.file.write_at(buffer, at).and_then(|n| whole(n, buffer.len())),
            false => self.file.write_all_at(buffer, at),
        };
        written.map_err(|e| Error::io("write", &self.path)(e))
    }

    fn read(&mut self, at: u64, judge: Judge<'_>) -> Result<()> {
        let buffer = self.pool.slot(0);
        let read = match self.single_attempt {
            true => self.file.read_at(buffer, at).and_then(|n| whole(n, buffer.len())),
            false => self.file.read_exact_at(buffer, at),
        };
        read.map_err(|e| Error::io("read", &self.path)(e))?;
        judge(at, buffer);
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io("sync", &self.path)(e))
    }

    fn close(self: Box<Self>) -> (Pool, Result<()>) {
        (self.pool, files::close(self.file, &self.path))
    }
}
