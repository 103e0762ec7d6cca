//! The generator behind glibc's `rand()` (additive feedback, r = 31, s = 3), which HPCC fills its DGEMM matrices with.
//! Written out here so that every platform gets the same numbers.

/// RAND_MAX of glibc.
pub(super) const RAND_MAX: f64 = 2_147_483_647.0;

/// State of `rand()` after `srand(seed)`.
pub(super) struct LibcRand {
    ring: [u32; 31],
    at: usize,
}

impl LibcRand {
    pub(super) fn new(seed: u32) -> Self {
        let mut ring = [0u32; 31];
        let mut word = i64::from(seed.max(1) as i32);
        ring[0] = seed.max(1);
        for slot in &mut ring[1..] {
            word = (16807 * word) % 2_147_483_647;
            if word < 0 {
                word += 2_147_483_647;
            }
            *slot = word as u32;
        }
        let mut rand = Self { ring, at: 3 };
        for _ in 0..310 {
            rand.next();
        }
        rand
    }

    /// Next value, 0 to RAND_MAX.
    pub(super) fn next(&mut self) -> u32 {
        let back = if self.at >= 3 { self.at - 3 } else { self.at + 28 };
        let word = self.ring[self.at].wrapping_add(self.ring[back]);
        self.ring[self.at] = word;
        self.at = if self.at == 30 { 0 } else { self.at + 1 };
        word >> 1
    }
}

#[cfg(test)]
mod tests {
    use super::LibcRand;

    #[test]
    fn the_same_numbers_as_the_c_library() {
        for seed in [1, 42, 20121] {
            let mut ours = LibcRand::new(seed);
            // SAFETY: srand and rand only touch the C library's own state; no other test uses it.
            unsafe { libc::srand(seed) };
            for i in 0..1000 {
                // SAFETY: as above.
                let theirs = unsafe { libc::rand() };
                assert_eq!(i64::from(ours.next()), i64::from(theirs), "seed {seed}, value {i}");
            }
        }
    }
}
