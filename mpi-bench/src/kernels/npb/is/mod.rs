//! IS: the ranks of integer keys by their size. Ten iterations, each after two keys were changed.
//!
//! Keys are dealt out evenly and go, by buckets, to the rank that ranks their range of values. One iteration runs untimed.
//! Five known keys are looked up in each iteration (partial verification); after the last, the keys are put in their places,
//! must fill all of them and be in order, on each rank and from rank to rank (full verification).

mod ranking;

use super::class::Class;
use super::randlc::{Randlc, SEED};
use super::shares::share;
use crate::error::Result;
use crate::kernel::{Check, Facts, Kernel, Lap, Reading, Spec};
use crate::memory::{Array, Pages};
use crate::setup::Setup;
use crate::team::Team;
use ranking::{Ranking, Sizes, TESTS};

/// Timed iterations.
const ITERATIONS: u32 = 10;

/// Places of the keys that are looked up, by class.
const PLACES: [[usize; TESTS]; 5] = [
    [48_427, 17_148, 23_627, 62_548, 4431],
    [357_773, 934_767, 875_723, 898_999, 404_505],
    [2_112_377, 662_041, 5_336_171, 3_642_833, 4_250_760],
    [41_869, 812_306, 5_102_857, 18_232_239, 26_860_214],
    [44_172_927, 72_999_161, 74_326_391, 129_606_274, 21_736_814],
];

/// Their ranks before the changes of the iterations, by class.
const RANKS: [[i64; TESTS]; 5] = [
    [0, 18, 346, 64_917, 65_463],
    [1249, 11_698, 1_039_987, 1_043_896, 1_048_018],
    [104, 17_523, 123_928, 8_288_932, 8_388_264],
    [33_422_937, 10_244, 59_149, 33_135_281, 99],
    [61_147, 882_988, 266_290, 133_997_595, 133_525_895],
];

/// What iteration i does to those ranks, by class: it moves them by sign * (i + offset).
const DRIFTS: [[(i64, i64); TESTS]; 5] = [
    [(1, 0), (1, 0), (1, 0), (-1, 0), (-1, 0)],
    [(1, -2), (1, -2), (-1, 0), (-1, 0), (-1, 0)],
    [(1, -1), (1, -1), (1, -1), (-1, -1), (-1, -1)],
    [(-1, 0), (1, 0), (1, 0), (-1, 0), (1, 0)],
    [(1, 0), (1, 0), (1, 0), (-1, 0), (-1, 0)],
];

/// The kernel.
pub(super) struct Is {
    class: Class,
    sizes: Sizes,
    ranking: Ranking,
    /// The first keys as generated: the iterations overwrite them.
    pristine: Vec<u32>,
    /// Test keys found at their rank here, over all iterations.
    right_tests: u64,
}

/// The keys from place `first` of the sequence on: the sum of four uniform numbers, a bell, scaled to the largest key.
fn generate(keys: &mut [u32], first: usize, log_max_key: u32) {
    let mut random = Randlc::new(SEED).skipping(4 * first as u64);
    let scale = f64::from(1u32 << (log_max_key - 2));
    for key in keys {
        let sum = random.next() + random.next() + random.next() + random.next();
        *key = (scale * sum) as u32;
    }
}

impl Is {
    /// Keys that iterations write: `iteration` and `iteration` + ITERATIONS.
    const CHANGED: usize = 2 * ITERATIONS as usize + 1;

    /// Changes two keys, ranks all, and looks up the tests.
    fn iterate(&mut self, team: &Team, iteration: u32) {
        if team.is_root() {
            self.ranking.keys[iteration as usize] = iteration;
            self.ranking.keys[(iteration + ITERATIONS) as usize] = (1 << self.sizes.log_max_key) - iteration;
        }
        let found = self.ranking.rank(team);
        let (ranks, drifts) = (self.class.pick(RANKS), self.class.pick(DRIFTS));
        for ((found, rank), (sign, offset)) in found.into_iter().zip(ranks).zip(drifts) {
            let expected = rank + sign * (i64::from(iteration) + offset);
            self.right_tests += u64::from(found == Some(expected));
        }
    }
}

impl Kernel for Is {
    const SPEC: Spec = super::spec("npb-is", "ranking of integer keys", "NPB 3.4 IS");

    fn setup(setup: &Setup<'_>) -> Result<Self> {
        let class = Class::of(setup)?;
        let sizes = Sizes {
            keys: 1 << class.pick([16, 20, 23, 25, 27]),
            log_max_key: class.pick([11, 16, 19, 21, 23]),
            log_buckets: class.pick([9, 10, 10, 10, 10]),
            places: class.pick(PLACES),
        };
        let own = share(sizes.keys, setup.team.index(), setup.team.len());
        // Four bytes a key: as generated, in buckets, received, in order.
        setup.need("size", class, 16 * own.len() as u64 + (4 << sizes.log_max_key))?;
        // The first rank must have the keys that the iterations change.
        let most = sizes.keys / Self::CHANGED;
        if setup.team.len() > most {
            let why = format!("class {class} runs on at most {most} ranks; these are {}", setup.team.len());
            return Err(setup.unfit(why));
        }
        let mut keys = Array::zeroed(own.len(), Pages::Huge)?;
        generate(&mut keys, own.start, sizes.log_max_key);
        let pristine = keys[..Self::CHANGED.min(keys.len())].to_vec();
        let ranking = Ranking::new(sizes, keys, setup.team)?;
        Ok(Self { class, sizes, ranking, pristine, right_tests: 0 })
    }

    fn params(&self) -> Facts {
        super::params(self.class)
    }

    fn run(&mut self, team: &Team) -> Result<Lap> {
        self.ranking.keys[..self.pristine.len()].copy_from_slice(&self.pristine);
        self.iterate(team, 1);
        self.right_tests = 0;
        team.barrier();
        let begin = mpi::time();
        for iteration in 1..=ITERATIONS {
            self.iterate(team, iteration);
        }
        Ok(Lap(vec![team.max(mpi::time() - begin)]))
    }

    fn verify(&mut self, team: &Team) -> Result<Check> {
        let out_of_place = team.sum_u64(self.ranking.out_of_place(team));
        let tests = u64::from(ITERATIONS) * TESTS as u64;
        let wrong_tests = tests.abs_diff(team.sum_u64(self.right_tests));
        Ok(Check::exact("ranks of test keys and places of all", wrong_tests + out_of_place))
    }

    fn report(&self, lap: &Lap) -> Vec<Reading> {
        super::readings(f64::from(ITERATIONS) * self.sizes.keys as f64 * 1e-6, lap)
    }

    fn corrupt(&mut self, _team: &Team) {
        self.ranking.damage();
    }
}
