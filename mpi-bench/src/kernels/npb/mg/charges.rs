//! The right-hand side: +1 where the ten largest of the random numbers of all points are, -1 where the ten smallest are.

use std::ops::Range;

use super::super::randlc::{Randlc, SEED};
use super::cube::Cube;
use crate::team::Team;

/// Charges of either sign.
const CHARGES: usize = 10;

/// Their places: number of the point, along rows, then rows, then planes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Charges {
    positive: Vec<u64>,
    negative: Vec<u64>,
}

/// The `CHARGES` first of (key, place) in ascending order.
#[derive(Debug, Default)]
struct Least(Vec<(f64, u64)>);

impl Least {
    #[inline]
    fn offer(&mut self, key: f64, place: u64) {
        if self.0.len() == CHARGES && key >= self.0[CHARGES - 1].0 {
            return;
        }
        let at = self.0.partition_point(|(other, _)| *other < key);
        self.0.insert(at, (key, place));
        self.0.truncate(CHARGES);
    }

    /// The least of all ranks.
    fn of_all(self, team: &Team) -> Vec<u64> {
        let bytes: Vec<u8> = self
            .0
            .iter()
            .flat_map(|(key, place)| [key.to_bits(), *place])
            .flat_map(u64::to_le_bytes)
            .collect();
        let mut all = Self::default();
        for bytes in team.gather_bytes(&bytes) {
            let (words, _) = bytes.as_chunks::<8>();
            let (pairs, _) = words.as_chunks::<2>();
            for [key, place] in pairs {
                all.offer(f64::from_bits(u64::from_le_bytes(*key)), u64::from_le_bytes(*place));
            }
        }
        all.0.into_iter().map(|(_, place)| place).collect()
    }
}

impl Charges {
    /// For a cube of n^3 points of which this rank has the planes in `range`. Collective.
    pub(super) fn choose(team: &Team, n: usize, range: Range<usize>) -> Self {
        let own = (range.start * n * n) as u64..(range.end * n * n) as u64;
        let mut random = Randlc::new(SEED).skipping(own.start);
        let (mut least, mut greatest) = (Least::default(), Least::default());
        for place in own {
            let value = random.next();
            least.offer(value, place);
            greatest.offer(-value, place);
        }
        Self { positive: greatest.of_all(team), negative: least.of_all(team) }
    }

    /// Writes those that lie in the slab whose first plane is `first`.
    pub(super) fn place(&self, v: &mut Cube, first: usize) {
        let (n, planes) = (v.width() as u64 - 2, first as u64..(first + v.planes()) as u64);
        let signed = self
            .positive
            .iter()
            .map(|place| (place, 1.0))
            .chain(self.negative.iter().map(|place| (place, -1.0)));
        for (place, charge) in signed {
            let (column, row, plane) = (place % n, place / n % n, place / (n * n));
            if planes.contains(&plane) {
                let at = (row + 1) * (n + 2) + column + 1;
                v.plane_mut((plane - planes.start) as usize + 1)[at as usize] = charge;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CHARGES, Least};

    #[test]
    fn the_least_are_kept_in_order() {
        let mut least = Least::default();
        for place in 0..1000u64 {
            least.offer((place * 7919 % 1009) as f64, place);
        }
        assert_eq!(least.0.len(), CHARGES);
        assert!(least.0.is_sorted_by(|a, b| a.0 < b.0));
        assert!(least.0.iter().all(|(key, place)| *key == (place * 7919 % 1009) as f64 && *key < 30.0));
    }
}
