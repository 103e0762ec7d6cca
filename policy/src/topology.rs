//! CPU sets and the host's CPU/cache/NUMA shape, as plain data.
//!
//! May not: read /sys (sensors/topology in the daemon does, from the real tree or any fixture tree).

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A set of host CPU numbers. Text form is the kernel's list format, `0-3,8`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuSet(pub BTreeSet<u32>);

/// Largest CPU number accepted in a list: the kernel's CONFIG_NR_CPUS limit on x86-64 is 8192.
pub const MAX_CPU: u32 = 8191;

/// The text was not a kernel CPU list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a CPU list such as 0-3,8")]
pub struct BadCpuList(pub String);

impl CpuSet {
    /// No CPU at all.
    pub fn new() -> Self {
        Self::default()
    }
    /// CPUs `0..n`.
    pub fn first(n: u32) -> Self {
        (0..n).collect()
    }
    /// One CPU.
    pub fn one(cpu: u32) -> Self {
        std::iter::once(cpu).collect()
    }
    /// How many CPUs.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Whether `cpu` is in the set.
    pub fn contains(&self, cpu: u32) -> bool {
        self.0.contains(&cpu)
    }
    /// The CPUs in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }
    /// CPUs in both.
    pub fn and(&self, other: &Self) -> Self {
        self.0.intersection(&other.0).copied().collect()
    }
    /// CPUs in either.
    pub fn or(&self, other: &Self) -> Self {
        self.0.union(&other.0).copied().collect()
    }
    /// CPUs in `self` only.
    pub fn minus(&self, other: &Self) -> Self {
        self.0.difference(&other.0).copied().collect()
    }
}

impl FromIterator<u32> for CpuSet {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        Self(cpus.into_iter().collect())
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.iter().peekable();
        let mut first = true;
        while let Some(start) = cpus.next() {
            let mut end = start;
            while cpus.peek() == Some(&(end + 1)) {
                end += 1;
                cpus.next();
            }
            if !first {
                f.write_str(",")?;
            }
            first = false;
            if end == start {
                write!(f, "{start}")?;
            } else {
                write!(f, "{start}-{end}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for CpuSet {
    type Err = BadCpuList;
    fn from_str(text: &str) -> Result<Self, BadCpuList> {
        let bad = || BadCpuList(text.trim().to_owned());
        let number = |s: &str| s.trim().parse::<u32>().ok().filter(|&n| n <= MAX_CPU).ok_or_else(bad);
        let mut set = Self::new();
        for part in text.trim().split(',').filter(|p| !p.trim().is_empty()) {
            let (from, to) = match part.split_once('-') {
                Some((a, b)) => (number(a)?, number(b)?),
                None => (number(part)?, number(part)?),
            };
            if from > to {
                return Err(bad());
            }
            set.0.extend(from..=to);
        }
        Ok(set)
    }
}

impl Serialize for CpuSet {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CpuSet {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

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
