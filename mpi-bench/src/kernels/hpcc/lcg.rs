//! Linear congruential generators whose n-th value can be had directly: the matrices of HPL (modulus 2^64) and PTRANS (2^31).
//! Pure. A matrix element is the value at its position in column-major order.

/// x <- multiplier x + increment modulo a power of two; the affine map of any number of steps has the same form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    multiplier: u64,
    increment: u64,
    mask: u64,
}

/// HPL's 64-bit generator, HPL_MULT and HPL_IADD.
pub(super) const HPL: Step = Step { multiplier: 6_364_136_223_846_793_005, increment: 1, mask: u64::MAX };

/// ScaLAPACK's 31-bit generator, which fills the matrices of PTRANS.
pub(super) const SCALAPACK: Step = Step { multiplier: 1_103_515_245, increment: 12_345, mask: (1 << 31) - 1 };

impl Step {
    /// The state after one step of this map.
    #[inline(always)]
    pub(super) fn apply(&self, state: u64) -> u64 {
        state.wrapping_mul(self.multiplier).wrapping_add(self.increment) & self.mask
    }

    /// The map of `n` steps.
    pub(super) fn times(&self, mut n: u64) -> Self {
        let mut result = Self { multiplier: 1, increment: 0, mask: self.mask };
        let mut power = *self;
        while n > 0 {
            if n & 1 == 1 {
                result = result.then(&power);
            }
            power = power.then(&power);
            n >>= 1;
        }
        result
    }

    /// This map, then `next`.
    fn then(&self, next: &Self) -> Self {
        Self {
            multiplier: self.multiplier.wrapping_mul(next.multiplier) & self.mask,
            increment: next.apply(self.increment),
            mask: self.mask,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HPL, SCALAPACK};

    #[test]
    fn a_jump_is_that_many_steps() {
        for generator in [HPL, SCALAPACK] {
            let mut state = 100;
            for n in 0..500 {
                assert_eq!(generator.times(n).apply(100), state, "{n} steps");
                state = generator.apply(state);
            }
        }
    }
}
