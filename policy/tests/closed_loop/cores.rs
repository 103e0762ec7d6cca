//! Hosts with a core for every busy vCPU whose balancer crowds them all the same: `pin-all` on real shapes of hosts.

use super::world::World;
use super::world::host::Load;
use std::collections::BTreeSet;
use std::sync::Arc;
use trimtab_policy::decision::{Mode, Verdict};
use trimtab_policy::knob::{Knob, KnobValue, PriorityDomain};
use trimtab_policy::topology::{Cpu, CpuSet, Topology};
use trimtab_policy::units::GuestId;

/// Eight CPUs of the shape that `place` gives each: core, last-level cache, node.
fn shaped(place: impl Fn(u32) -> (u32, u32, u32)) -> Topology {
    let cpu = |cpu| {
        let (core, llc, node) = place(cpu);
        Cpu { cpu, core, llc, package: node, node }
    };
    Topology { cpus: (0..8).map(cpu).collect(), nodes: Vec::new() }
}

/// Two guests of `vcpus` busy vCPUs each on a crowded CPU, tuned; where their vCPUs are in the end.
fn tuned(topology: Topology, vcpus: u32) -> Vec<Vec<CpuSet>> {
    let mut w = World::new(8, PriorityDomain::CgroupV1, Mode::Enforce, 1);
    w.host.topology = Arc::new(topology);
    let guests = ["a", "b"].map(|name| w.guest(name, Load::Burner, vcpus, 1024));
    w.host.crowd(0);
    w.seconds(40);
    assert!(w.decisions().any(|d| d.recipe == "pin-all" && d.verdict == Verdict::Kept), "{}", w.story());
    for guest in guests {
        let cpu = w.measure(guest, 3).1;
        assert!(cpu > 0.95 * f64::from(vcpus), "{cpu:.2}\n{}", w.story());
    }
    w.assert_clean();
    let on = |guest: &GuestId, n| match &w.host.guests[guest].knobs[&Knob::VcpuAffinity(n)] {
        KnobValue::Cpus(set) => set.clone(),
        other => panic!("{other}"),
    };
    guests.iter().map(|guest| (0..vcpus).map(|n| on(guest, n)).collect()).collect()
}

#[test]
fn every_vcpu_gets_a_core_with_all_its_threads_and_shares_it_with_none() {
    // As Linux numbers them: CPU n and n + 4 are siblings.
    let seats = tuned(shaped(|cpu| (cpu % 4, 0, 0)), 2).concat();
    let cores: BTreeSet<String> = seats.iter().map(ToString::to_string).collect();
    assert_eq!(cores.into_iter().collect::<Vec<_>>(), ["0,4", "1,5", "2,6", "3,7"]);
}

fn each_in_one(seats: &[Vec<CpuSet>], domain: impl Fn(u32) -> u32) {
    let domains: Vec<BTreeSet<u32>> =
        seats.iter().map(|s| s.iter().flat_map(CpuSet::iter).map(&domain).collect()).collect();
    assert!(domains.iter().all(|d| d.len() == 1) && domains[0] != domains[1], "{seats:?}");
}

#[test]
fn a_guest_stays_within_one_cache() {
    each_in_one(&tuned(shaped(|cpu| (cpu, cpu / 4, 0)), 3), |cpu| cpu / 4);
}

#[test]
fn a_guest_that_no_cache_holds_stays_within_one_node() {
    each_in_one(&tuned(shaped(|cpu| (cpu, cpu / 2, cpu / 4)), 3), |cpu| cpu / 4);
}
