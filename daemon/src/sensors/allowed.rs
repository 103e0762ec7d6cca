//! The CPUs that guests may use on this host at all, and noticing when that or the online set changes.
//!
//! Approach: the online list is a kept file. The allowed set is the affinity of process 1 (isolated CPUs and the cpuset of
//! a container are not in it), narrowed by the cpuset of libvirt's machine partition where that exists. Both are read at
//! every tick: pins of guests that are read back after the tick must not know of a loss before this does.
//! May not: look at one guest's pins or cpuset.

use super::SensorsConfig;
use super::cgroup::{Hierarchies, cpu_list};
use super::files::HostFile;
use super::topology;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use trimtab_policy::topology::{CpuSet, Topology};

/// libvirt's partition for guests: under systemd, and without.
const PARTITIONS: [&str; 2] = ["machine.slice", "machine"];

/// The topology as last read and what it was read from.
#[derive(Debug)]
pub(super) struct TopologySensor {
    sys_root: PathBuf,
    proc_root: PathBuf,
    given: Option<CpuSet>,
    /// Partition files in order of preference.
    partitions: Vec<PathBuf>,
    online_file: HostFile,
    online: Vec<u8>,
    allowed: Option<CpuSet>,
    topology: Arc<Topology>,
}

impl TopologySensor {
    /// Reads it for the first time.
    pub(super) fn open(config: &SensorsConfig, hierarchies: &Hierarchies) -> Self {
        let online_file = HostFile::open(&config.sys_root.join(topology::ONLINE));
        let mut sensor = Self {
            sys_root: config.sys_root.clone(),
            proc_root: config.proc_root.clone(),
            given: config.allowed.clone(),
            partitions: partitions(&config.proc_root, hierarchies),
            online_file,
            online: Vec::new(),
            allowed: None,
            topology: Arc::default(),
        };
        sensor.online = sensor.read_online().unwrap_or_default();
        sensor.allowed = sensor.read_allowed();
        sensor.topology = Arc::new(topology::read(&sensor.sys_root, sensor.allowed.as_ref()));
        sensor
    }

    /// The present topology; the same `Arc` as before as long as neither set has changed.
    pub(super) fn topology(&mut self) -> Arc<Topology> {
        let online = self.read_online();
        // In this order: CPUs that went offline leave the allowed set by themselves.
        let allowed = self.read_allowed();
        let online_changed = online.as_ref().is_some_and(|online| *online != self.online);
        if online_changed || allowed != self.allowed {
            self.online = online.unwrap_or_default();
            self.allowed = allowed;
            self.topology = Arc::new(topology::read(&self.sys_root, self.allowed.as_ref()));
        }
        Arc::clone(&self.topology)
    }

    /// Descriptors held.
    pub(super) fn descriptors(&self) -> usize {
        self.online_file.descriptors()
    }

    fn read_online(&self) -> Option<Vec<u8>> {
        let mut buf = [0; 4096];
        self.online_file.read(&mut buf).map(<[u8]>::to_vec)
    }

    fn read_allowed(&self) -> Option<CpuSet> {
        if self.given.is_some() {
            return self.given.clone();
        }
        let partition =
            self.partitions.iter().find_map(|file| std::fs::read(file).ok()).and_then(|text| cpu_list(&text));
        match (init_affinity(&self.proc_root), partition) {
            (Some(init), Some(partition)) => Some(init.and(&partition)),
            (one, other) => one.or(other),
        }
    }
}

/// Where the partition's effective CPUs would be: below the group of process 1, which in a container is not the root.
fn partitions(proc_root: &Path, hierarchies: &Hierarchies) -> Vec<PathBuf> {
    let (root, file) = match (&hierarchies.v1_cpuset, &hierarchies.v2) {
        (Some(v1), _) => (super::cgroup::group_dir(proc_root, 1, v1, "cpuset"), "cpuset.effective_cpus"),
        (None, Some(v2)) => (super::cgroup::group_dir(proc_root, 1, v2, ""), "cpuset.cpus.effective"),
        (None, None) => return Vec::new(),
    };
    // systemd's own process sits in init.scope, beside the slices and not above them.
    let base = if root.ends_with("init.scope") { root.parent().unwrap_or(&root) } else { &root };
    PARTITIONS.iter().map(|name| base.join(name).join(file)).collect()
}

/// `Cpus_allowed_list` of process 1.
fn init_affinity(proc_root: &Path) -> Option<CpuSet> {
    let text = std::fs::read(proc_root.join("1/status")).ok()?;
    text.split(|&byte| byte == b'\n').find_map(|line| cpu_list(line.strip_prefix(b"Cpus_allowed_list:")?))
}
