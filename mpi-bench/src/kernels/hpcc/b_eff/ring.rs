//! Rings: every rank exchanges with its left and right neighbour in both directions at once.

use super::{Part, SHORTEST_S, first_byte, longer};
use crate::error::Result;
use crate::memory::{Array, Pages};
use crate::mpi_raw::{irecv, isend, sendrecv, wait_all};
use crate::rng::Rng;
use crate::team::Team;

const TO_RIGHT: i32 = 200;
const TO_LEFT: i32 = 201;

/// What the bytes for the left neighbour differ by from those for the right one.
const LEFTWARD: u8 = 2;

/// Buffers and results of one message length.
pub(super) struct Ring {
    pub(super) part: Part,
    out_left: Array<u8>,
    out_right: Array<u8>,
    from_left: Array<u8>,
    from_right: Array<u8>,
    /// First bytes that the two incoming buffers must hold after the last loop.
    expected: [u8; 2],
    wrong: u64,
}

/// This rank's neighbours.
#[derive(Debug, Clone, Copy)]
struct Neighbours {
    left: i32,
    right: i32,
}

impl Ring {
    /// # Errors
    /// No memory for the buffers.
    pub(super) fn new(part: Part) -> Result<Self> {
        // New memory whatever ran before, because the original's is: all but the ends of what it sends was never written.
        let buffer = || Array::untouched(part.bytes, Pages::Default);
        Ok(Self {
            part,
            out_left: buffer()?,
            out_right: buffer()?,
            from_left: buffer()?,
            from_right: buffer()?,
            expected: [0; 2],
            wrong: 0,
        })
    }

    /// Bytes that were not what the neighbours sent.
    pub(super) fn wrong_bytes(&self) -> u64 {
        let differ = |buffer: &[u8], first: u8| {
            let end = buffer.len() - 1;
            let middle = buffer[1..end].iter().filter(|&&b| b != 0).count() as u64;
            middle + u64::from(buffer[0] != first) + u64::from(buffer[end] != first + 1)
        };
        self.wrong + differ(&self.from_left, self.expected[0]) + differ(&self.from_right, self.expected[1])
    }

    pub(super) fn flip_a_bit(&mut self) {
        let middle = self.part.bytes / 2;
        self.from_left[middle] ^= 1;
    }

    /// Seconds per message: naturally ordered ring, and geometric mean of the random rings. Every rank gets both.
    pub(super) fn measure(&mut self, team: &Team, rng: &mut Rng) -> (f64, f64) {
        self.wrong = 0;
        let mut orders: Vec<Vec<i32>> = vec![(0..team.size()).collect()];
        for _ in 0..self.part.random_rings {
            let mut order = orders[0].clone();
            rng.shuffle(&mut order);
            orders.push(order);
        }
        let mut best = vec![f64::INFINITY; orders.len()];
        let mut loops = self.part.ring_loops;
        for _ in 0..self.part.measurements {
            for (order, best) in orders.iter().zip(&mut best) {
                let seconds = self.one_ring(team, neighbours(order, team.rank()), &mut loops);
                *best = best.min(team.max(seconds));
            }
        }
        let logs: f64 = best[1..].iter().map(|s| s.ln()).sum();
        (best[0], (logs / (best.len() - 1) as f64).exp())
    }

    /// The better of both ways of communicating, on this rank.
    fn one_ring(&mut self, team: &Team, neighbours: Neighbours, loops: &mut u32) -> f64 {
        let blocking = loop {
            *loops = team.max(f64::from(*loops)) as u32;
            let took = self.timed(team, neighbours, *loops, Self::two_sendrecv);
            if team.max(took) >= SHORTEST_S {
                break took;
            }
            *loops = longer(*loops);
        };
        let non_blocking = self.timed(team, neighbours, *loops, Self::four_non_blocking);
        blocking.min(non_blocking) / f64::from(2 * *loops)
    }

    fn timed(
        &mut self,
        team: &Team,
        neighbours: Neighbours,
        loops: u32,
        exchange: fn(&mut Self, &Team, Neighbours),
    ) -> f64 {
        let end = self.part.bytes - 1;
        let mut begin = 0.0;
        for at in -1..i64::from(loops) {
            if at == 0 {
                begin = mpi::time();
            }
            let own = first_byte(at, team.rank());
            (self.out_right[0], self.out_right[end]) = (own, own + 1);
            (self.out_left[0], self.out_left[end]) = (own + LEFTWARD, own + LEFTWARD + 1);
            exchange(self, team, neighbours);
            self.expected = [first_byte(at, neighbours.left), first_byte(at, neighbours.right) + LEFTWARD];
            let [left, right] = self.expected;
            let good = self.from_left[0] == left && self.from_left[end] == left + 1;
            let good = good && self.from_right[0] == right && self.from_right[end] == right + 1;
            self.wrong += u64::from(!good);
        }
        mpi::time() - begin
    }

    fn two_sendrecv(&mut self, team: &Team, Neighbours { left, right }: Neighbours) {
        let comm = team.comm();
        sendrecv(comm, (&self.out_right, right), (&mut self.from_left, left), TO_RIGHT);
        sendrecv(comm, (&self.out_left, left), (&mut self.from_right, right), TO_LEFT);
    }

    fn four_non_blocking(&mut self, team: &Team, Neighbours { left, right }: Neighbours) {
        let comm = team.comm();
        let from_left = irecv(comm, &mut self.from_left, left, TO_RIGHT);
        let from_right = irecv(comm, &mut self.from_right, right, TO_LEFT);
        let to_right = isend(comm, &self.out_right, right, TO_RIGHT);
        let to_left = isend(comm, &self.out_left, left, TO_LEFT);
        wait_all([from_left, from_right, to_right, to_left]);
    }
}

fn neighbours(order: &[i32], rank: i32) -> Neighbours {
    let at = order.iter().position(|&r| r == rank).unwrap_or(0);
    let ranks = order.len();
    Neighbours { left: order[(at + ranks - 1) % ranks], right: order[(at + 1) % ranks] }
}

#[cfg(test)]
mod tests {
    use super::neighbours;

    #[test]
    fn neighbours_close_the_ring() {
        let n = neighbours(&[2, 0, 1], 2);
        assert_eq!((n.left, n.right), (1, 0));
        let pair = neighbours(&[0, 1], 1);
        assert_eq!((pair.left, pair.right), (0, 0));
    }
}
