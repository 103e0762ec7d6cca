//! The process that removes a rank's temporary files when the rank cannot: a child, forked before MPI starts, that waits at
//! a pipe for the rank's end, however that comes. Launchers end ranks with SIGKILL (MPICH's always, Open MPI's after a
//! moment), which no handler inside the rank survives.
//!
//! It leads a session of its own, so that signals to the job's process groups pass it by, and holds nothing of the rank's
//! (no stream that a launcher waits for, no directory). A resource manager that ends whole cgroups ends it too. May not: run
//! anything of MPI, print, or live longer than [`PATIENCE`] after its rank.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How long it tries to remove what does not go: ranks that have not ended yet may still fill a directory.
const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(20);

/// What the rank says of a path.
const MINE: u8 = b'+';
const GONE: u8 = b'-';

/// The rank's end of the pipe.
static PIPE: OnceLock<Mutex<File>> = OnceLock::new();

/// Forks the janitor. Call once, before the process has a second thread; a process without one keeps its files on a crash.
///
/// # Errors
/// The system refuses a pipe or a process.
pub fn start() -> Result<()> {
    let refused = |e: std::io::Error| Error::Environment(format!("cannot start the janitor: {e}"));
    let mut ends = [0; 2];
    // SAFETY: the call fills an array of two integers. Closed on exec: a program that MPI starts must not hold the pipe.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(refused(std::io::Error::last_os_error()));
    }
    // SAFETY: the descriptors are new and nobody else's.
    let (reader, writer) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
    // SAFETY: there is one thread, so the child may do whatever this process may; it never returns from here.
    match unsafe { libc::fork() } {
        -1 => Err(refused(std::io::Error::last_os_error())),
        0 => {
            detach(reader.as_raw_fd());
            clean_up(File::from(reader));
            // SAFETY: ends the child without the destructors of what it has inherited.
            unsafe { libc::_exit(0) }
        }
        _ => {
            let _ = PIPE.set(Mutex::new(File::from(writer)));
            Ok(())
        }
    }
}

/// Nothing but `reader` stays open, no signal to the job arrives, no file system is kept busy.
fn detach(reader: RawFd) {
    // Not close_range: kernels before 5.9 have none, and with the writing end open the end would never be heard.
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: Vec<RawFd> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    // SAFETY: plain system calls with integers and constant strings; every other descriptor is the rank's, unused from here on.
    unsafe {
        libc::setsid();
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE] {
            libc::signal(signal, libc::SIG_IGN);
        }
        libc::chdir(c"/".as_ptr());
        for fd in open.into_iter().filter(|fd| *fd != reader) {
            libc::close(fd);
        }
    }
}

/// Listens until the rank has ended, then removes what it has left.
fn clean_up(mut from: File) {
    let mut paths: Vec<PathBuf> = Vec::new();
    while let Some((said, path)) = next(&mut from) {
        match said {
            MINE => paths.push(path),
            _ => paths.retain(|known| *known != path),
        }
    }
    let begin = Instant::now();
    while paths.iter().any(|path| path.symlink_metadata().is_ok()) && begin.elapsed() < PATIENCE {
        paths.iter().for_each(|path| remove(path));
        std::thread::sleep(STEP);
    }
}

/// One message: what, the length in four bytes, the path. `None` at the end, also in the middle of one.
fn next(from: &mut File) -> Option<(u8, PathBuf)> {
    let mut head = [0; 5];
    from.read_exact(&mut head).ok()?;
    let [said, length @ ..] = head;
    let mut path = vec![0; u32::from_ne_bytes(length) as usize];
    from.read_exact(&mut path).ok()?;
    Some((said, PathBuf::from(std::ffi::OsString::from_vec(path))))
}

fn tell(said: u8, path: &Path) {
    let Some(pipe) = PIPE.get() else { return };
    // It works in another directory.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let bytes = path.as_os_str().as_bytes();
    let length = u32::try_from(bytes.len()).unwrap_or(0).to_ne_bytes();
    let message = [&[said][..], &length, bytes].concat();
    // A janitor that somebody has killed is no reason to fail: the rank itself removes its files at a good end.
    let _ = pipe.lock().unwrap_or_else(PoisonError::into_inner).write_all(&message);
}

fn remove(path: &Path) {
    // Best effort: the path may not have been created yet, or be a directory, or another rank may be faster.
    let is_dir = path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    let _ = if is_dir { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
}

/// A file or directory that this run makes. Registered before it exists; removed on drop, and when the process ends without.
#[derive(Debug)]
pub struct TempPath(PathBuf);

impl TempPath {
    /// Registers `path`; creates nothing.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        tell(MINE, &path);
        Self(path)
    }

    /// Lets the file or directory stay.
    pub fn keep(self) {
        tell(GONE, &self.0);
        std::mem::forget(self);
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        remove(&self.0);
        tell(GONE, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temp_path_is_removed_on_drop_and_may_never_have_existed() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("x");
        let temp = TempPath::new(file.clone());
        std::fs::write(&file, "x").expect("write");
        drop(temp);
        assert!(!file.exists());
        drop(TempPath::new(file));
    }

    #[test]
    fn what_was_named_and_not_taken_back_goes_at_the_end_of_the_pipe() {
        let dir = tempfile::tempdir().expect("tempdir");
        let [stays, goes, tree, never] = ["stays", "goes", "tree", "never"].map(|name| dir.path().join(name));
        std::fs::write(&stays, "x").expect("write");
        std::fs::write(&goes, "x").expect("write");
        std::fs::create_dir_all(tree.join("below")).expect("mkdir");
        std::os::unix::fs::symlink(&stays, tree.join("link")).expect("symlink");
        let mut said = Vec::new();
        for (what, path) in [(MINE, &stays), (MINE, &goes), (MINE, &tree), (MINE, &never), (GONE, &stays)] {
            let bytes = path.as_os_str().as_bytes();
            said.extend([what].iter().chain(&(bytes.len() as u32).to_ne_bytes()).chain(bytes));
        }
        // A message that its rank could not finish counts for nothing.
        said.extend([MINE, 200, 0]);
        let pipe = dir.path().join("pipe");
        std::fs::write(&pipe, said).expect("write");
        clean_up(File::open(pipe).expect("open"));
        assert_eq!([&stays, &goes, &tree].map(|path| path.exists()), [true, false, false]);
    }
}
