//! One IOR test: its options, which of them exclude each other, and the names of its files. Nothing runs here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::walk::{Layout, Random, Reorder, Walk};
use crate::io::backend::Access;
use crate::mpi_raw::View;

/// Largest transfer: MPI counts bytes in a C int.
const MAX_TRANSFER: u64 = i32::MAX as u64;

/// When writing or reading ends before everything is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stonewall {
    /// Each rank stops after this time.
    pub deadline: Option<Duration>,
    /// After that, every rank goes on until it has done as much as the fastest.
    pub wear_out: bool,
    /// Each rank stops after so many transfers.
    pub transfers: Option<u64>,
}

/// The options that say what is transferred and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    /// Backend.
    pub access: Access,
    /// Bytes.
    pub block: u64,
    /// Bytes.
    pub transfer: u64,
    /// Number.
    pub segments: u64,
    /// A file for each rank.
    pub file_per_process: bool,
    /// That file in a directory of its own.
    pub unique_dir: bool,
    /// Random offsets, with their seed.
    pub random: Option<(Random, u64)>,
    /// Who reads whose data.
    pub reorder: Reorder,
    /// Sync before closing a written file; timed.
    pub fsync: bool,
    /// Sync after every transfer.
    pub fsync_each: bool,
    /// Barriers between open, transfers and close.
    pub barriers: bool,
    /// Early ends.
    pub stonewall: Stonewall,
}

/// An option that cannot be: which, with what value, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its name as a kernel's parameter.
    pub option: &'static str,
    /// Its value.
    pub value: String,
    /// The reason.
    pub why: String,
}

impl Test {
    /// Layout for a team of `ranks`.
    #[must_use]
    pub fn layout(&self, ranks: u64) -> Layout {
        let sharers = if self.file_per_process { 1 } else { ranks };
        Layout { block: self.block, transfer: self.transfer, segments: self.segments, sharers }
    }

    /// Place of a rank in its file.
    #[must_use]
    pub fn slot(&self, rank: u64) -> u64 {
        if self.file_per_process { 0 } else { rank }
    }

    /// The transfers that `writer` of `ranks` writes, or that are read in its stead.
    #[must_use]
    pub fn walk(&self, writer: u64, ranks: u64) -> Walk {
        let (random, seed) = self.random.unzip();
        let seed = seed.unwrap_or(0);
        // A file each: an order each.
        let seed = if self.file_per_process { seed.wrapping_add(writer) } else { seed };
        Walk::new(self.layout(ranks), self.slot(writer), random, seed)
    }

    /// The file view of that rank.
    #[must_use]
    pub fn view(&self, writer: u64, ranks: u64) -> View {
        let layout = self.layout(ranks);
        View {
            start: self.slot(writer) * self.block,
            block: self.block,
            stride: layout.segment(),
            unit: self.transfer,
        }
    }

    /// The file that holds the data of `writer`. With several `bases` the files take turns; `repetition` is part of the name
    /// if there is one.
    #[must_use]
    pub fn file(&self, bases: &[PathBuf], writer: u64, repetition: Option<u32>) -> PathBuf {
        let turn = usize::try_from(writer).unwrap_or(0);
        let at = if self.file_per_process { turn % bases.len().max(1) } else { 0 };
        let base = bases.get(at).map_or(Path::new("testFile"), PathBuf::as_path);
        let mut name = base.file_name().map(OsString::from).unwrap_or_default();
        let mut dir = base.parent().map(Path::to_path_buf).unwrap_or_default();
        if self.file_per_process {
            name.push(format!(".{writer:08}"));
            if self.unique_dir {
                dir.push(writer.to_string());
            }
        }
        if let Some(repetition) = repetition {
            name.push(format!(".{repetition}"));
        }
        dir.join(name)
    }

