//! What a kernel may ask while it sets itself up: its team, the user's parameters, the size, memory and scratch space.
//! It answers from values that the driver collected; it reads no files and never asks the command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::kernel::{Spec, Variant};
use crate::team::Team;

/// Share of a node's free memory that `--size auto` spends on one kernel.
/// HPL's usual 80 % presumes an otherwise empty machine; a guest with a balloon or neighbours is not one.
pub const AUTO_MEMORY_SHARE: f64 = 0.6;

/// Bytes per rank of `--size auto` with so many free: the share, rounded down to two binary digits (…, 2, 3, 4, 6, 8 … GiB). Free
/// memory differs by some MiB from one run to the next on the same host; sizes that did could not be compared.
#[must_use]
pub fn auto_bytes(free_per_rank: u64) -> u64 {
    let share = (free_per_rank as f64 * AUTO_MEMORY_SHARE) as u64;
    let half = share.checked_ilog2().map_or(0, |digits| (1 << digits) / 2);
    if share >= 3 * half { 3 * half } else { 2 * half }
}

/// Bytes per rank of `--size quick`: every kernel in about a second, still out of most caches.
pub const QUICK_BYTES: u64 = 24 << 20;

/// Problem size as the user states it; kernels translate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// From the free memory of the smallest node.
    Auto,
    /// Small and fast.
    Quick,
    /// Bytes of benchmark arrays per rank (HPCC's M).
    Bytes(u64),
    /// An NPB class.
    Class(char),
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => return Ok(Self::Auto),
            "quick" => return Ok(Self::Quick),
            "S" | "W" | "A" | "B" | "C" => return Ok(Self::Class(text.chars().next().unwrap_or('S'))),
            _ => {}
        }
        parse_bytes(text)
            .map(Self::Bytes)
            .ok_or_else(|| "expected auto, quick, a class (S W A B C) or bytes per rank (256MiB)".to_owned())
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Quick => f.write_str("quick"),
            Self::Bytes(n) => write!(f, "{n}"),
            Self::Class(c) => write!(f, "{c}"),
        }
    }
}

/// `4096`, `64k`, `256MiB`, `1g`: powers of 1024 whatever the case, as IOR and iozone read them. `None` if malformed or 0.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor).filter(|&n| n > 0)
}

/// Parameters by name: `n` for every kernel that has it, `hpl.n` for one.
pub type ParamMap = BTreeMap<String, String>;

/// The answers. One per kernel run and rank.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The ranks that run the kernel.
    pub team: &'a Team,
    /// Variant being run; kernels need it for sizes only (HPCC's MPI tables grow with the ranks).
    pub variant: Variant,
    /// Seed of this run, the same on every rank.
    pub seed: u64,
    pub(crate) spec: &'static Spec,
    pub(crate) size: Size,
    pub(crate) params: &'a ParamMap,
    /// Bytes of `--size auto`, as [`auto_bytes`] has them from the memory that was free when the run began.
    pub(crate) auto_bytes: u64,
    /// Memory of the smallest node that is free now, divided by its ranks.
    pub(crate) free_bytes_per_rank: u64,
    pub(crate) scratch_dir: &'a Path,
}

