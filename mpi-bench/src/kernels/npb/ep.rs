//! EP: pairs of Gaussian deviates by the acceptance-rejection method, their sums, and how many fall into each square annulus.
//!
//! 2^m pairs of uniform numbers, dealt out in batches of 2^16; verified are the two sums, to 1e-8; the operations counted are
//! the random numbers. Where the original fills an array of random numbers and then walks over it, here a row of lanes each
//! walks its own stride of the sequence, and everything from there to the sums is one loop that compiles to vector
//! instructions. A rejected pair is computed as one of radius 1, whose deviates are zero.

use super::class::Class;
use super::official::{Compared, judge};
use super::randlc::{MULTIPLIER, Randlc, power};
use super::simd::dispatch;
use crate::error::Result;
use crate::kernel::{Check, Facts, Kernel, Lap, Reading, Spec};
use crate::setup::Setup;
use crate::team::Team;

const SEED: u64 = 271_828_183;

/// Pairs of a batch.
const BATCH: u64 = 1 << 16;

/// Lanes of the loop: enough to hide the latency of a step at any vector width, few enough to stay in the first-level cache.
const LANES: usize = 32;

/// Annuli counted; sqrt(2 * 46 ln 2) < 8 bounds every deviate.
const ANNULI: usize = 10;

/// Annuli from here on are so rare that they are counted one by one.
const RARE: usize = 3;

/// Relative deviation of the sums that NPB allows.
const LIMIT: f64 = 1e-8;

/// Sums of x and of y by class.
const OFFICIAL: [[f64; 2]; 5] = [
    [-3.247_834_652_034_74e3, -6.958_407_078_382_297e3],
    [-2.863_319_731_645_753e3, -6.320_053_679_109_499e3],
    [-4.295_875_165_629_892e3, -1.580_732_573_678_431e4],
    [4.033_815_542_441_498e4, -2.660_669_192_809_235e4],
    [4.764_367_927_995_374e4, -8.084_072_988_043_731e4],
];

/// The kernel.
pub(super) struct Ep {
    class: Class,
    log_pairs: u32,
    tally: Tally,
}

/// The result: of a batch, of a rank, of all.
#[derive(Debug, Clone, Default, PartialEq)]
struct Tally {
    sum_x: f64,
    sum_y: f64,
    counts: [f64; ANNULI],
}

/// Values of one kind, one a lane. Each kind is an array of its own, so that the compiler sees that they do not overlap.
type Row<T> = [T; LANES];

impl Ep {
    /// This rank's batches, tallied.
    fn tally(&self, team: &Team) -> Tally {
        let batches = (1u64 << self.log_pairs) / BATCH;
        let (rank, ranks) = (team.index() as u64, team.len() as u64);
        let (first, end) = (batches * rank / ranks, batches * (rank + 1) / ranks);
        let mut all = Tally::default();
        for batch in first..end {
            tally_batch(Randlc::new(SEED).skipping(2 * BATCH * batch), &mut all);
        }
        all
    }
}

dispatch! {
    /// Adds the batch of pairs that starts at `start` to the tally.
    fn tally_batch<M: Arithmetic>(start: Randlc, all: &mut Tally) {
        let mut state: Row<u64> = std::array::from_fn(|lane| start.skipping(2 * lane as u64 + 1).shifted());
        let (mut sum_x, mut sum_y, mut larger) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        // Accepted, then those whose larger deviate is at least 1, 2, 3.
        let [mut accepted, mut at_least_1, mut at_least_2, mut at_least_3]: [Row<u64>; RARE + 1] = Default::default();
        let stride = power(2 * LANES as u64);
        for _ in 0..BATCH / LANES as u64 {
            let rare_before = at_least_3;
            for lane in 0..LANES {
                let pair = deviates::<M>(state[lane]);
                state[lane] = state[lane].wrapping_mul(stride);
                sum_x[lane] += pair.x;
                sum_y[lane] += pair.y;
                let (x, y) = (pair.x.abs(), pair.y.abs());
                let most = if x > y { x } else { y };
                larger[lane] = most;
                accepted[lane] += u64::from(pair.accepted);
                at_least_1[lane] += u64::from(most >= 1.0);
                at_least_2[lane] += u64::from(most >= 2.0);
                at_least_3[lane] += u64::from(most >= 3.0);
            }
            if at_least_3 != rare_before {
                for value in larger.into_iter().filter(|value| *value >= RARE as f64) {
                    all.counts[(value as usize).min(ANNULI - 1)] += 1.0;
                }
            }
        }
        all.sum_x += sum_x.iter().sum::<f64>();
        all.sum_y += sum_y.iter().sum::<f64>();
        let at_least = [accepted, at_least_1, at_least_2, at_least_3].map(|row| row.iter().sum::<u64>());
        for (count, pair) in all.counts.iter_mut().zip(at_least.windows(2)) {
            *count += (pair[0] - pair[1]) as f64;
        }
    }
}

/// Two deviates, zero where the pair was rejected.
struct Pair {
    x: f64,
    y: f64,
    accepted: bool,
}

