//! A stream of the C library, because iozone's tests 6 and 7 measure exactly that: its buffering. Safe face of a `FILE`.

use std::ffi::CString;
use std::fs::File;
use std::io::{Error as IoError, Result as IoResult};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::ptr::NonNull;

/// An open stream; closed on drop, or loudly with [`Stream::close`].
#[derive(Debug)]
pub(super) struct Stream(NonNull<libc::FILE>);

impl Stream {
    /// Puts a stream over an open file.
    pub(super) fn over(file: File, write: bool) -> IoResult<Self> {
        let mode = CString::new(if write { "r+" } else { "r" }).map_err(IoError::other)?;
        let fd = file.into_raw_fd();
        // SAFETY: fd is open and ours; mode is a C string.
        match NonNull::new(unsafe { libc::fdopen(fd, mode.as_ptr()) }) {
            Some(stream) => Ok(Self(stream)),
            None => {
                let error = IoError::last_os_error();
                // SAFETY: fdopen failed, so the descriptor is still ours; the file closes it.
                drop(unsafe { File::from_raw_fd(fd) });
                Err(error)
            }
        }
    }

    pub(super) fn write(&mut self, data: &[u8]) -> IoResult<()> {
        // SAFETY: data is valid for its length, the stream is open.
        let moved = unsafe { libc::fwrite(data.as_ptr().cast(), 1, data.len(), self.0.as_ptr()) };
        if moved == data.len() { Ok(()) } else { Err(IoError::last_os_error()) }
    }

    pub(super) fn read(&mut self, data: &mut [u8]) -> IoResult<()> {
        // SAFETY: data is valid and exclusively borrowed for its length, the stream is open.
        let moved = unsafe { libc::fread(data.as_mut_ptr().cast(), 1, data.len(), self.0.as_ptr()) };
        if moved == data.len() { Ok(()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Hands the buffer to the system and waits for the device.
    pub(super) fn sync(&mut self) -> IoResult<()> {
        // SAFETY: the stream is open, and so is its descriptor.
        let failed =
            unsafe { libc::fflush(self.0.as_ptr()) != 0 || libc::fsync(libc::fileno(self.0.as_ptr())) != 0 };
        if failed { Err(IoError::last_os_error()) } else { Ok(()) }
    }

    pub(super) fn close(self) -> IoResult<()> {
        let stream = self.0;
        std::mem::forget(self);
        // SAFETY: the stream is open and nobody else has it.
        if unsafe { libc::fclose(stream.as_ptr()) } == 0 { Ok(()) } else { Err(IoError::last_os_error()) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: as in close.
        unsafe { libc::fclose(self.0.as_ptr()) };
    }
}
