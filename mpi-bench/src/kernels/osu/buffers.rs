//! Send and receive buffers whose contents tell who wrote them and where. No communication.

use crate::error::Result;
use crate::memory::{Array, Pages, Plain};

/// What rank `rank` puts at place `at`: differs between ranks and between neighbouring places. Seven bits, so that the sum of two
/// is a byte: MPI libraries disagree on what a sum of bytes does above 255 (Open MPI 4.1 with AVX stops there).
pub(super) fn pattern(rank: usize, at: usize) -> u8 {
    (rank.wrapping_mul(31).wrapping_add(at.wrapping_mul(7)).wrapping_add(1) & 0x7f) as u8
}

/// The buffers of one rank.
pub(super) struct Buffers<T: Plain> {
    pub(super) out: Array<T>,
    pub(super) into: Array<T>,
}

impl<T: Plain + From<u8> + PartialEq> Buffers<T> {
    /// Elements in each direction.
    pub(super) fn new(out: usize, into: usize) -> Result<Self> {
        Ok(Self { out: Array::zeroed(out, Pages::Default)?, into: Array::zeroed(into, Pages::Default)? })
    }

    /// This rank's pattern in the first elements of both buffers, so that nothing right is in the receive buffer by chance.
    pub(super) fn mark(&mut self, rank: usize, out: usize, into: usize) {
        for (at, value) in self.out[..out].iter_mut().enumerate() {
            *value = pattern(rank, at).into();
        }
        for (at, value) in self.into[..into].iter_mut().enumerate() {
            *value = pattern(rank, at).into();
        }
    }

    /// How many of the first `len` received elements are not what they must be; `None`: anything may stand there.
    pub(super) fn wrong(&self, len: usize, expected: impl Fn(usize) -> Option<T>) -> u64 {
        let wrong = |(at, value): &(usize, &T)| expected(*at).is_some_and(|right| right != **value);
        self.into[..len].iter().enumerate().filter(wrong).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::{Buffers, pattern};

    #[test]
    fn own_marks_are_wrong_for_every_other_rank() {
        let mut buffers = Buffers::<u8>::new(16, 16).expect("memory");
        buffers.mark(3, 16, 16);
        assert_eq!(buffers.wrong(16, |at| Some(pattern(3, at))), 0);
        for other in [0, 1, 2, 4] {
            assert_eq!(buffers.wrong(16, |at| Some(pattern(other, at))), 16);
        }
        assert_eq!(buffers.wrong(16, |_| None), 0);
    }
}