/// What becomes of the pair of uniform numbers that starts at a shifted state.
#[inline(always)]
fn deviates<M: super::simd::Arithmetic>(state: u64) -> Pair {
    let x = centred(state);
    let y = centred(state.wrapping_mul(MULTIPLIER));
    let radius = x * x + y * y;
    let accepted = radius <= 1.0;
    let radius = if accepted { radius } else { 1.0 };
    let factor = (-2.0 * ln::<M>(radius) / radius).sqrt();
    Pair { x: x * factor, y: y * factor, accepted }
}

/// 2 u - 1 for the number u of a shifted state; exact.
#[inline(always)]
fn centred(shifted: u64) -> f64 {
    f64::from_bits(shifted >> 12 | 1.0f64.to_bits()) * 2.0 - 3.0
}

/// Natural logarithm of a normal positive number, to the last place or two, without branches or tables: x = 2^e m with m in
/// [sqrt(1/2), sqrt(2)), and ln m = 2 artanh(s), s = (m-1)/(m+1), whose series ends at s^21 < 1e-16 of it.
#[inline(always)]
fn ln<M: super::simd::Arithmetic>(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    /// 2^52, whose mantissa takes up an integer, and its bits.
    const INTEGER: f64 = (1u64 << 52) as f64;
    let half_root = std::f64::consts::FRAC_1_SQRT_2.to_bits();
    let moved = x.to_bits().wrapping_add(1.0f64.to_bits() - half_root);
    let exponent = f64::from_bits(moved >> 52 | INTEGER.to_bits()) - (INTEGER + 1023.0);
    let mantissa = f64::from_bits((moved & MANTISSA) + half_root);
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let z = s * s;
    let mut series = 1.0 / 21.0;
    for divisor in [19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        series = M::mul_add(series, z, 1.0 / divisor);
    }
    let twice = s + s;
    M::mul_add(exponent, std::f64::consts::LN_2, M::mul_add(twice * z, series, twice))
}

impl Kernel for Ep {
    const SPEC: Spec = super::spec("npb-ep", "Gaussian deviates by acceptance-rejection", "NPB 3.4 EP");

    fn setup(setup: &Setup<'_>) -> Result<Self> {
        let class = Class::of(setup)?;
        Ok(Self { class, log_pairs: class.pick([24, 25, 28, 30, 32]), tally: Tally::default() })
    }

    fn params(&self) -> Facts {
        super::params(self.class)
    }

    fn run(&mut self, team: &Team) -> Result<Lap> {
        team.barrier();
        let begin = mpi::time();
        let mine = self.tally(team);
        self.tally = Tally {
            sum_x: team.sum(mine.sum_x),
            sum_y: team.sum(mine.sum_y),
            counts: mine.counts.map(|count| team.sum(count)),
        };
        Ok(Lap(vec![team.max(mpi::time() - begin)]))
    }

    fn verify(&mut self, _team: &Team) -> Result<Check> {
        let [x, y] = self.class.pick(OFFICIAL);
        let sums =
            [Compared::new("sum of x", self.tally.sum_x, x), Compared::new("sum of y", self.tally.sum_y, y)];
        Ok(judge(&sums, LIMIT))
    }

    fn report(&self, lap: &Lap) -> Vec<Reading> {
        super::readings(2.0 * (1u64 << self.log_pairs) as f64 * 1e-6, lap)
    }

    fn corrupt(&mut self, _team: &Team) {
        self.tally.sum_y *= 1.0 + 1e-7;
    }

    fn facts(&self) -> Facts {
        let counts = self.tally.counts.to_vec();
        Facts::from([
            ("gaussian_pairs".to_owned(), counts.iter().sum::<f64>().into()),
            ("annuli".to_owned(), counts.into()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::randlc::Randlc;
    use super::super::simd::Separate;
    use super::{BATCH, SEED, Tally, tally_batch};

    proptest! {
        #[test]
        fn the_logarithm_is_good_to_the_last_places(x in 1e-20f64..=1.0) {
            let (ours, library) = (super::ln::<Separate>(x), x.ln());
            prop_assert!((ours - library).abs() <= 4e-16 * library.abs(), "{x}: {ours} {library}");
        }
    }

    #[test]
    fn a_batch_in_lanes_is_the_batch_one_by_one() {
        let start = Randlc::new(SEED).skipping(12_345);
        let mut random = start;
        let mut expected = Tally::default();
        for _ in 0..BATCH {
            let (x, y) = (2.0 * random.next() - 1.0, 2.0 * random.next() - 1.0);
            let radius = x * x + y * y;
            if radius <= 1.0 {
                let factor = (-2.0 * radius.ln() / radius).sqrt();
                expected.sum_x += x * factor;
                expected.sum_y += y * factor;
                expected.counts[(x * factor).abs().max((y * factor).abs()) as usize] += 1.0;
            }
        }
        let mut tally = Tally::default();
        tally_batch(start, &mut tally);
        assert_eq!(tally.counts, expected.counts);
        assert!((tally.sum_x - expected.sum_x).abs() < 1e-9 && (tally.sum_y - expected.sum_y).abs() < 1e-9);
    }
}
