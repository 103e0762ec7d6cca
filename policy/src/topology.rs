//! The host's CPU/cache/NUMA shape, as plain data.
//!
//! May not: read /sys (sensors/topology in the daemon does, from the real tree or any fixture tree).

pub use crate::cpu_set::{BadCpuList, CpuSet, MAX_CPU};

use serde::{Deserialize, Serialize};

/// Where one logical CPU sits. Ids are the kernel's (`topology/core_id` made unique across packages by the sensor).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Logical CPU number.
    pub cpu: u32,
    /// Physical core, unique across the host: SMT siblings share it.
    pub core: u32,
    /// Last-level-cache domain, unique across the host.
    pub llc: u32,
    /// Physical package (socket).
    pub package: u32,
    /// NUMA node.
    pub node: u32,
}

/// One NUMA node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The kernel's node number.
    pub node: u32,
    /// Memory in KiB; absent if the tree does not say.
    pub mem_total_kib: Option<u64>,
    /// Free memory in KiB at the last scan.
    pub mem_free_kib: Option<u64>,
    /// ACPI SLIT distances to every node, in the order of the kernel's `distance` file; empty if absent.
    pub distances: Vec<u32>,
}

/// The host's shape: the *usable* CPUs (online and within the daemon's own cpuset for guests) and the NUMA nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// Usable CPUs in ascending order of number.
    pub cpus: Vec<Cpu>,
    /// NUMA nodes in ascending order; a host without NUMA has node 0.
    pub nodes: Vec<Node>,
}

impl Topology {
    /// All usable CPUs.
    pub fn cpu_set(&self) -> CpuSet {
        self.cpus.iter().map(|c| c.cpu).collect()
    }
    /// A flat host of `n` CPUs: one node, one LLC, no SMT.
    pub fn flat(n: u32) -> Self {
        Self {
            cpus: (0..n).map(|cpu| Cpu { cpu, core: cpu, llc: 0, package: 0, node: 0 }).collect(),
            nodes: vec![Node { node: 0, mem_total_kib: None, mem_free_kib: None, distances: vec![10] }],
        }
    }
}
