//! Workload profile: a coarse, stable name for what runs on a host, the key of the knob memory.
//!
//! It counts active guests by role, vCPUs and weight, next to the number of CPUs. Names and rates stay out of it, so that
//! the same mix is recognised after a restart or on another day. Counts above 4 are rounded to powers of two: what helped
//! with 33 burners is worth a first try with 40. May not: depend on which knobs are turned.

use super::Role;
use std::collections::BTreeMap;

/// One active guest as the profile sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// What it does.
    pub role: Role,
    /// vCPUs online, if known.
    pub vcpus: Option<u32>,
    /// Weight.
    pub weight: u32,
}

/// The key, for example `2cpu cpu:2v:w1024*2 io:2v:w2048*1`; `2cpu idle` when nothing is active.
pub fn key(cpus: usize, members: impl IntoIterator<Item = Member>) -> String {
    let mut counts: BTreeMap<Member, usize> = BTreeMap::new();
    for member in members.into_iter().filter(|m| m.role.is_active()) {
        // Mixed differs from io only by how saturated a vCPU is, which contention itself changes.
        let role = if member.role == Role::Mixed { Role::Io } else { member.role };
        *counts.entry(Member { role, ..member }).or_default() += 1;
    }
    let mut key = format!("{cpus}cpu");
    if counts.is_empty() {
        key.push_str(" idle");
    }
    for (m, count) in counts {
        let vcpus = m.vcpus.map_or_else(|| "?".to_owned(), |vcpus| vcpus.to_string());
        key.push_str(&format!(" {}:{vcpus}v:w{}*{}", m.role, m.weight, coarse(count)));
    }
    key
}

fn coarse(count: usize) -> usize {
    if count <= 4 { count } else { count.next_power_of_two() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_mix_same_key_in_any_order() {
        let burner = Member { role: Role::Cpu, vcpus: Some(2), weight: 1024 };
        let writer = Member { role: Role::Io, vcpus: Some(2), weight: 2048 };
        let idle = Member { role: Role::Idle, vcpus: Some(4), weight: 1024 };
        let expected = "2cpu cpu:2v:w1024*2 io:2v:w2048*1";
        assert_eq!(key(2, [writer, burner, idle, burner]), expected);
        assert_eq!(key(2, [burner, burner, Member { role: Role::Mixed, ..writer }]), expected);
        assert_eq!(key(4, [idle]), "4cpu idle");
        assert_eq!(key(8, [burner; 6]), key(8, [burner; 8]));
        assert_eq!(
            key(2, [Member { vcpus: None, ..burner }]),
            "2cpu cpu:?v:w1024*1",
            "not known is not none"
        );
    }
}
