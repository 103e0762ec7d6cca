//! A list of numbers that changes its length within room set aside once, so that no page fault and no reallocation falls into
//! a timed region.

use std::ops::{Deref, DerefMut};

use super::{Array, Pages, Plain};
use crate::error::Result;

/// See the module.
#[derive(Debug)]
pub struct Room<T: Plain> {
    memory: Array<T>,
    len: usize,
}

impl<T: Plain> Room<T> {
    /// Empty, with room for `most` numbers.
    ///
    /// # Errors
    /// No memory.
    pub fn new(most: usize) -> Result<Self> {
        Ok(Self { memory: Array::zeroed(most, Pages::Huge)?, len: 0 })
    }

    /// From now on it has `len` numbers; what they are is unspecified until they are written.
    ///
    /// # Panics
    /// There is no room for so many.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.memory.len(), "{len} numbers in a room for {}", self.memory.len());
        self.len = len;
    }
}

impl<T: Plain> Deref for Room<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.memory[..self.len]
    }
}

impl<T: Plain> DerefMut for Room<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::Room;

    #[test]
    fn it_is_as_long_as_said_and_stays_where_it_is() {
        let mut room: Room<f64> = Room::new(10).expect("80 bytes");
        assert!(room.is_empty());
        room.set_len(10);
        let place = room.as_ptr();
        room[9] = 3.0;
        room.set_len(4);
        assert_eq!((room.len(), room.get(9)), (4, None));
        room.set_len(10);
        assert_eq!((room[9], room.as_ptr()), (3.0, place));
    }

    #[test]
    #[should_panic(expected = "11 numbers in a room for 10")]
    fn more_than_there_is_room_for_is_a_bug() {
        Room::<f64>::new(10).expect("80 bytes").set_len(11);
    }
}
