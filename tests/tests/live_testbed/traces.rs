//! What could be left of a testbed on the machine. May not: change anything.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use trimtab_tests::Testbed;
use trimtab_tests::testbed::proc;

/// What a testbed could leave on the machine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Traces {
    pub(crate) processes: Vec<String>,
    pub(crate) groups: Vec<PathBuf>,
    mounts: Vec<String>,
    pub(crate) files: bool,
}

impl Traces {
    pub(crate) fn none() -> Self {
        Self { processes: Vec::new(), groups: Vec::new(), mounts: Vec::new(), files: false }
    }
    /// Looks for everything that carries the testbed's name, or lives in one of its namespaces.
    pub(crate) fn of(tag: &str, work: &Path, namespaces: &BTreeSet<String>) -> Self {
        let everything = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let processes = everything
            .filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok())
            .filter(|&pid| proc::alive(pid))
            .filter(|&pid| {
                let line = proc::command_line(pid).unwrap_or_default();
                let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                let lives_in = ["net", "pid", "mnt", "cgroup", "uts", "ipc"]
                    .iter()
                    .any(|kind| proc::namespace(pid, kind).is_some_and(|n| namespaces.contains(&n)));
                line.contains(tag) || String::from_utf8_lossy(&environment).contains(tag) || lives_in
            })
            .map(|pid| format!("{pid} {}", proc::command_line(pid).unwrap_or_default()))
            .collect();
        let mut groups = Vec::new();
        let mut todo = vec![PathBuf::from("/sys/fs/cgroup")];
        while let Some(dir) = todo.pop() {
            for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten().filter(|e| e.path().is_dir())
            {
                if entry.file_name().to_string_lossy().contains(tag) {
                    groups.push(entry.path());
                }
                if dir.components().count() < 5 {
                    todo.push(entry.path());
                }
            }
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("procfs");
        let mounts =
            mounts.lines().filter(|l| l.contains(tag) || l.contains("nsfs")).map(str::to_owned).collect();
        Self { processes, groups, mounts, files: work.exists() }
    }
}

/// The namespaces of its hosts.
pub(crate) fn namespaces_of(tb: &Testbed) -> BTreeSet<String> {
    let kinds = ["net", "pid", "mnt", "cgroup", "uts", "ipc"];
    let own: BTreeSet<String> =
        kinds.iter().filter_map(|k| proc::namespace(std::process::id() as i32, k)).collect();
    let theirs =
        tb.hosts().iter().flat_map(|h| kinds.iter().filter_map(|k| proc::namespace(h.init_pid(), k)));
    let theirs: BTreeSet<String> = theirs.filter(|n| !own.contains(n)).collect();
    assert_eq!(theirs.len(), kinds.len() * tb.hosts().len(), "each host has namespaces of its own");
    theirs
}
