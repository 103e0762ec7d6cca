//! The guest's own cgroup: where it is, and its pressure.
//!
//! Approach: libvirt gives each guest a machine-level group (`machine-qemu…scope` under systemd, `qemu-N-NAME.libvirt-qemu`
//! without) and groups for its threads below. Only the machine-level group speaks for the guest: the groups below carry
//! the pins that Trimtab itself turns. Where no such group exists (session mode, the unified tree of a hybrid host) the
//! pressure is absent rather than that of a group shared with others.
//! May not: write.

use super::host::Pressure;
use std::path::{Path, PathBuf};
use trimtab_policy::knob::PriorityDomain;
use trimtab_policy::sample::PsiSet;
use trimtab_policy::topology::CpuSet;

/// The cgroup file systems below one root, laid out as systemd does it: v2 at the root itself, or v1 controllers by
/// name with v2 in `unified`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hierarchies {
    /// The v2 tree.
    pub(super) v2: Option<PathBuf>,
    /// The v1 tree of the cpuset controller.
    pub(super) v1_cpuset: Option<PathBuf>,
    /// The v1 tree of the cpu controller.
    pub(super) v1_cpu: Option<PathBuf>,
}

impl Hierarchies {
    /// Looks at what is mounted.
    pub(super) fn find(root: &Path) -> Self {
        let existing = |dir: PathBuf, file: &str| dir.join(file).exists().then_some(dir);
        if let Some(v2) = existing(root.to_path_buf(), "cgroup.controllers") {
            return Self { v2: Some(v2), ..Self::default() };
        }
        Self {
            v2: existing(root.join("unified"), "cgroup.controllers"),
            v1_cpuset: existing(root.join("cpuset"), "cpuset.cpus"),
            v1_cpu: existing(root.join("cpu"), "cpu.shares")
                .or_else(|| existing(root.join("cpu,cpuacct"), "cpu.shares")),
        }
    }

    /// How CPU time can be shared out between guests of a system-mode libvirt.
    pub(super) fn priority(&self) -> PriorityDomain {
        if self.v1_cpu.is_some() {
            return PriorityDomain::CgroupV1;
        }
        let controllers =
            self.v2.as_ref().and_then(|v2| std::fs::read_to_string(v2.join("cgroup.controllers")).ok());
        match controllers {
            Some(names) if names.split_ascii_whitespace().any(|name| name == "cpu") => {
                PriorityDomain::CgroupV2
            }
            _ => PriorityDomain::None,
        }
    }
}

/// One guest's machine-level group.
#[derive(Debug)]
pub(super) struct GuestGroup {
    pressure: Option<Pressure>,
}

impl GuestGroup {
    /// Finds the groups of process `pid`.
    pub(super) fn find(proc_root: &Path, pid: i32, hierarchies: &Hierarchies) -> Self {
        let text = memberships(proc_root, pid);
        let path = membership(&text, "").and_then(machine_level).map(|path| path.trim_start_matches('/'));
        let dir = hierarchies.v2.as_ref().zip(path).map(|(root, path)| root.join(path));
        Self { pressure: dir.map(|dir| Pressure::open(&dir, ".pressure")) }
    }

    /// Pressure of the group.
    pub(super) fn psi(&self) -> PsiSet {
        self.pressure.as_ref().map(Pressure::read).unwrap_or_default()
    }

    /// Descriptors held.
    pub(super) fn descriptors(&self) -> usize {
        self.pressure.as_ref().map_or(0, Pressure::descriptors)
    }
}

/// A kernel CPU list as read from a file; `None` if it is none, or empty (a cpuset that was never set).
pub(super) fn cpu_list(text: &[u8]) -> Option<CpuSet> {
    let set: CpuSet = std::str::from_utf8(text).ok()?.parse().ok()?;
    (!set.is_empty()).then_some(set)
}

/// The directory of the group of process `pid` in the tree at `root`; the root itself if that is not known.
pub(super) fn group_dir(proc_root: &Path, pid: i32, root: &Path, controller: &str) -> PathBuf {
    let text = memberships(proc_root, pid);
    let path = membership(&text, controller).filter(|path| !path.contains("..")).unwrap_or_default();
    root.join(path.trim_start_matches('/'))
}

fn memberships(proc_root: &Path, pid: i32) -> String {
    std::fs::read_to_string(proc_root.join(format!("{pid}/cgroup"))).unwrap_or_default()
}

/// The path in a `cgroup` file of the v1 tree that has `controller`, or of the v2 tree if that is empty. Its lines are
/// `NUMBER:CONTROLLERS:PATH`, with number 0 and no controllers for v2.
fn membership<'a>(text: &'a str, controller: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_v2 = number == "0" && controllers.is_empty();
        let wanted =
            if controller.is_empty() { is_v2 } else { controllers.split(',').any(|c| c == controller) };
        wanted.then_some(path)
    })
}

/// The part of a cgroup path that is the guest's own machine-level group; `None` if the path leads outside of what is
/// visible here or no component is a machine of libvirt's.
pub(super) fn machine_level(path: &str) -> Option<&str> {
    let mut end = 0;
    for part in path.split('/') {
        end += part.len();
        if part == ".." {
            return None;
        }
        let by_systemd = part.starts_with("machine-qemu") && part.ends_with(".scope");
        if by_systemd || part.ends_with(".libvirt-qemu") {
            return path.get(..end);
        }
        end += 1;
    }
    None
}
