//! Sets of host CPUs, a bit each: every guest has one for each of its threads, and most of them name all CPUs of the host.
//!
//! Equal sets are equal in memory (no word of zeros at the end). May not: know a host.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A set of host CPU numbers. Text form is the kernel's list format, `0-3,8`. Sets are ordered as their ascending lists are.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct CpuSet {
    words: Vec<u64>,
}

/// Largest CPU number accepted in a list: the kernel's CONFIG_NR_CPUS limit on x86-64 is 8192.
pub const MAX_CPU: u32 = 8191;

/// The text was not a kernel CPU list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a CPU list such as 0-3,8")]
pub struct BadCpuList(pub String);

/// Word and bit of a CPU.
fn place(cpu: u32) -> (usize, u64) {
    ((cpu / u64::BITS) as usize, 1 << (cpu % u64::BITS))
}

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
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
    /// Whether `cpu` is in the set.
    pub fn contains(&self, cpu: u32) -> bool {
        let (word, bit) = place(cpu);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }
    /// The CPUs in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().zip((0..).step_by(u64::BITS as usize)).flat_map(|(&word, first)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let next = (rest != 0).then(|| first + rest.trailing_zeros());
                rest &= rest.wrapping_sub(1);
                next
            })
        })
    }
    /// CPUs in both.
    pub fn and(&self, other: &Self) -> Self {
        Self::of(self.words.iter().zip(&other.words).map(|(a, b)| a & b).collect())
    }
    /// CPUs in either.
    pub fn or(&self, other: &Self) -> Self {
        let (long, short) = if self.words.len() < other.words.len() { (other, self) } else { (self, other) };
        let mut words = long.words.clone();
        words.iter_mut().zip(&short.words).for_each(|(word, more)| *word |= more);
        Self::of(words)
    }
    /// CPUs in `self` only.
    pub fn minus(&self, other: &Self) -> Self {
        let mut words = self.words.clone();
        words.iter_mut().zip(&other.words).for_each(|(word, less)| *word &= !less);
        Self::of(words)
    }

    fn of(mut words: Vec<u64>) -> Self {
        let used = words.iter().rposition(|&word| word != 0).map_or(0, |last| last + 1);
        words.truncate(used);
        Self { words }
    }
}

impl Extend<u32> for CpuSet {
    fn extend<I: IntoIterator<Item = u32>>(&mut self, cpus: I) {
        for cpu in cpus {
            let (word, bit) = place(cpu);
            if self.words.len() <= word {
                self.words.resize(word + 1, 0);
            }
            self.words[word] |= bit;
        }
    }
}

impl FromIterator<u32> for CpuSet {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        let mut set = Self::new();
        set.extend(cpus);
        set
    }
}

impl Ord for CpuSet {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for CpuSet {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CpuSet({self})")
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
            set.extend(from..=to);
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::btree_set;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set(cpus: &BTreeSet<u32>) -> CpuSet {
        cpus.iter().copied().collect()
    }

    proptest! {
        #[test]
        fn it_is_a_set(a in btree_set(0..200_u32, 0..8), b in btree_set(0..200_u32, 0..8), cpu in 0..300_u32) {
            let (x, y) = (set(&a), set(&b));
            prop_assert_eq!(x.iter().collect::<Vec<_>>(), a.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!((x.len(), x.is_empty(), x.contains(cpu)), (a.len(), a.is_empty(), a.contains(&cpu)));
            prop_assert_eq!(x.and(&y), set(&a.intersection(&b).copied().collect()));
            prop_assert_eq!(x.or(&y), set(&a.union(&b).copied().collect()));
            prop_assert_eq!(x.minus(&y), set(&a.difference(&b).copied().collect()));
            prop_assert_eq!((x == y, x.cmp(&y)), (a == b, a.cmp(&b)));
            prop_assert_eq!(x.to_string().parse(), Ok(x));
        }
    }
}
