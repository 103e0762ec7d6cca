//! A cgroup of its own for each host in every hierarchy of the machine (v1, hybrid or pure v2): the root of the host's
//! cgroup namespace. Made here, removed by the keeper.

use super::util::{mkdir, read, write};
use super::{Error, Result};
use std::path::{Path, PathBuf};
use trimtab_policy::topology::CpuSet;

/// v2 controllers that libvirt and systemd want to hand to guests and services.
const CONTROLLERS: [&str; 5] = ["cpuset", "cpu", "io", "memory", "pids"];

/// The groups of one host.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    /// Directory in each hierarchy.
    pub dirs: Vec<PathBuf>,
    /// Whether the machine has cgroup v2 only.
    pub pure_v2: bool,
}

/// Mount points of the machine's cgroup hierarchies with their type.
fn hierarchies() -> Result<Vec<(PathBuf, String)>> {
    let mounts = read(Path::new("/proc/self/mounts"))?;
    Ok(mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (at, kind) = (fields.next()?, fields.next()?);
            (kind.starts_with("cgroup") && at.starts_with("/sys/fs/cgroup"))
                .then(|| (PathBuf::from(at), kind.to_owned()))
        })
        .collect())
}

impl Groups {
    /// Makes the groups `name` and lists them in `dir`/cgroups (all, for the keeper) and `dir`/join (those that a process
    /// enters to be in the host).
    pub(crate) fn make(name: &str, dir: &Path) -> Result<Self> {
        let hierarchies = hierarchies()?;
        let pure_v2 = hierarchies.iter().all(|(_, kind)| kind == "cgroup2") && !hierarchies.is_empty();
        let dirs: Vec<PathBuf> = hierarchies.iter().map(|(at, _)| at.join(name)).collect();
        let list = |dirs: &[PathBuf]| dirs.iter().map(|d| format!("{}\n", d.display())).collect::<String>();
        // Before the first mkdir: the keeper must know of every group that may exist.
        write(&dir.join("cgroups"), &list(&dirs))?;
        for ((at, kind), group) in hierarchies.iter().zip(&dirs) {
            if kind == "cgroup2" && pure_v2 {
                enable_controllers(at)?;
            }
            mkdir(group)?;
            for file in ["cpuset.cpus", "cpuset.mems"] {
                // v1: a fresh cpuset is empty and takes no process.
                if kind == "cgroup" && group.join(file).exists() {
                    write(&group.join(file), &read(&at.join(file))?)?;
                }
            }
        }
        let groups = Self { dirs, pure_v2 };
        let join: Vec<PathBuf> = if pure_v2 {
            groups.dirs.iter().map(|d| d.join("init.scope")).collect()
        } else {
            groups.dirs.clone()
        };
        if pure_v2 {
            join.iter().try_for_each(|d| mkdir(d))?;
        }
        write(&dir.join("join"), &list(&join))?;
        Ok(groups)
    }

    /// Restricts the host to `cpus`, as an admin does who shrinks or widens a machine's cpuset: groups below lose what the
    /// host lost, and those that had all of the host's CPUs follow it.
    pub(crate) fn set_cpus(&self, cpus: &CpuSet) -> Result<()> {
        for dir in self.dirs.iter().filter(|d| d.join("cpuset.cpus").exists()) {
            if self.pure_v2 {
                write(&dir.join("cpuset.cpus"), &cpus.to_string())?;
                continue;
            }
            // v1 refuses to take a CPU from a group whose child still has it, and to give a child more than its parent has:
            // widen from the top down, then narrow from the bottom up.
            let mut groups = vec![dir.clone()];
            collect(dir, &mut groups);
            let parse = |text: String| text.parse::<CpuSet>().map_err(|e| Error::Guest(e.to_string()));
            let before = parse(read(&dir.join("cpuset.cpus"))?)?;
            let mut plan = Vec::new();
            for group in groups {
                let file = group.join("cpuset.cpus");
                let now = parse(read(&file)?)?;
                let rest = now.and(cpus);
                let new = if now == before || rest.is_empty() { cpus.clone() } else { rest };
                plan.push((file, now, new));
            }
            for (file, now, new) in &plan {
                write(file, &now.or(new).to_string())?;
            }
            for (file, _, new) in plan.iter().rev() {
                write(file, &new.to_string())?;
            }
        }
        Ok(())
    }
}

/// Every directory below `dir`, parents first.
fn collect(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten().filter(|e| e.path().is_dir()) {
        out.push(entry.path());
        collect(&entry.path(), out);
    }
}

/// Pure v2: lets children of the root have the controllers (systemd usually did already). Not undone, see [`super`].
fn enable_controllers(root: &Path) -> Result<()> {
    let have = read(&root.join("cgroup.controllers"))?;
    let on = read(&root.join("cgroup.subtree_control"))?;
    for controller in CONTROLLERS {
        let listed = |text: &str| text.split_whitespace().any(|c| c == controller);
        if listed(&have) && !listed(&on) {
            let file = root.join("cgroup.subtree_control");
            std::fs::write(&file, format!("+{controller}"))
                .map_err(Error::io(format!("enable {controller} in {}", file.display())))?;
        }
    }
    Ok(())
}
