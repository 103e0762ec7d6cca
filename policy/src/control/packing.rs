//! Which core every busy vCPU gets when each is to have one of its own (recipe `pin-all`; docs/algorithms/placement.md).
//!
//! Guest by guest, in the order given: into one last-level cache, else one NUMA node, else anywhere. Two orders of the caches
//! and nodes are tried, the emptiest first, which leaves guests the most cache and memory bandwidth each, and the tightest
//! that fits first, which packs better; the second is taken only if it splits fewer guests. May not: know what runs there.

use crate::topology::{Cpu, CpuSet, Topology};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A physical core with its usable hardware threads.
#[derive(Clone, Debug)]
struct Core {
    core: u32,
    llc: u32,
    node: u32,
    cpus: CpuSet,
}

/// What tells where a core is.
type Level = fn(&Core) -> (u32, u32);

/// What makes two cores neighbours, from near to far.
const LEVELS: [Level; 3] = [|c| (c.node, c.llc), |c| (c.node, 0), |_| (0, 0)];

/// Which of the places that are large enough is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefer {
    Emptiest,
    Tightest,
}

/// The cores of every guest, one per vCPU, and how many guests are split between nodes and between caches.
struct Layout {
    seats: Vec<Vec<CpuSet>>,
    split: (usize, usize),
}

/// A core for every vCPU of every guest; `None` if there are too few that they may use. `guests` has for each guest, in the
/// order of placement, the CPUs that each of its vCPUs may use.
pub(super) fn pack(topology: &Topology, guests: &[Vec<CpuSet>]) -> Option<Vec<Vec<CpuSet>>> {
    let layouts = [Prefer::Emptiest, Prefer::Tightest].map(|prefer| lay_out(topology, guests, prefer));
    layouts.into_iter().flatten().min_by_key(|l| l.split).map(|l| l.seats)
}

fn lay_out(topology: &Topology, guests: &[Vec<CpuSet>], prefer: Prefer) -> Option<Layout> {
    let mut free = cores(topology);
    let mut layout = Layout { seats: Vec::new(), split: (0, 0) };
    for vcpus in guests {
        let taken = seat(&free, vcpus, prefer)?;
        let split = |level: Level| taken.windows(2).any(|w| level(&w[0]) != level(&w[1]));
        layout.split.0 += usize::from(split(LEVELS[1]));
        layout.split.1 += usize::from(split(LEVELS[0]));
        free.retain(|c| taken.iter().all(|t| t.core != c.core));
        layout.seats.push(taken.into_iter().map(|c| c.cpus).collect());
    }
    Some(layout)
}

fn cores(topology: &Topology) -> Vec<Core> {
    let mut cores: BTreeMap<u32, Core> = BTreeMap::new();
    for &Cpu { cpu, core, llc, node, .. } in &topology.cpus {
        let new = || Core { core, llc, node, cpus: CpuSet::new() };
        cores.entry(core).or_insert_with(new).cpus.extend([cpu]);
    }
    cores.into_values().collect()
}

/// Cores for one guest.
fn seat(free: &[Core], vcpus: &[CpuSet], prefer: Prefer) -> Option<Vec<Core>> {
    let room = |level: Level, core: &Core| free.iter().filter(|other| level(other) == level(core)).count();
    let mut near: Vec<&Core> = free.iter().collect();
    // Whoever needs more than one cache or node begins in the emptiest, so that it needs few.
    near.sort_by_cached_key(|c| {
        (Reverse(room(LEVELS[1], c)), c.node, Reverse(room(LEVELS[0], c)), c.llc, c.core)
    });
    LEVELS.into_iter().find_map(|level| {
        let mut places: BTreeMap<(u32, u32), Vec<&Core>> = BTreeMap::new();
        for &core in &near {
            places.entry(level(core)).or_default().push(core);
        }
        let mut places: Vec<Vec<&Core>> = places.into_values().collect();
        match prefer {
            Prefer::Emptiest => places.sort_by_cached_key(|p| Reverse((room(LEVELS[1], p[0]), p.len()))),
            Prefer::Tightest => places.sort_by_key(Vec::len),
        }
        places.iter().find_map(|place| assign(place, vcpus))
    })
}

/// A core of the place for each vCPU, within what each may use.
fn assign(place: &[&Core], vcpus: &[CpuSet]) -> Option<Vec<Core>> {
    let mut left = place.to_vec();
    vcpus
        .iter()
        .map(|bound| {
            let at = left.iter().position(|c| !c.cpus.and(bound).is_empty())?;
            Some(left.remove(at).clone())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One core per CPU; `llcs` has the number of cores of each cache, `per_node` caches to a node.
    fn host(llcs: &[u32], per_node: u32) -> Topology {
        let all = llcs.iter().zip(0..).flat_map(|(&n, llc)| (0..n).map(move |_| llc));
        let cpus =
            all.zip(0..).map(|(llc, cpu)| Cpu { cpu, core: cpu, llc, package: 0, node: llc / per_node });
        Topology { cpus: cpus.collect(), nodes: Vec::new() }
    }

    fn packed(topology: &Topology, sizes: &[usize]) -> Vec<String> {
        let guests: Vec<Vec<CpuSet>> = sizes.iter().map(|&n| vec![topology.cpu_set(); n]).collect();
        let union = |seats: &Vec<CpuSet>| seats.iter().flat_map(CpuSet::iter).collect::<CpuSet>().to_string();
        pack(topology, &guests).unwrap_or_default().iter().map(union).collect()
    }

    #[test]
    fn every_guest_gets_one_cache_where_it_fits() {
        assert_eq!(packed(&host(&[4, 4], 1), &[3, 3]), ["0-2", "4-6"]);
        assert_eq!(
            packed(&host(&[4, 4], 1), &[2, 2]),
            ["0-1", "4-5"],
            "and one of its own while there is room"
        );
        assert_eq!(packed(&host(&[4, 4], 1), &[4, 3, 1]), ["0-3", "4-6", "7"]);
    }

    #[test]
    fn one_node_where_no_cache_is_large_enough() {
        assert_eq!(packed(&host(&[2, 2, 2, 2], 2), &[3, 3]), ["0-2", "4-6"]);
        assert_eq!(packed(&host(&[2, 2, 2, 2], 2), &[5]), ["0-4"], "and all nodes for who needs them");
        assert_eq!(packed(&host(&[2, 2, 2, 2], 2), &[2, 2]), ["0-1", "4-5"], "nodes fill evenly");
    }

    #[test]
    fn packs_tighter_where_room_for_all_would_split_one() {
        // The emptiest first would leave one core in each cache for the last two vCPUs.
        assert_eq!(packed(&host(&[6, 6], 1), &[3, 3, 2, 2, 2]), ["0-2", "3-5", "6-7", "8-9", "10-11"]);
    }

    #[test]
    fn bounds_are_kept_and_too_few_cores_are_no_layout() {
        let topology = host(&[4, 4], 1);
        let bound: CpuSet = "2-6".parse().unwrap();
        let seats = pack(&topology, &[vec![bound.clone(); 3]]).unwrap();
        assert_eq!(seats[0], [4, 5, 6].map(CpuSet::one), "the cache that has three of them");
        assert!(pack(&topology, &[vec![bound; 6]]).is_none() && packed(&topology, &[5, 4]).is_empty());
    }
}
