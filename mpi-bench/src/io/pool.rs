//! Transfer buffers: page-aligned, as direct I/O needs, and touched before anything is timed.

use crate::error::Result;
use crate::memory::{Array, Pages};

/// What every device that takes direct I/O is content with.
const ALIGNMENT: usize = 4096;

/// Some buffers of one length in one piece of memory. The default is empty.
#[derive(Debug, Default)]
pub struct Pool {
    memory: Option<Array<u8>>,
    len: usize,
    slots: usize,
}

impl Pool {
    /// `slots` buffers of `len` bytes, each at a multiple of 4 KiB.
    ///
    /// # Errors
    /// No memory.
    pub fn new(slots: usize, len: usize) -> Result<Self> {
        let total = slots * len.next_multiple_of(ALIGNMENT);
        let pages = if total >= 1 << 20 { Pages::Huge } else { Pages::Default };
        Ok(Self { memory: Some(Array::zeroed(total, pages)?), len, slots })
    }

    /// Memory that [`Pool::new`] would take, in bytes.
    #[must_use]
    pub fn bytes(slots: usize, len: u64) -> u64 {
        (slots as u64).saturating_mul(len.next_multiple_of(ALIGNMENT as u64))
    }

    /// Number of buffers.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// A buffer.
    ///
    /// # Panics
    /// There is no such buffer.
    pub fn slot(&mut self, at: usize) -> &mut [u8] {
        assert!(at < self.slots, "buffer {at} of {}", self.slots);
        let start = at * self.len.next_multiple_of(ALIGNMENT);
        let len = self.len;
        self.memory.as_mut().map_or(&mut [], |memory| &mut memory[start..start + len])
    }

    /// All buffers.
    pub fn all(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let len = self.len;
        let memory: &mut [u8] = self.memory.as_mut().map_or(&mut [], |memory| memory);
        memory.chunks_mut(len.next_multiple_of(ALIGNMENT).max(1)).map(move |slot| &mut slot[..len])
    }
}
