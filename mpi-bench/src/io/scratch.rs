//! Where the kernels' files live while they run: a directory of their own below `--dir`, which every rank knows, so that
//! whichever rank survives can remove it. And whether there is room for them.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::janitor::TempPath;
use crate::team::Team;

/// A directory that goes away with this value, on time-out and on a signal.
#[derive(Debug)]
pub struct Scratch(TempPath);

impl Scratch {
    /// Makes `DIR/trimtab-NAME-PID-N`, on every node. Collective.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn new(team: &Team, below: &Path, name: &str) -> Result<Self> {
        let unique =
            format!("trimtab-{name}-{}-{}", std::process::id(), jiff::Timestamp::now().as_nanosecond());
        let unique = team.share_bytes(unique.into_bytes());
        let path = below.join(String::from_utf8_lossy(&unique).as_ref());
        let temp = TempPath::new(path.clone());
        // Ranks on one node make it together: the second finds it there.
        team.agree(std::fs::create_dir_all(&path).map_err(Error::io("make directory", path)))?;
        Ok(Self(temp))
    }

    /// A path in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Fails if the file system of `dir` has less than `bytes` left for unprivileged users.
///
/// # Errors
/// So it is, or the file system does not answer.
pub fn need_space(dir: &Path, bytes: u64) -> Result<()> {
    let stat = rustix::fs::statvfs(dir).map_err(|e| Error::io("ask the file system of", dir)(e.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    // A file system that counts no blocks (ramfs) cannot be asked.
    match bytes <= free || stat.f_blocks == 0 {
        true => Ok(()),
        false => Err(Error::Environment(format!(
            "the file system of {} has {} MiB free, {} MiB are to be written",
            dir.display(),
            free >> 20,
            bytes.div_ceil(1 << 20)
        ))),
    }
}
