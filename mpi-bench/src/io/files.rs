//! Opening and closing plain files for the I/O kernels: the flags, and errors that say what the file system lacks.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::error::{Error, Result};

/// How to open a file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flags {
    /// For writing; made if missing, never cut. Also readable, which mappings and mixed tests need.
    pub write: bool,
    /// `O_DIRECT`.
    pub direct: bool,
    /// `O_SYNC`.
    pub sync: bool,
}

/// Opens a file.
///
/// # Errors
/// The system's; for `direct` a file system without it is named as such.
pub fn open(path: &Path, flags: Flags) -> Result<File> {
    let direct = if flags.direct { libc::O_DIRECT } else { 0 };
    let sync = if flags.sync { libc::O_SYNC } else { 0 };
    let mut options = OpenOptions::new();
    options.read(true).write(flags.write).create(flags.write).custom_flags(direct | sync);
    options.open(path).map_err(|e| match e.kind() {
        ErrorKind::InvalidInput if flags.direct => {
            Error::Environment(format!("{}: its file system has no direct I/O (O_DIRECT)", path.display()))
        }
        _ => Error::io(if flags.write { "create" } else { "open" }, path)(e),
    })
}

/// Closes a file and hears what close says: network file systems report there that the data did not fit.
///
/// # Errors
/// The system's.
pub fn close(file: File, path: &Path) -> Result<()> {
    // SAFETY: the descriptor was just taken out of its owner and is not used again, whatever close returns.
    match unsafe { libc::close(file.into_raw_fd()) } {
        0 => Ok(()),
        _ => Err(Error::io("close", path)(std::io::Error::last_os_error())),
    }
}

/// Removes a file that need not be there.
///
/// # Errors
/// The system's.
pub fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Changes one bit of a file, as a bad disk would: for tests that verification notices. Where it fails, that verification
/// passes, which the test sees.
pub fn flip_bit(path: &Path, at: u64) {
    let _ = OpenOptions::new().read(true).write(true).open(path).and_then(|file| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        file.write_all_at(&[byte[0] ^ 1], at)
    });
}
