//! The nice value of a guest, where there are no cgroups to weigh it (session mode).
//!
//! Two things are called nice in Linux. Where autogroups are on, each qemu (started by libvirt in a session of its own)
//! is one group whose weight is /proc/PID/autogroup, which its owner may raise *and lower again* from 0 to 19. The nice
//! of the threads counts where autogroups are off, and can be lowered again only with CAP_SYS_NICE or under a sufficient
//! RLIMIT_NICE. So: the autogroup's where there is one, the threads' where it can be undone, both where both; and no knob
//! at all where nothing can be undone, or where the values found differ (somebody has set single threads).
//! May not: touch a process that is not this guest's qemu.

use crate::libvirt::qemu_pid_in;
use rustix::io::Errno;
use rustix::process::{Pid, getpriority_process, setpriority_process};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The kernel takes one change of an autogroup per 100 ms from all unprivileged users together, and says EAGAIN.
const AUTOGROUP_PAUSE: Duration = Duration::from_millis(120);
/// Tries before that is an error.
const AUTOGROUP_TRIES: u32 = 10;
/// CAP_SYS_NICE in the capability masks of /proc/PID/status.
const CAP_SYS_NICE: u64 = 1 << 23;

/// A nice value could not be read or set.
#[derive(Debug, thiserror::Error)]
pub enum NiceError {
    /// No qemu of this name.
    #[error("{0} has no qemu process here")]
    NoProcess(String),
    /// It could be raised, but never lowered again.
    #[error("a nice value of {0} could not be undone: neither autogroups nor CAP_SYS_NICE nor RLIMIT_NICE")]
    NotUndoable(String),
    /// Threads differ.
    #[error("the threads of {0} have different nice values: somebody has set them one by one")]
    Mixed(String),
    /// The kernel refused.
    #[error("nice value of {guest}: {source}")]
    Kernel {
        /// The guest.
        guest: String,
        /// Its words.
        source: Error,
    },
}

/// Reads and sets nice values.
#[derive(Clone, Debug)]
pub struct Nice {
    proc_root: PathBuf,
    pid_dir: PathBuf,
}

/// What can be turned, and undone, for one qemu.
#[derive(Debug)]
struct Levers {
    pid: i32,
    autogroup: Option<i32>,
    threads: bool,
}

impl Nice {
    pub(super) fn new(proc_root: PathBuf, pid_dir: PathBuf) -> Self {
        Self { proc_root, pid_dir }
    }

    pub(super) fn pid_dir(&self) -> &Path {
        &self.pid_dir
    }

    /// The nice value of a guest, -20..=19.
    ///
    /// # Errors
    /// Where it cannot be told, or could not be undone once set.
    pub fn read(&self, guest: &str) -> Result<i32, NiceError> {
        let levers = self.levers(guest)?;
        let mut values = levers.autogroup.into_iter().collect::<Vec<_>>();
        if levers.threads {
            for tid in self.threads(levers.pid) {
                match getpriority_process(Pid::from_raw(tid)) {
                    Ok(nice) => values.push(nice),
                    // A worker thread of qemu's that has ended meanwhile.
                    Err(Errno::SRCH) => {}
                    Err(errno) => return Err(kernel(guest, errno.into())),
                }
            }
        }
        values.dedup();
        match values[..] {
            [nice] => Ok(nice),
            [] => Err(NiceError::NoProcess(guest.to_owned())),
            _ => Err(NiceError::Mixed(guest.to_owned())),
        }
    }

