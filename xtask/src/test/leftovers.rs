//! What a test run has left behind: processes, cgroups, named network namespaces, mounts, network interfaces.
//!
//! Processes that outlive their parents become ours (child subreaper), so that no daemon can slip away by forking twice;
//! the rest is compared with what was there before. Others may work on the same machine: a new cgroup with processes in
//! it that are not ours is theirs. May not: end or remove anything; it reports.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// How long things that are on their way out get to go.
const GRACE: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(250);

/// What was there at the beginning.
pub(super) struct Before {
    things: BTreeSet<String>,
}

impl Before {
    /// Remember what is there, and become the parent of whatever loses its own.
    pub(super) fn now() -> Before {
        // SAFETY: this prctl takes an integer and has no memory preconditions.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
        Before { things: things(true) }
    }

    /// What is there now and was not, one thing an entry; empty is good.
    pub(super) fn left(&self) -> Vec<String> {
        let mut waited = Duration::ZERO;
        loop {
            let mut left = children();
            left.extend(things(false).difference(&self.things).cloned());
            if left.is_empty() || waited >= GRACE {
                return left;
            }
            sleep(STEP);
            waited += STEP;
        }
    }
}

/// Our children: all direct ones have been waited for, so these were handed to us.
fn children() -> Vec<String> {
    let own = std::process::id().to_string();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| child(&entry.path(), &own)).collect()
}

/// `process PID: NAME` when the process at this /proc path is a live child of `parent`. A zombie is reaped on the way.
fn child(path: &Path, parent: &str) -> Option<String> {
    let stat = fs::read_to_string(path.join("stat")).ok()?;
    let (head, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    if fields.next()? != parent {
        return None;
    }
    let (pid, name) = head.split_once(" (")?;
    if state == "Z" {
        let pid = pid.parse().ok()?;
        // SAFETY: waitpid of our own child with a null status pointer.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
        return None;
    }
    Some(format!("process {pid}: {name}"))
}

/// What there is; of the cgroups only the empty ones unless `all`.
fn things(all: bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    cgroups(Path::new("/sys/fs/cgroup"), all, &mut found);
    named("/run/netns", "network namespace", &mut found);
    named("/sys/class/net", "network interface", &mut found);
    if let Ok(text) = fs::read_to_string("/proc/self/mountinfo") {
        found.extend(text.lines().filter_map(|line| line.split(' ').nth(4)).map(|at| format!("mount {at}")));
    }
    found
}

fn named(dir: &str, what: &str, found: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    found.extend(entries.flatten().map(|entry| format!("{what} {}", entry.file_name().to_string_lossy())));
}

/// Cgroups without a process in or below them, or all. Returns whether there was any process.
fn cgroups(dir: &Path, all: bool, found: &mut BTreeSet<String>) -> bool {
    let mut populated = fs::read_to_string(dir.join("cgroup.procs")).is_ok_and(|text| !text.is_empty());
    let Ok(entries) = fs::read_dir(dir) else { return populated };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            populated |= cgroups(&entry.path(), all, found);
        }
    }
    if (all || !populated) && dir.join("cgroup.procs").exists() {
        found.insert(format!("cgroup {}", dir.display()));
    }
    populated
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_daemon_that_forked_twice_is_found() {
        let before = Before::now();
        let out = Command::new("sh")
            .args(["-c", "setsid sleep 30 >/dev/null 2>&1 & echo $!"])
            .stderr(Stdio::null())
            .output()
            .expect("sh starts");
        let pid = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        // Other tests have children too, and this one may not have called exec yet: the pid decides.
        let ours = |left: &[String]| left.iter().any(|left| left.starts_with(&format!("process {pid}: ")));
        assert!(ours(&children()), "{:?}", children());
        Command::new("kill").arg(&pid).status().expect("kill starts");
        assert!(!ours(&before.left()));
    }
}
