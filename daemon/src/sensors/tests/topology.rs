//! Topology from the fixture trees, and following changes.

use super::fake_host::FakeHost;
use crate::sensors::topology::{online, read};
use std::sync::Arc;
use trimtab_policy::topology::{Cpu, CpuSet, Topology};

fn topology(name: &str) -> Topology {
    let host = FakeHost::with_topology(name);
    read(&host.root().join("sys"), None)
}

/// `cpu: core llc package node` of every CPU, for comparison with the eye.
fn table(topology: &Topology) -> Vec<(u32, u32, u32, u32, u32)> {
    topology
        .cpus
        .iter()
        .map(|&Cpu { cpu, core, llc, package, node }| (cpu, core, llc, package, node))
        .collect()
}

#[test]
fn two_socket_xeon() {
    let topology = topology("xeon-2s-smt");
    let expected: Vec<_> = (0..16)
        .map(|cpu| {
            let (core, socket) = (cpu % 8, cpu % 8 / 4);
            (cpu, core, socket * 4, socket, socket)
        })
        .collect();
    assert_eq!(table(&topology), expected);
    let [a, b] = &topology.nodes[..] else { panic!("two nodes") };
    assert_eq!(
        (a.node, a.mem_total_kib, a.mem_free_kib, &a.distances[..]),
        (0, Some(98_000_000), Some(1_000_000), &[10, 21][..])
    );
    assert_eq!(
        (b.node, b.mem_total_kib, b.mem_free_kib, &b.distances[..]),
        (1, Some(99_000_000), Some(2_000_000), &[21, 10][..])
    );
}

#[test]
fn epyc_has_one_llc_per_core_complex() {
    let topology = topology("epyc-ccx");
    let expected: Vec<_> = (0..16).map(|cpu| (cpu, cpu % 8, cpu % 8 / 4 * 4, 0, 0)).collect();
    assert_eq!(table(&topology), expected);
}

#[test]
fn a_vm_without_caches_or_numa_falls_back() {
    let topology = topology("vm-1cpu");
    assert_eq!(table(&topology), [(0, 0, 0, 0, 0)]);
    let [node] = &topology.nodes[..] else { panic!("one node") };
    assert_eq!((node.node, node.mem_total_kib, node.mem_free_kib, node.distances.len()), (0, None, None, 0));
}

#[test]
fn offline_cpus_and_holes() {
    let topology = topology("offline-holes");
    assert_eq!(
        table(&topology),
        [
            (0, 0, 0, 0, 0),
            (1, 0, 0, 0, 0),
            (2, 2, 0, 0, 0),
            (4, 4, 0, 0, 0),
            (5, 4, 0, 0, 0),
            (8, 8, 8, 1, 3),
            (10, 10, 8, 1, 3),
            (11, 10, 8, 1, 3),
        ]
    );
    let nodes: Vec<u32> = topology.nodes.iter().map(|node| node.node).collect();
    assert_eq!(nodes, [0, 2, 3], "node 1 is offline, node 2 has memory only");
    assert_eq!(topology.nodes[1].distances, [40, 40, 10]);
}

#[test]
fn arm_without_smt_package_or_online_file() {
    let host = FakeHost::with_topology("aarch64");
    let sys = host.root().join("sys");
    assert_eq!(online(&sys), None);
    let topology = read(&sys, None);
    let expected: Vec<_> = (0..8).map(|cpu| (cpu, cpu, cpu / 4 * 4, 0, 0)).collect();
    assert_eq!(table(&topology), expected, "the L2 of a cluster is the last level");
    host.put("sys/devices/system/cpu/cpu5/online", "0\n");
    assert!(!read(&sys, None).cpu_set().contains(5));
}

#[test]
fn nothing_at_all_is_an_empty_host() {
    let topology = read(std::path::Path::new("/nonexistent"), None);
    assert!(topology.cpus.is_empty());
    assert_eq!(topology.nodes.len(), 1);
}

#[test]
fn only_allowed_cpus_are_listed_and_keep_their_ids() {
    let host = FakeHost::with_topology("xeon-2s-smt");
    let sys = host.root().join("sys");
    let allowed: CpuSet = "8-9,12".parse().unwrap();
    assert_eq!(table(&read(&sys, Some(&allowed))), [(8, 0, 0, 0, 0), (9, 1, 0, 0, 0), (12, 4, 4, 1, 1)]);
    let stale: CpuSet = "100".parse().unwrap();
    assert_eq!(read(&sys, Some(&stale)).cpus.len(), 16, "a stale set is ignored");
}

/// The topology over the next ticks.
fn soon(sensors: &mut crate::sensors::Sensors) -> Arc<Topology> {
    let mut last = sensors.host().topology;
    for _ in 0..5 {
        last = sensors.host().topology;
    }
    last
}

#[test]
fn a_cpu_going_offline_is_seen_at_the_next_tick() {
    let host = FakeHost::with_topology("xeon-2s-smt");
    let mut sensors = host.sensors();
    let before = sensors.host().topology;
    assert!(Arc::ptr_eq(&before, &soon(&mut sensors)));
    host.put("sys/devices/system/cpu/online", "0-2,4-15\n");
    let after = sensors.host().topology;
    assert_eq!(before.cpu_set().minus(&after.cpu_set()), CpuSet::one(3));
    assert!(Arc::ptr_eq(&after, &sensors.host().topology));
    host.put("sys/devices/system/cpu/online", "0-15\n");
    assert_eq!(sensors.host().topology.cpus.len(), 16);
}

#[test]
fn the_allowed_set_follows_process_1_and_the_machine_partition() {
    let host = FakeHost::with_topology("xeon-2s-smt");
    host.put(
        "proc/1/status",
        "Name:\tinit\nCpus_allowed:\tff\nCpus_allowed_list:\t0-7\nMems_allowed_list:\t0-1\n",
    );
    host.put("proc/1/cgroup", "0::/init.scope\n");
    host.put("cgroup/cgroup.controllers", "cpuset cpu io memory\n");
    let mut sensors = host.sensors();
    assert_eq!(sensors.host().topology.cpu_set(), CpuSet::first(8));
    host.put("cgroup/machine.slice/cpuset.cpus.effective", "2-15\n");
    assert_eq!(soon(&mut sensors).cpu_set().to_string(), "2-7");
    host.put("proc/1/status", "Cpus_allowed_list:\t0-3\n");
    assert_eq!(soon(&mut sensors).cpu_set().to_string(), "2-3");
}

#[test]
fn a_container_has_its_partition_below_its_own_group() {
    let host = FakeHost::with_topology("xeon-2s-smt");
    host.put("proc/1/cgroup", "3:cpuset,cpu:/tb-1\n0::/tb-1\n");
    host.put("cgroup/cpuset/cpuset.cpus", "0-15\n");
    host.put("cgroup/cpuset/machine/cpuset.effective_cpus", "5\n");
    host.put("cgroup/cpuset/tb-1/machine/cpuset.effective_cpus", "1,9\n");
    assert_eq!(host.sensors().host().topology.cpu_set().to_string(), "1,9");
}

#[test]
fn a_given_set_wins() {
    let host = FakeHost::with_topology("xeon-2s-smt");
    host.put("proc/1/status", "Cpus_allowed_list:\t0-3\n");
    let mut config = host.config();
    config.allowed = Some("4-5".parse().unwrap());
    assert_eq!(crate::sensors::Sensors::new(config).unwrap().host().topology.cpu_set().to_string(), "4-5");
}
