//! Who wants which CPU, for `trimtabctl status`: CPUs that are alike share a line, so that a host of a hundred has a few.
//!
//! May not: ask the daemon.

use crate::output::Style;
use crate::table::{Align, Cell, Table};
use crate::text::{ABSENT, number, percent};
use std::collections::{BTreeMap, BTreeSet};
use trimtabd::dbus::proxy::{CpuLoadRecord, DemandRecord};

/// So many guests are named in a line.
const NAMED: usize = 4;
/// Less is wanted by chance: it would be shown as 0.00.
const SHOWN: f64 = 0.005;

/// CPUs that are alike: judged alike, and wanted by the same guests.
type Group<'a> = Vec<&'a CpuLoadRecord>;

/// A line for each group, in order of their first CPUs.
pub(crate) fn table(loads: &[CpuLoadRecord]) -> Table {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("CPUS", Left),
        ("WANTED", Right),
        ("IDLE %", Right),
        ("STATE", Left),
        ("WANTED BY", Left),
    ]);
    for group in groups(loads) {
        let idle: Option<Vec<f64>> = group.iter().map(|load| load.idle).collect();
        table.row(vec![
            list(group.iter().map(|load| load.cpu)).into(),
            number(Some(mean(group.iter().map(|load| load.demand), group.len())), 2).into(),
            percent(idle.map(|idle| mean(idle.into_iter(), group.len()))).into(),
            state(&group),
            guests(&group).into(),
        ]);
    }
    table
}

fn groups(loads: &[CpuLoadRecord]) -> Vec<Group<'_>> {
    let wanted_by = |load: &CpuLoadRecord| -> BTreeSet<String> {
        load.guests.iter().filter(|of| of.demand >= SHOWN).map(|of| of.guest.clone()).collect()
    };
    let mut groups: BTreeMap<_, Group<'_>> = BTreeMap::new();
    for load in loads {
        let state = (load.over_committed, load.has_room, load.idle.is_some());
        groups.entry((state, wanted_by(load))).or_default().push(load);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| group.first().map(|load| load.cpu));
    groups
}

fn mean(values: impl Iterator<Item = f64>, of: usize) -> f64 {
    values.sum::<f64>() / of as f64
}

fn state(group: &Group<'_>) -> Cell {
    match group.first() {
        Some(load) if load.over_committed => Cell::styled("over-committed", Some(Style::Red)),
        Some(load) if load.has_room => Cell::styled("has room", Some(Style::Green)),
        Some(load) if load.idle.is_some() => "in use".into(),
        _ => ABSENT.into(),
    }
}

/// What each guest wants of one CPU of the group, the most first.
fn guests(group: &Group<'_>) -> String {
    let mut wants: BTreeMap<(&str, &str), f64> = BTreeMap::new();
    for DemandRecord { guest, guest_name, demand } in group.iter().flat_map(|load| &load.guests) {
        *wants.entry((guest, guest_name)).or_default() += demand / group.len() as f64;
    }
    let mut wants: Vec<_> = wants.into_iter().filter(|(_, demand)| *demand >= SHOWN).collect();
    wants.sort_by(|a, b| b.1.total_cmp(&a.1));
    let named = wants.iter().take(NAMED).map(|((_, name), demand)| format!("{name} {demand:.2}"));
    let more = wants.len().saturating_sub(NAMED);
    named.chain((more > 0).then(|| format!("{more} more"))).collect::<Vec<_>>().join(", ")
}

/// The kernel's list format: `0-3,8`. Ascending.
fn list(cpus: impl Iterator<Item = u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for cpu in cpus {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => ranges.push((cpu, cpu)),
        }
    }
    let text = |&(first, last): &(u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Output;

    fn load(cpu: u32, idle: Option<f64>, guests: &[(&str, f64)]) -> CpuLoadRecord {
        let demand = guests.iter().fold(0.0, |sum, (_, demand)| sum + demand);
        let of = |&(name, demand): &(&str, f64)| DemandRecord {
            guest: format!("uuid of {name}"),
            guest_name: name.to_owned(),
            demand,
        };
        let (over_committed, has_room) = (demand > 1.2, idle.is_some_and(|idle| idle > 0.2));
        let guests = guests.iter().map(of).collect();
        CpuLoadRecord { cpu, demand, idle, over_committed, has_room, guests }
    }

    #[test]
    fn cpus_that_are_alike_share_a_line() {
        let many: Vec<(String, f64)> = (1..=6).map(|n| (format!("g{n}"), 0.1)).collect();
        let many: Vec<(&str, f64)> = many.iter().map(|(name, demand)| (name.as_str(), *demand)).collect();
        let loads = [
            load(0, Some(0.0), &[("a", 1.5), ("b", 0.5)]),
            load(1, Some(0.9), &[]),
            load(2, Some(0.02), &[("b", 1.0), ("a", 1.5)]),
            load(3, Some(0.7), &[("a", 0.001)]),
            load(4, Some(0.8), &[]),
            load(6, Some(0.1), &[]),
            load(5, None, &many),
        ];
        let text = table(&loads).render(&Output::new(false, crate::cli::ColorWhen::Never));
        let lines: Vec<&str> = text.lines().skip(1).collect();
        let expected = [
            "0,2      2.25     1.0  over-committed  a 1.50, b 0.75",
            "1,3-4    0.00    80.0  has room",
            "5        0.60       -  -               g1 0.10, g2 0.10, g3 0.10, g4 0.10, 2 more",
            "6        0.00    10.0  in use",
        ];
        assert_eq!(lines, expected, "{text}");
    }
}
