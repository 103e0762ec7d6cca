//! The keeper: a small process beside each testbed that takes it down when its owner ends, however that happens (return,
//! panic, Ctrl-C, kill -9). If the keeper itself is killed too, [`reap`] of the next testbed does its work.

use super::proc::{alive, start_time};
use super::util::{read, write};
use super::{Error, Result};
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Work directories are `PREFIX` plus random letters, in the temporary directory.
pub(crate) const PREFIX: &str = "trimtab-tb-";

/// Longest path of a temporary directory that still leaves room for socket names (108 bytes in all).
const LONGEST_TEMP: usize = 48;

/// Where work directories are made.
pub(crate) fn temp_dir() -> PathBuf {
    let dir = std::env::temp_dir();
    if dir.as_os_str().len() <= LONGEST_TEMP { dir } else { PathBuf::from("/tmp") }
}

/// A running keeper.
#[derive(Debug)]
pub(crate) struct Keeper {
    child: Child,
    work: PathBuf,
}

fn script(work: &Path) -> Command {
    let mut command = Command::new("bash");
    command.arg(work.join("scripts/keeper.sh")).arg(work);
    if std::env::var_os("TRIMTAB_TESTBED_KEEP").is_some() {
        command.arg("keep");
    }
    // A session's Ctrl-C and hang-up must not reach it.
    command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

impl Keeper {
    /// Starts the keeper of `work`.
    pub(crate) fn start(work: &Path) -> Result<Self> {
        let child = script(work).stdin(Stdio::piped()).spawn().map_err(Error::io("start the keeper"))?;
        let pid = child.id() as i32;
        write(&work.join("owner"), &format!("{pid} {}\n", start_time(pid).unwrap_or_default()))?;
        Ok(Self { child, work: work.to_owned() })
    }

    /// The keeper's process id.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Takes the testbed down and waits for the end of it.
    pub(crate) fn finish(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let mut said = String::new();
        if let Some(mut out) = self.child.stdout.take() {
            let _ = out.read_to_string(&mut said);
        }
        let status = self.child.wait().map_err(Error::io("wait for the keeper"))?;
        if status.success() {
            Ok(())
        } else {
            Err(Error::Left { work: self.work, said: said.trim().to_owned() })
        }
    }
}

/// Takes down every testbed in the temporary directory whose keeper is gone. Answers their work directories.
pub fn reap() -> Vec<PathBuf> {
    let mut reaped = Vec::new();
    for entry in fs::read_dir(temp_dir()).into_iter().flatten().flatten() {
        let work = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // No owner: just being made, or kept on purpose.
        let Ok(owner) = read(&work.join("owner")) else { continue };
        let mut fields = owner.split_whitespace().filter_map(|f| f.parse::<u64>().ok());
        let (Some(pid), Some(start)) = (fields.next(), fields.next()) else { continue };
        if alive(pid as i32) && start_time(pid as i32) == Some(start) {
            continue;
        }
        if script(&work).stdin(Stdio::null()).output().is_ok_and(|out| out.status.success()) {
            reaped.push(work);
        }
    }
    reaped
}
