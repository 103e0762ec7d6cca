//! A directory of the bench's own on the file system under test, removed with everything in it when it is dropped.
//!
//! May not: touch anything outside of it.

use anyhow::{Context, Result};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// See the module.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// A new one below `parent`, which is made if it is not there.
    pub(super) fn below(parent: &Path) -> Result<Scratch> {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        let parent = parent.canonicalize().with_context(|| format!("cannot open {}", parent.display()))?;
        let dir = parent.join(format!("trimtab-bench-io.{}", std::process::id()));
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Scratch(dir))
    }

    /// Where it is, absolute.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Does its file system open files past the page cache?
    pub(super) fn takes_direct(&self) -> bool {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).custom_flags(libc::O_DIRECT);
        // A file system may make the file and then refuse the flag: either way it goes with the directory.
        options.open(self.0.join("direct")).is_ok()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            println!("cannot remove {}: {error}", self.0.display());
        }
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
        drop(scratch);
        assert!(!path.exists());
    }
}
