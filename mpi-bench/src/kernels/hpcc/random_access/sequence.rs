//! The two pseudo-random streams of RandomAccess, and how a value picks its table entry. Pure.

/// A stream of 64-bit values that any rank can join at any position.
pub(in super::super) trait Sequence: 'static {
    /// The value after `value`.
    fn next(value: u64) -> u64;
    /// The value at position `n` of the stream (position 0 is 1).
    fn at(n: u64) -> u64;
    /// Table entry, 0 to 2^`log_size` - 1, that `value` updates; `log_size` from 1 to 63.
    fn index(value: u64, log_size: u32) -> usize;
}

/// x^64 + x^2 + x + 1 over GF(2): HPCC's original stream.
pub(in super::super) struct Lfsr;

/// HPCC's linear congruential stream, indexed by its upper bits.
pub(in super::super) struct Lcg;

const POLY: u64 = 7;
const PERIOD: u64 = 1_317_624_576_693_539_401;
const MULTIPLIER: u64 = 6_364_136_223_846_793_005;
const INCREMENT: u64 = 1;

impl Sequence for Lfsr {
    #[inline(always)]
    fn next(value: u64) -> u64 {
        (value << 1) ^ (((value as i64) >> 63) as u64 & POLY)
    }

    /// Square-and-multiply of the polynomial x: the state after n steps from 1 is x^n.
    fn at(n: u64) -> u64 {
        let n = n % PERIOD;
        let mut value = 1;
        for bit in (0..64 - n.leading_zeros()).rev() {
            value = multiply(value, value);
            if n >> bit & 1 == 1 {
                value = Self::next(value);
            }
        }
        value
    }

    #[inline(always)]
    fn index(value: u64, log_size: u32) -> usize {
        (value & ((1 << log_size) - 1)) as usize
    }
}

/// Product of two polynomials modulo the stream's.
fn multiply(a: u64, b: u64) -> u64 {
    let (mut product, mut shifted) = (0, a);
    for bit in 0..64 {
        if b >> bit & 1 == 1 {
            product ^= shifted;
        }
        shifted = Lfsr::next(shifted);
    }
    product
}

impl Sequence for Lcg {
    #[inline(always)]
    fn next(value: u64) -> u64 {
        value.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT)
    }

    /// Doubles the step (multiplier, increment) for each bit of n.
    fn at(mut n: u64) -> u64 {
        let (mut multiplier, mut increment, mut value) = (MULTIPLIER, INCREMENT, 1u64);
        while n > 0 {
            if n & 1 == 1 {
                value = value.wrapping_mul(multiplier).wrapping_add(increment);
            }
            increment = increment.wrapping_mul(multiplier.wrapping_add(1));
            multiplier = multiplier.wrapping_mul(multiplier);
            n >>= 1;
        }
        value
    }

    #[inline(always)]
    fn index(value: u64, log_size: u32) -> usize {
        (value >> (64 - log_size)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::{Lcg, Lfsr, Sequence};

    fn joins_anywhere<S: Sequence>() {
        let mut value = 1;
        for n in 0..2000 {
            assert_eq!(S::at(n), value, "position {n}");
            value = S::next(value);
        }
        let far = 123_456_789_012;
        assert_eq!(S::next(S::at(far)), S::at(far + 1));
    }

    #[test]
    fn both_streams_can_be_joined_anywhere() {
        joins_anywhere::<Lfsr>();
        joins_anywhere::<Lcg>();
        assert_eq!(Lfsr::at(super::PERIOD), 1);
    }
}
