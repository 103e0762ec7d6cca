//! RandomAccess on one rank's own table: 128 streams side by side, updates one block behind their prefetches.

use super::sequence::Sequence;
use crate::memory::prefetch_for_write;

/// HPCC's number of independent streams. Two blocks are in flight: 256 of the 1024 values that the rules allow.
const STREAMS: usize = 128;

/// Applies `4 * table.len()` updates.
pub(super) fn update<S: Sequence>(table: &mut [u64], log_size: u32) {
    let per_stream = 4 * table.len() / STREAMS;
    let mut values: [u64; STREAMS] = std::array::from_fn(|j| S::at((per_stream * j) as u64));
    let mut waiting = [0u64; STREAMS];
    for round in 0..=per_stream {
        if round < per_stream {
            for value in &mut values {
                *value = S::next(*value);
                prefetch_for_write(table, S::index(*value, log_size));
            }
        }
        if round > 0 {
            for &value in &waiting {
                table[S::index(value, log_size)] ^= value;
            }
        }
        waiting = values;
    }
}

/// Undoes the updates by the definition, one stream from its start; returns how many entries are wrong afterwards.
pub(super) fn errors_after_replay<S: Sequence>(table: &mut [u64], log_size: u32) -> u64 {
    let mut value = 1;
    for _ in 0..4 * table.len() {
        value = S::next(value);
        table[S::index(value, log_size)] ^= value;
    }
    wrong_entries(table, 0)
}

/// Entries that are not their own global index.
pub(super) fn wrong_entries(table: &[u64], first: u64) -> u64 {
    table.iter().zip(first..).filter(|(entry, index)| **entry != *index).count() as u64
}

#[cfg(test)]
mod tests {
    use super::super::sequence::{Lcg, Lfsr};
    use super::{Sequence, errors_after_replay, update};

    fn updates_as_defined<S: Sequence>() {
        for log_size in [5, 7, 12] {
            let mut table: Vec<u64> = (0..1u64 << log_size).collect();
            update::<S>(&mut table, log_size);
            assert_eq!(errors_after_replay::<S>(&mut table, log_size), 0, "2^{log_size}");
            table[3] ^= 1;
            update::<S>(&mut table, log_size);
            assert_eq!(errors_after_replay::<S>(&mut table, log_size), 1);
        }
    }

    #[test]
    fn the_blocked_update_is_the_scalar_one() {
        updates_as_defined::<Lfsr>();
        updates_as_defined::<Lcg>();
    }
}
