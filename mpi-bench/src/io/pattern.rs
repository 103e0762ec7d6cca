//! What is written to files, so that a reader can tell whether it got the right bytes: every 8-byte word depends on who wrote
//! it in which run, and the first word of every 4 KiB on its place in the file. Pure.

/// Distance of the words that carry their place, in bytes.
const STAMP_EVERY: usize = 4096;

/// One writer's bytes in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pattern(u64);

/// Spreads a small number over 64 bits (the finaliser of splitmix64).
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Pattern {
    /// The bytes of `writer` (a rank) in the run called `signature`.
    #[must_use]
    pub fn new(signature: u64, writer: u64) -> Self {
        Self(mix(signature.wrapping_add(1)).wrapping_add(mix(!writer)))
    }

    fn stamp_at(self, place: u64) -> u64 {
        self.0.rotate_left(32) ^ place
    }

    /// Fills a buffer whose first byte will be at `place` of the file. Needed once per buffer; [`Pattern::stamp`] moves it.
    pub fn fill(self, buffer: &mut [u8], place: u64) {
        for (i, word) in (0u64..).zip(buffer.chunks_mut(8)) {
            word.copy_from_slice(&self.0.wrapping_add(i).to_le_bytes()[..word.len()]);
        }
        self.stamp(buffer, place);
    }

    /// Makes a filled buffer the one that belongs at `place`.
    pub fn stamp(self, buffer: &mut [u8], place: u64) {
        for at in (0..buffer.len()).step_by(STAMP_EVERY) {
            let end = (at + 8).min(buffer.len());
            let stamp = self.stamp_at(place + at as u64).to_le_bytes();
            buffer[at..end].copy_from_slice(&stamp[..end - at]);
        }
    }

    /// Does the buffer carry the first and the last place that it should? Cheap enough for timed regions.
    #[must_use]
    pub fn is_stamped(self, buffer: &[u8], place: u64) -> bool {
        let last = buffer.len().saturating_sub(1) / STAMP_EVERY * STAMP_EVERY;
        [0, last].iter().all(|&at| {
            let end = (at + 8).min(buffer.len());
            buffer[at..end] == self.stamp_at(place + at as u64).to_le_bytes()[..end - at]
        })
    }

    /// How many words of the buffer are not what they must be at `place`.
    #[must_use]
    pub fn wrong_words(self, buffer: &[u8], place: u64) -> u64 {
        let mut wrong = 0;
        for (chunk, piece) in (0u64..).zip(buffer.chunks(STAMP_EVERY)) {
            let first = chunk * (STAMP_EVERY as u64 / 8);
            let stamp = self.stamp_at(place + chunk * STAMP_EVERY as u64);
            for (i, word) in (0u64..).zip(piece.chunks(8)) {
                let expected = if i == 0 { stamp } else { self.0.wrapping_add(first + i) };
                wrong += u64::from(*word != expected.to_le_bytes()[..word.len()]);
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_filled_is_right_and_any_changed_byte_is_wrong(
            len in 1usize..20_000, place in 0u64..1 << 50, writer in 0u64..1000, at in any::<prop::sample::Index>(),
        ) {
            let pattern = Pattern::new(7, writer);
            let mut buffer = vec![0; len];
            pattern.fill(&mut buffer, 0);
            pattern.stamp(&mut buffer, place);
            prop_assert!(pattern.is_stamped(&buffer, place));
            prop_assert_eq!(pattern.wrong_words(&buffer, place), 0);
            let at = at.index(len);
            buffer[at] ^= 0x10;
            prop_assert_eq!(pattern.wrong_words(&buffer, place), 1);
        }

        #[test]
        fn another_place_writer_or_run_is_noticed(place in 0u64..1 << 40, other in 0u64..1 << 40) {
            let mut buffer = vec![0; 512];
            Pattern::new(1, 2).fill(&mut buffer, place);
            prop_assert_eq!(Pattern::new(1, 2).is_stamped(&buffer, other), place == other);
            prop_assert!(!Pattern::new(1, 3).is_stamped(&buffer, place));
            prop_assert!(!Pattern::new(2, 2).is_stamped(&buffer, place));
        }
    }
}
