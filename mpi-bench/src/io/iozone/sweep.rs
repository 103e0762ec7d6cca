//! Which file sizes go with which record sizes in iozone's automatic mode. Pure.

/// Where the sweep begins and ends, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Smallest and largest file: 64 KiB and 512 MiB in iozone.
    pub file: (u64, u64),
    /// Smallest and largest record: 4 KiB and 16 MiB in iozone.
    pub record: (u64, u64),
    /// Also small records in large files, which take long.
    pub all: bool,
}

impl Default for Range {
    fn default() -> Self {
        Self { file: (64 << 10, 512 << 20), record: (4 << 10, 16 << 20), all: false }
    }
}

/// From this file size on, iozone leaves out records below [`SMALL_RECORD`].
const LARGE_FILE: u64 = 32 << 20;
const SMALL_RECORD: u64 = 64 << 10;

/// Pairs of file and record size: both double from smallest to largest, a record is at most a file.
#[must_use]
pub fn pairs(range: &Range) -> Vec<(u64, u64)> {
    let doubling = |(from, to): (u64, u64)| {
        std::iter::successors(Some(from.max(1)), |n| n.checked_mul(2)).take_while(move |&n| n <= to)
    };
    let small_too = |file: u64, record: u64| range.all || file < LARGE_FILE || record >= SMALL_RECORD;
    doubling(range.file)
        .flat_map(|file| doubling(range.record).map(move |record| (file, record)))
        .filter(|&(file, record)| record <= file && file % record == 0 && small_too(file, record))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Range, pairs};

    #[test]
    fn the_automatic_mode_of_the_manual() {
        let all = pairs(&Range::default());
        assert_eq!(all.first(), Some(&(64 << 10, 4 << 10)));
        assert_eq!(all.last(), Some(&(512 << 20, 16 << 20)));
        assert_eq!(all.iter().filter(|p| p.0 == 64 << 10).count(), 5, "4, 8, 16, 32, 64 KiB");
        assert_eq!(all.iter().filter(|p| p.0 == 32 << 20).count(), 9, "from 64 KiB on");
        assert_eq!(pairs(&Range { all: true, ..Range::default() }).len(), all.len() + 5 * 4);
        assert_eq!(pairs(&Range { file: (8, 4), ..Range::default() }), []);
    }
}
