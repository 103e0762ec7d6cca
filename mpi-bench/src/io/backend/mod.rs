//! Ways to move transfers between memory and a file: the trait [`Backend`] and the choice of one. A backend knows nothing of
//! patterns, orders and clocks; it owns the transfer buffers while it is open.

mod dummy;
mod mmap;
mod mpiio;
mod posix;
mod uring;

use std::path::Path;

use super::pool::Pool;
use crate::error::Result;
use crate::mpi_raw::View;
use crate::team::Team;

/// Puts the right bytes into a buffer that is about to be written at that place of the file.
pub type Prepare<'a> = &'a mut dyn FnMut(u64, &mut [u8]);

/// Gets what was read from that place of the file.
pub type Judge<'a> = &'a mut dyn FnMut(u64, &[u8]);

/// An open file. Transfers have the length of the pool's buffers.
pub trait Backend {
    /// Writes one transfer at `at`, or starts to.
    ///
    /// # Errors
    /// The system's, of this transfer or of one that was started before.
    fn write(&mut self, at: u64, prepare: Prepare<'_>) -> Result<()>;

    /// Reads one transfer at `at`, or starts to. `judge` sees every transfer that is complete, maybe an earlier one.
    ///
    /// # Errors
    /// As [`Backend::write`]; also the end of the file.
    fn read(&mut self, at: u64, judge: Judge<'_>) -> Result<()>;

    /// Waits for what was started.
    ///
    /// # Errors
    /// The system's, of one of them.
    fn drain(&mut self, _judge: Judge<'_>) -> Result<()> {
        Ok(())
    }

    /// Returns when what was written is on the device.
    ///
    /// # Errors
    /// The system's.
    fn sync(&mut self) -> Result<()>;

    /// Closes the file and gives the buffers back.
    fn close(self: Box<Self>) -> (Pool, Result<()>);
}

/// Which backend, with its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// `pread` and `pwrite`.
    Posix {
        /// Past the page cache (`O_DIRECT`).
        direct: bool,
        /// A transfer that the system cuts short is an error instead of being continued.
        single_attempt: bool,
    },
    /// Loads and stores in a mapping of the file.
    Mmap,
    /// Several transfers at a time through `io_uring`.
    Uring {
        /// How many, at least 1.
        depth: u32,
        /// Past the page cache (`O_DIRECT`).
        direct: bool,
    },
    /// `MPI_File_*`.
    MpiIo {
        /// All ranks together (`_all`).
        collective: bool,
        /// Through a file view instead of explicit offsets.
        view: bool,
    },
    /// Nothing is moved: what the engine itself costs.
    Dummy,
}

impl Access {
    /// IOR's name of it.
    #[must_use]
    pub fn api(self) -> &'static str {
        match self {
            Self::Posix { .. } => "POSIX",
            Self::Mmap => "MMAP",
            Self::Uring { .. } => "URING",
            Self::MpiIo { .. } => "MPIIO",
            Self::Dummy => "DUMMY",
        }
    }

    /// Does it go past the page cache?
    #[must_use]
    pub fn is_direct(self) -> bool {
        matches!(self, Self::Posix { direct: true, .. } | Self::Uring { direct: true, .. })
    }

    /// Must all ranks make each call together?
    #[must_use]
    pub fn is_collective(self) -> bool {
        matches!(self, Self::MpiIo { collective: true, .. })
    }

    /// Buffers that it works with.
    #[must_use]
    pub fn slots(self) -> usize {
        match self {
            Self::Uring { depth, .. } => depth as usize,
            _ => 1,
        }
    }
}

/// What to open.
#[derive(Debug)]
pub struct Target<'a> {
    /// The file.
    pub path: &'a Path,
    /// To write it, made if it is not there and never cut; else to read it.
    pub write: bool,
    /// Ranks that open it together (MPI-IO).
    pub team: &'a Team,
    /// Length that it has or will have.
    pub bytes: u64,
    /// This rank's part, for a file view.
    pub view: View,
}

/// Opens `target`.
///
/// # Errors
/// The system's; the file system has no direct I/O; the kernel has no io_uring or forbids it.
pub fn open(access: Access, target: &Target<'_>, pool: Pool) -> Result<Box<dyn Backend>> {
    Ok(match access {
        Access::Posix { direct, single_attempt } => {
            Box::new(posix::Posix::open(target, pool, direct, single_attempt)?)
        }
        Access::Mmap => Box::new(mmap::Mapped::open(target, pool)?),
        Access::Uring { depth, direct } => Box::new(uring::Uring::open(target, pool, depth, direct)?),
        Access::MpiIo { collective, view } => {
            Box::new(mpiio::MpiIo::open(target, pool, collective, view.then_some(target.view))?)
        }
        Access::Dummy => Box::new(dummy::Dummy(pool)),
    })
}
