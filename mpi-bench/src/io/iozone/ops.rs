//! The measurements behind iozone's test numbers 0 to 12, as a table: calls, direction and order of each. Nothing runs here.

/// Calls that move a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// `read` and `write`, after an `lseek` where the order needs one.
    Stream,
    /// `fread` and `fwrite` of the C library.
    Stdio,
    /// `pread` and `pwrite`.
    Positional,
    /// `preadv` and `pwritev`, several records a call.
    Vectored,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the file.
    Read,
    /// Into a new file.
    Create,
    /// Over what is there; a file that is not there is made.
    Rewrite,
    /// Some records, or processes, read; the others write.
    Mix,
}

/// In which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// First to last.
    Forward,
    /// Last to first.
    Backward,
    /// Every n-th, then those after them, until all are done.
    Stride,
    /// Each once, shuffled.
    Random,
    /// The first record again and again.
    Same,
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// Name of its metric.
    pub name: &'static str,
    /// Calls.
    pub calls: Calls,
    /// Direction.
    pub way: Way,
    /// Order.
    pub order: Order,
    /// What iozone calls the processes that do it: `initial writers`.
    pub doers: &'static str,
    /// What iozone calls its report: `Writer`.
    pub title: &'static str,
}

impl Op {
    /// Does it write?
    #[must_use]
    pub fn writes(&self) -> bool {
        self.way != Read
    }
}

const fn op(
    name: &'static str,
    (calls, way, order): (Calls, Way, Order),
    doers: &'static str,
    title: &'static str,
) -> Op {
    Op { name, calls, way, order, doers, title }
}

use Calls::{Positional, Stdio, Stream, Vectored};
use Order::{Backward, Forward, Random, Same, Stride};
use Way::{Create, Mix, Read, Rewrite};

/// Measurements of test 0, test 1 and so on. As in the original only test 0 begins with a new file: fwrite, pwrite and pwritev
/// go over what is there.
pub const TESTS: [&[Op]; 13] = [
    &[
        op("write", (Stream, Create, Forward), "initial writers", "Writer"),
        op("rewrite", (Stream, Rewrite, Forward), "rewriters", "Re-writer"),
    ],
    &[
        op("read", (Stream, Read, Forward), "readers", "Reader"),
        op("reread", (Stream, Read, Forward), "re-readers", "Re-Reader"),
    ],
    &[
        op("random-read", (Stream, Read, Random), "random readers", "Random read"),
        op("random-write", (Stream, Rewrite, Random), "random writers", "Random write"),
    ],
    &[op("backward-read", (Stream, Read, Backward), "reverse readers", "Backward read")],
    &[op("record-rewrite", (Stream, Rewrite, Same), "record rewriters", "Record rewrite")],
    &[op("stride-read", (Stream, Read, Stride), "stride readers", "Stride read")],
    &[
        op("fwrite", (Stdio, Rewrite, Forward), "fwriters", "Fwrite"),
        op("frewrite", (Stdio, Rewrite, Forward), "re-fwriters", "Re-Fwrite"),
    ],
    &[
        op("fread", (Stdio, Read, Forward), "freaders", "Fread"),
        op("freread", (Stdio, Read, Forward), "re-freaders", "Re-Fread"),
    ],
    &[op("mix", (Stream, Mix, Random), "mixed workload", "Mixed workload")],
    &[
        op("pwrite", (Positional, Rewrite, Forward), "pwrite writers", "Pwrite"),
        op("repwrite", (Positional, Rewrite, Forward), "re-pwrite writers", "Re-Pwrite"),
    ],
    &[
        op("pread", (Positional, Read, Forward), "pread readers", "Pread"),
        op("repread", (Positional, Read, Forward), "re-pread readers", "Re-Pread"),
    ],
    &[
        op("pwritev", (Vectored, Rewrite, Forward), "pwritev writers", "Pwritev"),
        op("repwritev", (Vectored, Rewrite, Forward), "re-pwritev writers", "Re-Pwritev"),
    ],
    &[
        op("preadv", (Vectored, Read, Forward), "preadv readers", "Preadv"),
        op("repreadv", (Vectored, Read, Forward), "re-preadv readers", "Re-Preadv"),
    ],
];

/// The measurement of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Op> {
    TESTS.iter().flat_map(|ops| ops.iter()).find(|op| op.name == name)
}

/// Record that step `n` of `records` handles. `shuffled` is the order of [`Random`].
///
/// # Panics
/// `shuffled` is shorter than `records`.
#[must_use]
pub fn record(order: Order, n: u64, records: u64, stride: u64, shuffled: &[u32]) -> u64 {
    match order {
        Forward => n,
        Backward => records - 1 - n,
        Same => 0,
        Random => u64::from(shuffled[usize::try_from(n).unwrap_or(usize::MAX)]),
        Stride => {
            // Lane l has the records l, l + stride, ...: the first `longer` lanes have one more than the others.
            let (short, longer) = (records / stride, records % stride);
            let in_longer = longer * (short + 1);
            match n < in_longer {
                true => n / (short + 1) + n % (short + 1) * stride,
                false => longer + (n - in_longer) / short + (n - in_longer) % short * stride,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Order, TESTS, Way, record};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn every_order_but_the_same_handles_each_record_once(records in 1u64..500, stride in 1u64..40) {
            let shuffled: Vec<u32> = (0..500).rev().collect();
            let shuffled = &shuffled[500 - usize::try_from(records).expect("small")..];
            for order in [Order::Forward, Order::Backward, Order::Stride, Order::Random] {
                let seen: BTreeSet<u64> =
                    (0..records).map(|n| record(order, n, records, stride, shuffled)).collect();
                prop_assert_eq!(seen, (0..records).collect::<BTreeSet<_>>(), "{:?}", order);
            }
        }
    }

    #[test]
    fn a_stride_skips_and_comes_back() {
        let seen: Vec<u64> = (0..7).map(|n| record(Order::Stride, n, 7, 3, &[])).collect();
        assert_eq!(seen, [0, 3, 6, 1, 4, 2, 5]);
    }

    #[test]
    fn only_the_first_measurement_makes_a_new_file() {
        let new = TESTS.iter().flat_map(|ops| ops.iter()).filter(|op| op.way == Way::Create);
        assert_eq!(new.map(|op| op.name).collect::<Vec<_>>(), ["write"]);
    }

    #[test]
    fn names_are_unique() {
        let names: Vec<&str> = TESTS.iter().flat_map(|ops| ops.iter()).map(|op| op.name).collect();
        assert_eq!(names.len(), 22);
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }
}