    /// Do the options fit together, on `ranks` ranks, for data that are verified or not?
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self, ranks: u64, verified: bool) -> Result<(), Fault> {
        let fault = |option, value: &dyn std::fmt::Display, why: &str| {
            Err(Fault { option, value: value.to_string(), why: why.to_owned() })
        };
        if self.transfer == 0 || !self.transfer.is_multiple_of(8) || self.transfer > MAX_TRANSFER {
            return fault(
                "transfer",
                &self.transfer,
                "must be a multiple of 8 bytes, above 0 and below 2 GiB",
            );
        }
        if self.block == 0 || !self.block.is_multiple_of(self.transfer) {
            return fault("block", &self.block, "must be a multiple of the transfer size");
        }
        let total = self.block.checked_mul(self.segments).and_then(|b| b.checked_mul(ranks));
        if self.segments == 0 || total.is_none_or(|b| i64::try_from(b).is_err()) {
            return fault(
                "segments",
                &self.segments,
                "must be above 0, and all blocks together below 2^63 bytes",
            );
        }
        if self.access.is_direct() && !self.transfer.is_multiple_of(512) {
            return fault("transfer", &self.transfer, "direct I/O needs a multiple of 512 bytes");
        }
        if matches!(self.access, Access::Uring { depth: 0 | 4097.., .. }) {
            return fault("depth", &"", "must be from 1 to 4096");
        }
        self.check_order(ranks, verified)
    }

    fn check_order(&self, ranks: u64, verified: bool) -> Result<(), Fault> {
        let fault = |option, value: &str, why: &str| {
            Err(Fault { option, value: value.to_owned(), why: why.to_owned() })
        };
        let shared = !self.file_per_process && ranks > 1;
        if let Some((random, _)) = self.random {
            if random == Random::Shuffled && self.block == self.transfer && self.segments > 1 {
                return fault("random", "1", "shuffles within a block, which must be longer than a transfer");
            }
            if shared && self.reorder != Reorder::None {
                return fault("random", "1", "does not go with a reordering of the ranks in a shared file");
            }
            if shared
                && matches!(
                    self.access,
                    Access::MpiIo { collective: true, .. } | Access::MpiIo { view: true, .. }
                )
            {
                return fault(
                    "random",
                    "1",
                    "does not go with collective calls or a file view on a shared file",
                );
            }
            if shared && verified && random == Random::Anywhere {
                return fault("random", "2", "overwrites other ranks' data in a shared file: not verifiable");
            }
        }
        if self.unique_dir && !self.file_per_process {
            return fault("unique_dir", "1", "needs a file per process");
        }
        if self.stonewall.wear_out && self.stonewall.deadline.is_none() {
            return fault("stoneWallingWearOut", "1", "needs a deadline (-D)");
        }
        if self.access == Access::Dummy && verified {
            return fault("api", "DUMMY", "moves no data, so there is nothing to verify");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Stonewall, Test};
    use crate::io::backend::Access;
    use crate::io::ior::walk::{Random, Reorder};
    use std::path::PathBuf;

    fn test() -> Test {
        Test {
            access: Access::Posix { direct: false, single_attempt: false },
            block: 1024,
            transfer: 256,
            segments: 2,
            file_per_process: false,
            unique_dir: false,
            random: None,
            reorder: Reorder::None,
            fsync: false,
            fsync_each: false,
            barriers: false,
            stonewall: Stonewall::default(),
        }
    }

    #[test]
    fn names_as_users_of_ior_know_them() {
        let bases = [PathBuf::from("/d/f"), PathBuf::from("/e/f")];
        assert_eq!(test().file(&bases, 3, None), PathBuf::from("/d/f"));
        let each = Test { file_per_process: true, unique_dir: true, ..test() };
        assert_eq!(each.file(&bases, 3, Some(2)), PathBuf::from("/e/3/f.00000003.2"));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let named = |test: Test| test.check(2, true).expect_err("refused").option;
        assert_eq!(test().check(2, true), Ok(()));
        assert_eq!(named(Test { transfer: 300, ..test() }), "transfer");
        assert_eq!(named(Test { block: 1000, ..test() }), "block");
        assert_eq!(named(Test { segments: u64::MAX / 1024, ..test() }), "segments");
        assert_eq!(named(Test { unique_dir: true, ..test() }), "unique_dir");
        let random = Some((Random::Anywhere, 1));
        assert_eq!(named(Test { random, ..test() }), "random");
        assert_eq!(named(Test { random, reorder: Reorder::Constant(1), ..test() }), "random");
        assert_eq!(Test { random, file_per_process: true, ..test() }.check(2, true), Ok(()));
        let direct = Access::Posix { direct: true, single_attempt: false };
        assert_eq!(named(Test { access: direct, ..test() }), "transfer");
        assert_eq!(named(Test { access: Access::Dummy, ..test() }), "api");
    }
}
