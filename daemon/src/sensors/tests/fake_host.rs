//! A host made of plain files: /proc, /sys and /sys/fs/cgroup in a temporary directory.

use crate::sensors::{Sensors, SensorsConfig};
use std::fs;
use std::path::{Path, PathBuf};

/// Deleted when dropped.
pub(super) struct FakeHost(tempfile::TempDir);

impl FakeHost {
    /// A host that has a process and nothing else.
    pub(super) fn empty() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        fs::create_dir(host.root().join("proc")).unwrap();
        host
    }
    /// A kernel with schedstat, and a sysfs tree of `tests/fixtures/topology`.
    pub(super) fn with_topology(name: &str) -> Self {
        let host = Self::empty();
        host.put("proc/self/schedstat", "1 1 1\n");
        unpack(name, &host.root().join("sys"));
        host
    }
    pub(super) fn root(&self) -> &Path {
        self.0.path()
    }
    /// Writes a file, in place if it is there (who has it open sees the new text).
    pub(super) fn put(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    /// A thread of process `pid` that ran for `run_ns`.
    pub(super) fn thread(&self, pid: i32, tid: i32, comm: &str, run_ns: u64) {
        self.counters(&format!("proc/{pid}/task/{tid}"), comm, run_ns);
    }
    /// The files of a thread directory.
    pub(super) fn counters(&self, dir: &str, comm: &str, run_ns: u64) {
        let after: Vec<String> = (4..=52).map(|field| field.to_string()).collect();
        self.put(&format!("{dir}/comm"), &format!("{comm}\n"));
        self.put(&format!("{dir}/schedstat"), &format!("{run_ns} 7 {}\n", run_ns / 1000));
        self.put(&format!("{dir}/stat"), &format!("9 ({comm}) S {}\n", after.join(" ")));
    }
    pub(super) fn end_thread(&self, pid: i32, tid: i32) {
        fs::remove_dir_all(self.root().join(format!("proc/{pid}/task/{tid}"))).unwrap();
    }
    pub(super) fn config(&self) -> SensorsConfig {
        SensorsConfig {
            proc_root: self.root().join("proc"),
            sys_root: self.root().join("sys"),
            cgroup_root: self.root().join("cgroup"),
            perf: false,
            ..SensorsConfig::default()
        }
    }
    pub(super) fn sensors(&self) -> Sensors {
        Sensors::new(self.config()).unwrap()
    }
}

/// Makes files of `PATH:LINE` lines, which is what `grep -r . devices/system/cpu devices/system/node` prints in /sys.
fn unpack(name: &str, root: &Path) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/topology/{name}.txt"));
    for line in fs::read_to_string(file).unwrap().lines().filter(|line| !line.starts_with('#')) {
        let (path, content) = line.split_once(':').unwrap();
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let before = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, format!("{before}{content}\n")).unwrap();
    }
}