impl Setup<'_> {
    /// The user's value of a parameter, if there is one.
    ///
    /// # Errors
    /// The text does not parse as `T`.
    pub fn get<T: FromStr>(&self, name: &'static str) -> Result<Option<T>> {
        debug_assert!(self.spec.params.iter().any(|p| p.name == name), "{name} is not in the spec");
        let scoped = format!("{}.{name}", self.spec.name);
        let Some(text) = self.params.get(&scoped).or_else(|| self.params.get(name)) else { return Ok(None) };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(self.bad(name, text, "not a value of this kind; see `list`")),
        }
    }

    /// The user's value in bytes (`64k`, `1MiB`).
    ///
    /// # Errors
    /// The text is not a size above 0.
    pub fn get_bytes(&self, name: &'static str) -> Result<Option<u64>> {
        match self.get::<String>(name)? {
            None => Ok(None),
            Some(text) => parse_bytes(&text)
                .map(Some)
                .ok_or_else(|| self.bad(name, text, "expected bytes above 0, such as 64k or 1MiB")),
        }
    }

    /// An error about one parameter.
    #[must_use]
    pub fn bad(&self, name: &'static str, value: impl std::fmt::Display, why: impl Into<String>) -> Error {
        Error::Parameter {
            kernel: self.spec.name.to_owned(),
            name,
            value: value.to_string(),
            why: why.into(),
        }
    }

    /// An error about the number of ranks: a suite goes on without this kernel.
    #[must_use]
    pub fn unfit(&self, why: impl Into<String>) -> Error {
        Error::Unfit { kernel: self.spec.name.to_owned(), ranks: self.team.len(), why: why.into() }
    }

    /// `--size` as given.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// Bytes of benchmark arrays that this rank should use: HPCC's M.
    #[must_use]
    pub fn bytes_per_rank(&self) -> u64 {
        match self.size {
            Size::Auto => self.auto_bytes,
            Size::Quick => QUICK_BYTES,
            Size::Bytes(bytes) => bytes,
            Size::Class(class) => class_bytes(class),
        }
    }

    /// The NPB class: the one given, `S` for quick, the largest of about so many bytes a rank, else `A`.
    #[must_use]
    pub fn class(&self) -> char {
        match self.size {
            Size::Class(class) => class,
            Size::Quick => 'S',
            Size::Auto => 'A',
            Size::Bytes(bytes) => {
                ['C', 'B', 'A', 'W'].into_iter().find(|&class| class_bytes(class) <= bytes).unwrap_or('S')
            }
        }
    }

    /// Declares what this rank is about to allocate, before it does. Linux would grant it and kill a rank later.
    ///
    /// # Errors
    /// More than the smallest node has free for each rank; names the parameter that asked for it.
    pub fn need(&self, name: &'static str, value: impl std::fmt::Display, bytes: u64) -> Result<()> {
        if bytes <= self.free_bytes_per_rank {
            return Ok(());
        }
        let why = format!(
            "needs {} MiB on each rank, the smallest node has {} MiB free per rank",
            bytes >> 20,
            self.free_bytes_per_rank >> 20
        );
        Err(self.bad(name, value, why))
    }

    /// Directory for files (`--dir`), checked by the driver to exist.
    #[must_use]
    pub fn scratch_dir(&self) -> PathBuf {
        self.scratch_dir.to_path_buf()
    }
}

/// Classes for kernels that have none of their own: about the memory of NPB's largest kernel of that class, per rank.
fn class_bytes(class: char) -> u64 {
    match class {
        'S' => 4 << 20,
        'W' => 32 << 20,
        'A' => 256 << 20,
        'B' => 1 << 30,
        _ => 4 << 30,
    }
}

#[cfg(test)]
mod tests {
    use super::{Size, auto_bytes, parse_bytes};

    #[test]
    fn auto_is_coarse_and_never_more_than_the_share() {
        const GIB: u64 = 1 << 30;
        // 0.6 of 21.0 to 25.9 GiB is 12.6 to 15.5: one size for them all.
        for tenths in 210..260 {
            assert_eq!(auto_bytes(tenths * GIB / 10), 12 * GIB, "{tenths}");
        }
        assert_eq!(auto_bytes(27 * GIB), 16 * GIB);
        for free in (0..4000).map(|n| n * 999_983) {
            let (size, share) = (auto_bytes(free), (free as f64 * 0.6) as u64);
            assert!(size <= share && 2 * share <= 3 * size + 2, "{free}: {size} of {share}");
            assert!(size.count_ones() <= 2, "{size:b}");
        }
    }

    #[test]
    fn sizes_in_every_spelling() {
        assert_eq!(parse_bytes("64k"), Some(65536));
        assert_eq!(parse_bytes("1MiB"), Some(1 << 20));
        assert_eq!(parse_bytes("2g"), Some(2 << 30));
        assert_eq!(parse_bytes("17"), Some(17));
        for bad in ["", "k", "1x", "-1", "0", "99999999999t"] {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
        assert_eq!("A".parse(), Ok(Size::Class('A')));
        assert_eq!("auto".parse(), Ok(Size::Auto));
        assert!("D".parse::<Size>().is_err());
    }
}
