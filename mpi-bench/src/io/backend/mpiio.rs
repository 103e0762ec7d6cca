//! MPI-IO: explicit offsets or a file view, each rank for itself or all together.

use std::path::PathBuf;

use super::{Backend, Judge, Prepare, Target};
use crate::error::{Error, Result};
use crate::io::pool::Pool;
use crate::mpi_raw::{MpiFile, View};

/// See the module.
pub(super) struct MpiIo {
    file: MpiFile,
    path: PathBuf,
    pool: Pool,
    collective: bool,
    view: Option<View>,
}

impl MpiIo {
    /// Collective over the target's team.
    pub(super) fn open(
        target: &Target<'_>,
        pool: Pool,
        collective: bool,
        view: Option<View>,
    ) -> Result<Self> {
        let verb = if target.write { "create" } else { "open" };
        let path = target.path.to_path_buf();
        let mut file =
            MpiFile::open(target.team.comm(), &path, target.write).map_err(Error::io(verb, &path))?;
        if let Some(view) = view {
            file.set_view(view).map_err(Error::io("set the view of", &path))?;
        }
        Ok(Self { file, path, pool, collective, view })
    }

    /// Offset that MPI wants for a place of the file: in a view only its own bytes count.
    fn offset(&self, at: u64) -> u64 {
        match self.view {
            None => at,
            Some(view) => {
                let from_start = at - view.start;
                from_start / view.stride * view.block + from_start % view.stride
            }
        }
    }
}

impl Backend for MpiIo {
    fn write(&mut self, at: u64, prepare: Prepare<'_>) -> Result<()> {
        let offset = self.offset(at);
        let buffer = self.pool.slot(0);
        prepare(at, buffer);
        self.file.write_at(offset, buffer, self.collective).map_err(|e| Error::io("write", &self.path)(e))
    }

    fn read(&mut self, at: u64, judge: Judge<'_>) -> Result<()> {
        let offset = self.offset(at);
        let buffer = self.pool.slot(0);
        self.file.read_at(offset, buffer, self.collective).map_err(|e| Error::io("read", &self.path)(e))?;
        judge(at, buffer);
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.file.sync().map_err(|e| Error::io("sync", &self.path)(e))
    }

    fn close(self: Box<Self>) -> (Pool, Result<()>) {
        let Self { file, path, pool, .. } = *self;
        (pool, file.close().map_err(Error::io("close", path)))
    }
}