    /// Set the nice value of a guest.
    ///
    /// # Errors
    /// As `read`; and what the kernel says, after which some threads may have the value already (then `read` is mixed).
    pub async fn write(&self, guest: &str, nice: i32) -> Result<(), NiceError> {
        let levers = self.levers(guest)?;
        if levers.autogroup.is_some() {
            self.write_autogroup(levers.pid, nice).await.map_err(|e| kernel(guest, e))?;
        }
        if levers.threads {
            for tid in self.threads(levers.pid) {
                match setpriority_process(Pid::from_raw(tid), nice) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(errno) => return Err(kernel(guest, errno.into())),
                }
            }
        }
        Ok(())
    }

    async fn write_autogroup(&self, pid: i32, nice: i32) -> Result<(), Error> {
        let path = self.proc_root.join(pid.to_string()).join("autogroup");
        for _ in 1..AUTOGROUP_TRIES {
            match std::fs::write(&path, nice.to_string()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    tokio::time::sleep(AUTOGROUP_PAUSE).await;
                }
                result => return result,
            }
        }
        std::fs::write(&path, nice.to_string())
    }

    fn levers(&self, guest: &str) -> Result<Levers, NiceError> {
        let pid = qemu_pid_in(&self.proc_root, &self.pid_dir, guest)
            .ok_or_else(|| NiceError::NoProcess(guest.to_owned()))?;
        let levers = Levers { pid, autogroup: self.autogroup(pid), threads: self.can_undo_threads(pid) };
        if levers.autogroup.is_none() && !levers.threads {
            return Err(NiceError::NotUndoable(guest.to_owned()));
        }
        Ok(levers)
    }

    fn file(&self, of: &str, name: &str) -> Option<String> {
        file(&self.proc_root, of, name)
    }

    /// `/autogroup-43 nice 5`, where autogroups are on and this one is qemu's alone.
    fn autogroup(&self, pid: i32) -> Option<i32> {
        let enabled =
            self.file("sys/kernel", "sched_autogroup_enabled").filter(|_| self.has_own_session(pid))?;
        let text = self.file(&pid.to_string(), "autogroup").filter(|_| enabled.trim() == "1")?;
        text.trim().rsplit_once(" nice ")?.1.parse().ok()
    }

    /// An autogroup is shared by a session. libvirt starts qemu in a new one, whose leader ends right after the start; a
    /// leader that lives and is not qemu means that others are in it.
    fn has_own_session(&self, pid: i32) -> bool {
        let stat = self.file(&pid.to_string(), "stat");
        // Field 6, counted after the name in brackets (which may contain anything).
        let session =
            stat.as_deref().and_then(|s| s.rsplit_once(") ")?.1.split(' ').nth(3)?.parse::<i32>().ok());
        session.is_some_and(|leader| {
            leader > 0 && (leader == pid || !self.proc_root.join(leader.to_string()).exists())
        })
    }

    /// Whether threads that are made nicer can be brought back to 0 or below, where they began.
    fn can_undo_threads(&self, pid: i32) -> bool {
        can_undo_threads(&self.proc_root, &pid.to_string())
    }

    fn threads(&self, pid: i32) -> Vec<i32> {
        let Ok(entries) = std::fs::read_dir(self.proc_root.join(pid.to_string()).join("task")) else {
            return Vec::new();
        };
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
    }
}

/// Why priority cannot be turned where `can_be_lowered` says no.
pub const NOT_LOWERED: &str = "a nice value could not be lowered again: autogroups are off, and there is neither CAP_SYS_NICE nor RLIMIT_NICE >= 20";

/// Whether this process could lower a nice value again that it raised, as far as the host alone can tell: what holds for
/// one guest's qemu is looked at when its knobs are read.
pub fn can_be_lowered(proc_root: &Path) -> bool {
    file(proc_root, "sys/kernel", "sched_autogroup_enabled").is_some_and(|text| text.trim() == "1")
        || can_undo_threads(proc_root, "self")
}

fn can_undo_threads(proc_root: &Path, of: &str) -> bool {
    let capable = file(proc_root, "self", "status")
        .and_then(|s| field(&s, "CapEff:").and_then(|mask| u64::from_str_radix(mask, 16).ok()))
        .is_some_and(|mask| mask & CAP_SYS_NICE != 0);
    // The kernel compares 20 - nice with the limit of the process that is made less nice.
    let limit = || field(&file(proc_root, of, "limits")?, "Max nice priority")?.parse::<i64>().ok();
    capable || limit().is_some_and(|limit| limit >= 20)
}

fn file(proc_root: &Path, of: &str, name: &str) -> Option<String> {
    std::fs::read_to_string(proc_root.join(of).join(name)).ok()
}

/// The first word after `name` at the beginning of a line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()
}

fn kernel(guest: &str, source: Error) -> NiceError {
    NiceError::Kernel { guest: guest.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nice_is_a_knob_only_where_it_can_be_lowered_again() {
        let host = |autogroups: &str, capabilities: &str, limit: &str| {
            let dir = tempfile::tempdir().unwrap();
            for (name, text) in [
                ("sys/kernel/sched_autogroup_enabled", autogroups.to_owned()),
                ("self/status", format!("Name:\ttrimtabd\nCapEff:\t{capabilities}\n")),
                ("self/limits", format!("Max nice priority         {limit}                    {limit}\n")),
            ] {
                let path = dir.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            can_be_lowered(dir.path())
        };
        assert!(!host("0\n", "0000000000000000", "0"));
        assert!(!host("0\n", "0000000000000000", "19"));
        assert!(host("0\n", "0000000000000000", "20"));
        assert!(host("0\n", "0000000000800000", "0"));
        assert!(host("1\n", "0000000000000000", "0"));
        assert!(!can_be_lowered(Path::new("/nonexistent")));
    }
}
