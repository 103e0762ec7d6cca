//! NPB's generator: x <- 5^13 x mod 2^46, uniform numbers x 2^-46 in (0, 1). Exact in 64-bit integers, where the original
//! splits products of floating-point numbers; any place in the sequence is reached in log time.
//!
//! The state is kept shifted left by 18 bits, so that the overflow of a 64-bit product is the reduction modulo 2^46.

use super::simd::dispatch;

/// The multiplier, 5^13.
pub(super) const MULTIPLIER: u64 = 1_220_703_125;

/// The seed of CG, IS, MG and FT.
pub(super) const SEED: u64 = 314_159_265;

/// Bits of the state above the 46 of the sequence.
const SHIFT: u32 = 18;

/// A place in the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Randlc(u64);

impl Randlc {
    /// The sequence that follows `seed`, which itself is not part of it.
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed << SHIFT)
    }

    /// The next number.
    #[inline(always)]
    pub(super) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(MULTIPLIER);
        unit(self.0)
    }

    /// As many calls of `next`, by lanes that each take every so-manieth number.
    pub(super) fn fill(&mut self, out: &mut [f64]) {
        fill(*self, out);
        *self = self.skipping(out.len() as u64);
    }

    /// The same sequence `count` numbers further on.
    pub(super) fn skipping(self, count: u64) -> Self {
        Self(self.0.wrapping_mul(power(count)))
    }

    /// The state with its 46 bits on top, for loops that step many places at once; see [`unit`].
    pub(super) fn shifted(self) -> u64 {
        self.0
    }
}

/// Lanes of [`Randlc::fill`].
const LANES: usize = 32;

dispatch! {
    fn fill<M: Arithmetic>(start: Randlc, out: &mut [f64]) {
        let mut states: [u64; LANES] = std::array::from_fn(|lane| start.skipping(lane as u64 + 1).0);
        let stride = power(LANES as u64);
        let (rows, rest) = out.as_chunks_mut::<LANES>();
        for row in rows {
            for lane in 0..LANES {
                row[lane] = unit(states[lane]);
                states[lane] = states[lane].wrapping_mul(stride);
            }
        }
        for (value, state) in rest.iter_mut().zip(states) {
            *value = unit(state);
        }
    }
}

/// 5^(13 `count`) modulo 2^64: the factor from a state to the one `count` steps on.
pub(super) fn power(mut count: u64) -> u64 {
    let (mut base, mut result) = (MULTIPLIER, 1u64);
    while count > 0 {
        if count & 1 == 1 {
            result = result.wrapping_mul(base);
        }
        base = base.wrapping_mul(base);
        count >>= 1;
    }
    result
}

/// The number in (0, 1) that a shifted state stands for. Exact: its 46 bits fit the mantissa.
#[inline(always)]
pub(super) fn unit(shifted: u64) -> f64 {
    // The mantissa below the exponent of 1.0 is 1 + x, without a conversion from integer.
    f64::from_bits(shifted >> 12 | 1.0f64.to_bits()) - 1.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{MULTIPLIER, Randlc, SEED, unit};

    /// The definition, with exact products.
    fn by_definition(seed: u64, steps: u64) -> u64 {
        (0..steps).fold(seed, |x, _| (u128::from(x) * u128::from(MULTIPLIER) % (1 << 46)) as u64)
    }

    #[test]
    fn follows_the_definition() {
        let mut random = Randlc::new(SEED);
        for steps in 1..1000 {
            let expected = by_definition(SEED, steps) as f64 / (1u64 << 46) as f64;
            assert_eq!(random.next(), expected);
            assert_eq!(unit(random.shifted()), expected);
        }
    }

    proptest! {
        #[test]
        fn filling_is_drawing_one_by_one(lengths in prop::collection::vec(0usize..100, 1..5)) {
            let (mut one_by_one, mut filling) = (Randlc::new(SEED), Randlc::new(SEED));
            for len in lengths {
                let mut filled = vec![0.0; len];
                filling.fill(&mut filled);
                prop_assert!(filled.into_iter().all(|value| value == one_by_one.next()));
            }
        }

        #[test]
        fn a_jump_is_as_many_steps(seed in 1u64..1 << 46, steps in 0u64..3000) {
            let jumped = Randlc::new(seed).skipping(steps);
            prop_assert_eq!(jumped, Randlc::new(by_definition(seed, steps)));
        }

        #[test]
        fn jumps_add_up(seed in 1u64..1 << 46, a in 0u64..1 << 40, b in 0u64..1 << 40) {
            let start = Randlc::new(seed);
            prop_assert_eq!(start.skipping(a).skipping(b), start.skipping(a + b));
        }
    }
}
