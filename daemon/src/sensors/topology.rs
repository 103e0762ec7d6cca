//! The host's CPUs, cores, caches, packages and NUMA nodes, read from a sysfs tree: the real one or a fixture.
//!
//! What the tree does not say falls back to the claim that can do least harm: a CPU without sibling list is a core of its
//! own; without package it is in package 0; without cache directories the last-level cache is shared by the package; a
//! host without NUMA has node 0. Ids of cores and LLC domains are the lowest online CPU in them, so they are unique across
//! the host. May not: keep files open, look at guests.

use super::cgroup::cpu_list;
use super::parse;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use trimtab_policy::topology::{Cpu, CpuSet, Node, Topology};

/// CPUs that are online according to `sys_root`; absent if the tree does not say.
pub fn online(sys_root: &Path) -> Option<CpuSet> {
    read_list(&sys_root.join(ONLINE))
}

/// The file that tells which CPUs are online, below the sysfs root.
pub(super) const ONLINE: &str = "devices/system/cpu/online";

/// Reads the shape of the host; `allowed` limits the CPUs that are listed. An allowed set with no online CPU in it is
/// stale (the CPUs went offline under it) and is ignored.
pub fn read(sys_root: &Path, allowed: Option<&CpuSet>) -> Topology {
    let cpu_dir = sys_root.join("devices/system/cpu");
    let online = online(sys_root).unwrap_or_else(|| listed_cpus(&cpu_dir));
    let nodes = nodes(sys_root);
    let mut cpus = Vec::with_capacity(online.len());
    for cpu in online.iter() {
        let dir = cpu_dir.join(format!("cpu{cpu}"));
        let topology = dir.join("topology");
        let package = read_number(&topology.join("physical_package_id")).unwrap_or(0);
        let siblings = read_list(&topology.join("core_cpus_list"))
            .or_else(|| read_list(&topology.join("thread_siblings_list")));
        let core = lowest(siblings.as_ref(), &online, cpu).unwrap_or(cpu);
        let llc = lowest(last_level_cache(&dir.join("cache")).as_ref(), &online, cpu);
        let node = nodes.iter().find(|(_, cpus)| cpus.contains(cpu)).map_or(0, |(node, _)| node.node);
        cpus.push((Cpu { cpu, core, llc: 0, package, node }, llc));
    }
    let mut first_of_package = BTreeMap::new();
    for (cpu, _) in &cpus {
        first_of_package.entry(cpu.package).or_insert(cpu.cpu);
    }
    let usable = allowed.map(|allowed| allowed.and(&online)).filter(|set| !set.is_empty()).unwrap_or(online);
    let cpus = cpus
        .into_iter()
        .filter(|(cpu, _)| usable.contains(cpu.cpu))
        .map(|(cpu, llc)| Cpu { llc: llc.unwrap_or(first_of_package[&cpu.package]), ..cpu })
        .collect();
    Topology { cpus, nodes: nodes.into_iter().map(|(node, _)| node).collect() }
}

/// The lowest online CPU of the set that `cpu` says it is in; `None` without such a set, or if it does not hold `cpu`.
fn lowest(set: Option<&CpuSet>, online: &CpuSet, cpu: u32) -> Option<u32> {
    set.filter(|set| set.contains(cpu))?.and(online).iter().next()
}

/// CPUs that share this one's deepest data or unified cache.
fn last_level_cache(dir: &Path) -> Option<CpuSet> {
    let mut deepest: Option<(u32, CpuSet)> = None;
    for index in numbered(dir, "index").into_values() {
        let holds_data = read_text(&index.join("type")).is_none_or(|kind| kind != "Instruction");
        let (Some(level), Some(shared)) =
            (read_number(&index.join("level")), read_list(&index.join("shared_cpu_list")))
        else {
            continue;
        };
        if holds_data && deepest.as_ref().is_none_or(|(known, _)| level > *known) {
            deepest = Some((level, shared));
        }
    }
    deepest.map(|(_, shared)| shared)
}

/// NUMA nodes in ascending order, each with its CPUs. A memory-only node has none.
fn nodes(sys_root: &Path) -> Vec<(Node, CpuSet)> {
    let dir = sys_root.join("devices/system/node");
    let online = read_list(&dir.join("online"));
    let mut nodes = Vec::new();
    for (node, dir) in numbered(&dir, "node") {
        if online.as_ref().is_some_and(|online| !online.contains(node)) {
            continue;
        }
        let memory =
            std::fs::read(dir.join("meminfo")).map(|text| parse::mem_info(&text)).unwrap_or_default();
        let distances = read_text(&dir.join("distance"))
            .and_then(|text| text.split_ascii_whitespace().map(|word| word.parse().ok()).collect())
            .unwrap_or_default();
        let cpus = read_list(&dir.join("cpulist")).unwrap_or_default();
        let node = Node { node, mem_total_kib: memory.total_kib, mem_free_kib: memory.free_kib, distances };
        nodes.push((node, cpus));
    }
    if nodes.is_empty() {
        let node = Node { node: 0, mem_total_kib: None, mem_free_kib: None, distances: Vec::new() };
        nodes.push((node, CpuSet::new()));
    }
    nodes
}

/// CPUs that have a directory, for trees without the `online` file. Those whose own `online` says 0 are left out.
fn listed_cpus(cpu_dir: &Path) -> CpuSet {
    numbered(cpu_dir, "cpu")
        .into_iter()
        .filter(|(_, dir)| read_text(&dir.join("online")).is_none_or(|online| online != "0"))
        .map(|(cpu, _)| cpu)
        .collect()
}

/// Subdirectories called `prefix` and a number.
fn numbered(dir: &Path, prefix: &str) -> BTreeMap<u32, PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return BTreeMap::new() };
    let numbered = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let number = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
        Some((number, entry.path()))
    };
    entries.filter_map(numbered).collect()
}

fn read_text(file: &Path) -> Option<String> {
    Some(std::fs::read_to_string(file).ok()?.trim().to_owned())
}

fn read_list(file: &Path) -> Option<CpuSet> {
    cpu_list(&std::fs::read(file).ok()?)
}

/// A number; `None` also for the kernel's -1 ("not known").
fn read_number(file: &Path) -> Option<u32> {
    read_text(file)?.parse().ok()
}
