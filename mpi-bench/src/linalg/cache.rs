//! How much of each cache one core can count on, from sysfs. Where it says nothing, what nearly every CPU has. May not: measure.

use std::fs::read_to_string;
use std::path::Path;

/// Bytes of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caches {
    pub(super) first: usize,
    pub(super) second: usize,
    /// The last level divided by those CPUs that share it; the second level where there is no third.
    pub(super) share_of_last: usize,
}

/// Where nothing is known.
const USUAL: Caches = Caches { first: 32 << 10, second: 512 << 10, share_of_last: 2 << 20 };

impl Caches {
    /// Those of the first CPU.
    pub(super) fn here() -> Self {
        Self::read(Path::new("/sys/devices/system/cpu/cpu0/cache"))
    }

    fn read(dir: &Path) -> Self {
        let mut found = [None; 3];
        for index in 0..8 {
            let text = |name: &str| read_to_string(dir.join(format!("index{index}")).join(name)).ok();
            let (Some(kind), Some(level), Some(size)) = (text("type"), text("level"), text("size")) else {
                continue;
            };
            let sharers = text("shared_cpu_list").map_or(1, |list| cpus(list.trim()));
            let (Ok(level), Some(bytes)) = (level.trim().parse::<usize>(), bytes(size.trim())) else {
                continue;
            };
            if kind.trim() != "Instruction" && (1..=3).contains(&level) {
                // Hardware threads share the first two levels, and one rank per core has them for itself.
                found[level - 1] = Some(if level == 3 { bytes / sharers } else { bytes });
            }
        }
        let second = found[1].unwrap_or(USUAL.second);
        Self {
            first: found[0].unwrap_or(USUAL.first),
            second,
            share_of_last: found[2].unwrap_or(if found[1].is_some() { second } else { USUAL.share_of_last }),
        }
    }
}

/// `48K`, `2M`; nothing for what is no size or zero.
fn bytes(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(['K', 'M', 'G']);
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(1 << shift).filter(|&bytes| bytes > 0)
}

/// How many CPUs a list such as `0-1,4` names, at least one.
fn cpus(list: &str) -> usize {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        Some(last.checked_sub(first)? + 1)
    };
    list.split(',').filter_map(count).sum::<usize>().max(1)
}

#[cfg(test)]
mod tests {
    use super::{Caches, USUAL, bytes, cpus};

    #[test]
    fn sizes_and_lists() {
        assert_eq!(
            (bytes("48K"), bytes("2M"), bytes("7"), bytes("0K")),
            (Some(48 << 10), Some(2 << 20), Some(7), None)
        );
        assert_eq!((bytes("K"), bytes("1T"), bytes("2KK")), (None, None, None));
        assert_eq!((cpus("0-1,4"), cpus("3"), cpus("")), (3, 1, 1));
    }

    #[test]
    fn what_sysfs_says_and_what_it_does_not() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(Caches::read(dir.path()), USUAL);
        let write = |index: u32, files: [&str; 4]| {
            let place = dir.path().join(format!("index{index}"));
            std::fs::create_dir(&place).expect("new");
            for (name, text) in ["type", "level", "size", "shared_cpu_list"].iter().zip(files) {
                std::fs::write(place.join(name), format!("{text}\n")).expect("written");
            }
        };
        write(0, ["Data", "1", "48K", "0"]);
        write(1, ["Instruction", "1", "64K", "0"]);
        write(2, ["Unified", "2", "1024K", "0,8"]);
        let two = Caches::read(dir.path());
        assert_eq!(two, Caches { first: 48 << 10, second: 1 << 20, share_of_last: 1 << 20 });
        write(3, ["Unified", "3", "32M", "0-7"]);
        assert_eq!(Caches::read(dir.path()), Caches { share_of_last: 4 << 20, ..two });
    }
}
