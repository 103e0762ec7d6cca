//! A directory of the bench's own on the file system under test, removed with everything in it when it is dropped, and with
//! the directories above it that were made for it and are empty.
//!
//! May not: touch anything outside of it.

use anyhow::{Context, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{Error, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Four files of the bench's size: two ranks write two, and take pages for themselves as well. A virtual machine that gives free
/// pages back to its host fetches them again when they are written, at a quarter of the rate; with room for the files alone, a
/// program that itself needs more memory writes the end of them into such pages.
const SETTLE_MIB: usize = 1024;

/// See the module.
pub(super) struct Scratch {
    dir: PathBuf,
    /// How many directories above it were not there before.
    made: usize,
}

impl Scratch {
    /// A new one below `parent`, which is made if it is not there.
    pub(super) fn below(parent: &Path) -> Result<Scratch> {
        let made = parent.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).count();
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        let parent = parent.canonicalize().with_context(|| format!("cannot open {}", parent.display()))?;
        let dir = parent.join(format!("trimtab-bench-io.{}", std::process::id()));
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Scratch { dir, made })
    }

    /// Where it is, absolute.
    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    /// What one run leaves behind must not slow the next: its file system has nothing left to write then, and the pages that
    /// are free first are those of a file of the bench's. In alternation each program would else always get the other's, and
    /// into pages that `iozone -t 2` had freed a new file took 4 % longer, whoever wrote it.
    pub(super) fn settle(&self) -> Result<()> {
        let dir = File::open(&self.dir).with_context(|| format!("cannot open {}", self.dir.display()))?;
        // SAFETY: the descriptor is open during the call, which only takes its number.
        match unsafe { libc::syncfs(dir.as_raw_fd()) } {
            0 => self.turn_pages_over(),
            _ => Err(Error::last_os_error()).with_context(|| format!("cannot sync {}", self.dir.display())),
        }
    }

    /// Writes more than two ranks do, and removes it before it gets to a disk.
    fn turn_pages_over(&self) -> Result<()> {
        let path = self.dir.join("settle");
        let write = || {
            let mut file = File::create(&path)?;
            (0..SETTLE_MIB).try_for_each(|_| file.write_all(&[1; 1 << 20]))
        };
        let written = write();
        fs::remove_file(&path).and(written).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Does its file system open files past the page cache?
    pub(super) fn takes_direct(&self) -> bool {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).custom_flags(libc::O_DIRECT);
        // A file system may make the file and then refuse the flag: either way it goes with the directory.
        options.open(self.dir.join("direct")).is_ok()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            println!("cannot remove {}: {error}", self.dir.display());
        }
        // What somebody else has put files into by now stays, and so does all above it.
        let _ = self.dir.ancestors().skip(1).take(self.made).try_for_each(fs::remove_dir);
    }
}

#[cfg(test)]
mod tests {
    use super::Scratch;

    #[test]
    fn it_is_gone_with_everything_in_it() {
        let scratch = Scratch::below(&std::env::temp_dir()).expect("scratch");
        // Whatever the answer, asking leaves at most a file inside.
        scratch.takes_direct();
        std::fs::write(scratch.path().join("data"), "x").expect("write");
        let path = scratch.path().to_path_buf();
        assert!(path.is_absolute() && path.is_dir());
        scratch.settle().expect("settle");
        assert!(!path.join("settle").exists());
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn directories_above_it_go_if_they_were_made_for_it_and_are_empty() {
        let there = std::env::temp_dir().join(format!("trimtab-scratch.{}", std::process::id()));
        let (shared, made) = (there.join("shared"), there.join("shared/made"));
        std::fs::create_dir(&there).expect("directory");
        drop(Scratch::below(&made).expect("scratch"));
        assert!(there.exists() && !shared.exists());
        let scratch = Scratch::below(&made).expect("scratch");
        std::fs::write(shared.join("data"), "x").expect("write");
        drop(scratch);
        assert!(shared.exists() && !made.exists());
        std::fs::remove_dir_all(&there).expect("remove");
    }
}
