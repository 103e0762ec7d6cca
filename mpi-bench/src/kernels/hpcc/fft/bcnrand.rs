//! Bailey and Crandall's generator, with which HPCC fills the vectors of FFT: consecutive 53-bit sections of the binary
//! expansion of alpha_{2,3}. Any rank can start anywhere in the sequence.

/// Smallest seed: 3^33 + 100. Smaller ones are moved up by it.
const LEAST_SEED: u64 = 5_559_060_566_555_623;

/// Fills `out` with uniform numbers in (0, 1) from the position that `seed` stands for (53 a number).
pub(super) fn fill(out: &mut [f64], seed: u64) {
    let seed = if seed < LEAST_SEED { seed + LEAST_SEED } else { seed };
    let modulus = largest_power_of_3_up_to(seed);
    let reciprocal = 1.0 / modulus as f64;
    let start = power_of_2(seed - modulus, modulus);
    let mut state = (u128::from(start) * u128::from(modulus / 2) % u128::from(modulus)) as u64;
    for value in out {
        *value = state as f64 * reciprocal;
        state = times_2_to_53(state, modulus, reciprocal);
    }
}

fn largest_power_of_3_up_to(limit: u64) -> u64 {
    let mut power = 1u64;
    while power * 3 <= limit {
        power *= 3;
    }
    power
}

/// 2^exponent mod modulus.
fn power_of_2(mut exponent: u64, modulus: u64) -> u64 {
    let (mut base, mut result) = (2u128, 1u128);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * base % u128::from(modulus);
        }
        base = base * base % u128::from(modulus);
        exponent >>= 1;
    }
    result as u64
}

/// state * 2^53 mod modulus, from a quotient in floating point that is off by at most one. The modulus is below 2^53, so the
/// true remainder and its neighbours fit in 64 bits and arithmetic modulo 2^64 gives it exactly.
fn times_2_to_53(state: u64, modulus: u64, reciprocal: f64) -> u64 {
    const TWO_TO_53: f64 = (1u64 << 53) as f64;
    let quotient = (state as f64 * TWO_TO_53 * reciprocal) as u64;
    let mut rest = (state << 53).wrapping_sub(quotient.wrapping_mul(modulus)) as i64;
    let modulus = modulus as i64;
    if rest < 0 {
        rest += modulus;
    }
    if rest >= modulus {
        rest -= modulus;
    }
    rest as u64
}

#[cfg(test)]
mod tests {
    use super::{LEAST_SEED, fill, largest_power_of_3_up_to, times_2_to_53};

    #[test]
    fn the_step_is_exact() {
        let modulus = largest_power_of_3_up_to(LEAST_SEED);
        assert_eq!(modulus, 3u64.pow(33));
        let mut state = modulus / 2;
        for _ in 0..10_000 {
            let exact = ((u128::from(state) << 53) % u128::from(modulus)) as u64;
            state = times_2_to_53(state, modulus, 1.0 / modulus as f64);
            assert_eq!(state, exact);
        }
    }

    #[test]
    fn parts_join_to_the_whole() {
        let (mut whole, mut part) = (vec![0.0; 300], vec![0.0; 100]);
        fill(&mut whole, 0);
        fill(&mut part, 53 * 200);
        assert_eq!(whole[200..], part);
        let mean = whole.iter().sum::<f64>() / 300.0;
        assert!((mean - 0.5).abs() < 0.05, "{mean}");
    }
}
