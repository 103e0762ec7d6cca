//! Large arrays: zeroed, 2 MiB aligned, on huge pages where asked. Rust's own allocator gives neither.
//! Memory from here is touched page by page on creation, so that no page fault falls into a timed region, and counted, so that
//! what a rank uses beyond its arrays can be told.

mod hint;
mod room;
mod stream;

pub use hint::{prefetch, prefetch_for_write, prefetch_second};
pub use room::Room;
#[cfg(target_arch = "aarch64")]
pub(crate) use stream::stream_pair;
pub use stream::{LINE, Line, stream, stream_end};

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustfft::num_complex::Complex64;
use rustix::param::page_size;

use crate::error::{Error, Result};

/// With ordinary pages of 4 KiB. With larger ones (aarch64 may have 64 KiB) it is only a large page-aligned piece.
const HUGE_PAGE: usize = 2 << 20;

/// Bytes of all arrays alive, and the most there were.
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The most bytes that all arrays of this process had together, whole pages.
#[must_use]
pub fn peak_array_bytes() -> usize {
    PEAK.load(Ordering::Relaxed)
}

/// Plain numbers for which all-zero bytes are a value.
///
/// # Safety
/// Implementors must be valid for any bit pattern and have no destructor.
pub unsafe trait Plain: Copy + 'static {}
// SAFETY: every bit pattern of these is a value, and they have no destructor.
unsafe impl Plain for f64 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl Plain for i64 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for i32 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for u8 {}
// SAFETY: two f64 in repr(C); every bit pattern is a value.
unsafe impl Plain for Complex64 {}

/// Size of the pages asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// Whatever the system's default is: what a C program's malloc gets.
    Default,
    /// Transparent huge pages, if the kernel has them.
    Huge,
}

/// A fixed-size array from `mmap`.
#[derive(Debug)]
pub struct Array<T: Plain> {
    start: NonNull<T>,
    len: usize,
    map: *mut libc::c_void,
    map_bytes: usize,
    /// Bytes of the pages in use, as far as they are counted.
    used: usize,
}

// SAFETY: the mapping is owned by this value alone, as a Vec's buffer is.
unsafe impl<T: Plain + Send> Send for Array<T> {}

impl<T: Plain> Array<T> {
    /// `len` zeroes, every page present.
    ///
    /// # Errors
    /// The system refuses the mapping.
    pub fn zeroed(len: usize, pages: Pages) -> Result<Self> {
        Ok(Self::map(len, pages, true)?.touched())
    }

    /// As [`Array::zeroed`], for a buffer that is none of the benchmark's own arrays and is counted as memory beyond them.
    ///
    /// # Errors
    /// The system refuses the mapping.
    pub fn beyond(len: usize, pages: Pages) -> Result<Self> {
        Ok(Self::map(len, pages, false)?.touched())
    }

    /// With every page present.
    fn touched(self) -> Self {
        for at in (0..self.len * size_of::<T>()).step_by(page_size()) {
            // SAFETY: inside the mapping, which was just made with room for `len` elements; volatile so that the page is really
            // touched.
            unsafe { self.start.cast::<u8>().add(at).write_volatile(0) };
        }
        self
    }

    /// `len` zeroes without pages of their own until they are written, as a C program's `malloc` gives them when it maps new
    /// memory: what is read before comes from the one page of zeroes that the kernel has.
    ///
    /// # Errors
    /// The system refuses the mapping.
    pub fn untouched(len: usize, pages: Pages) -> Result<Self> {
        Self::map(len, pages, true)
    }

    /// `counted`: as one of the benchmark's own.
    fn map(len: usize, pages: Pages, counted: bool) -> Result<Self> {
        let too_large =
            || Error::Environment(format!("array of {len} elements: too large for the address space"));
        let bytes = len.checked_mul(size_of::<T>()).ok_or_else(too_large)?.max(1);
        let map_bytes = bytes.checked_add(2 * HUGE_PAGE).ok_or_else(too_large)?;
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no existing memory.
        let map = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                map_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if map == libc::MAP_FAILED {
            let why = std::io::Error::last_os_error();
            return Err(Error::Environment(format!("no memory for an array of {} MiB: {why}", bytes >> 20)));
        }
        let offset = map.align_offset(HUGE_PAGE);
        // SAFETY: offset < HUGE_PAGE and the mapping is 2 * HUGE_PAGE longer than needed.
        let start = unsafe { map.cast::<u8>().add(offset) };
        if pages == Pages::Huge {
            // SAFETY: the range lies in our mapping; advice only, its failure (no THP) changes nothing but speed.
            unsafe { libc::madvise(start.cast(), bytes.next_multiple_of(HUGE_PAGE), libc::MADV_HUGEPAGE) };
        }
        let start = NonNull::new(start.cast::<T>()).ok_or_else(too_large)?;
        let whole = bytes.next_multiple_of(if pages == Pages::Huge { HUGE_PAGE } else { page_size() });
        let used = if counted { whole } else { 0 };
        let live = LIVE.fetch_add(used, Ordering::Relaxed) + used;
        PEAK.fetch_max(live, Ordering::Relaxed);
        Ok(Self { start, len, map, map_bytes, used })
    }
}

impl<T: Plain> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: start is aligned (2 MiB), valid for len elements that are initialised (zero pages), and owned.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Plain> DerefMut for Array<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in deref; &mut self makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T: Plain> Drop for Array<T> {
    fn drop(&mut self) {
        // SAFETY: map and map_bytes are what mmap gave; no reference outlives self.
        unsafe { libc::munmap(self.map, self.map_bytes) };
        LIVE.fetch_sub(self.used, Ordering::Relaxed);
    }
}

/// The same numbers as pairs of reals, for MPI, which has no type for them here.
#[must_use]
pub fn as_reals(complex: &[Complex64]) -> &[f64] {
    // SAFETY: Complex64 is two f64 in repr(C), without padding.
    unsafe { std::slice::from_raw_parts(complex.as_ptr().cast(), 2 * complex.len()) }
}

/// The same, writable.
#[must_use]
pub fn as_reals_mut(complex: &mut [Complex64]) -> &mut [f64] {
    // SAFETY: as in as_reals; any pair of f64 is a Complex64, and the borrow is exclusive.
    unsafe { std::slice::from_raw_parts_mut(complex.as_mut_ptr().cast(), 2 * complex.len()) }
}

#[cfg(test)]
mod tests {
    use super::{Array, Pages};

    #[test]
    fn zeroed_aligned_writable() {
        for pages in [Pages::Default, Pages::Huge] {
            let mut array: Array<f64> = Array::zeroed(1_000_003, pages).expect("8 MB");
            assert_eq!(array.len(), 1_000_003);
            assert!(array.iter().all(|&x| x == 0.0));
            assert_eq!(array.as_ptr() as usize % super::HUGE_PAGE, 0);
            array[1_000_002] = 1.0;
            assert_eq!(array.iter().sum::<f64>(), 1.0);
            assert!(super::peak_array_bytes() >= 8_000_024);
        }
        assert!(Array::<f64>::zeroed(usize::MAX / 4, Pages::Default).is_err());
    }
}
