//! Stores past the caches: what is written whole and not read again soon need not be fetched first. May not: allocate.

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64::{float64x2_t, vld1q_f64};

/// Words of a line, as long as the cache's on x86-64 and most of aarch64.
pub const LINE: usize = 16;

/// A cache line of words.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub struct Line(pub [u32; LINE]);

/// Writes a line past the caches where the CPU can, on x86-64 if its place is aligned to 16 bytes: its old content is not
/// fetched first. [`stream_end`] must follow before another core may read it.
#[inline(always)]
pub fn stream(to: &mut [u32; LINE], line: &Line) {
    #[cfg(target_arch = "x86_64")]
    if to.as_ptr().addr().is_multiple_of(16) {
        use std::arch::x86_64::{__m128i, _mm_load_si128, _mm_stream_si128};
        for at in (0..LINE).step_by(4) {
            // SAFETY: at + 4 <= LINE; the line is aligned by its type and the place was checked; SSE2 is the baseline.
            unsafe {
                let words = _mm_load_si128(line.0.as_ptr().add(at).cast::<__m128i>());
                _mm_stream_si128(to.as_mut_ptr().add(at).cast::<__m128i>(), words);
            }
        }
        return;
    }
    #[cfg(target_arch = "aarch64")]
    for at in (0..LINE).step_by(8) {
        // SAFETY: at + 8 <= LINE; any bits are two doubles.
        unsafe {
            let words = line.0.as_ptr().add(at).cast::<f64>();
            stream_pair(to.as_mut_ptr().add(at).cast(), [vld1q_f64(words), vld1q_f64(words.add(2))]);
        }
    }
    #[cfg(not(target_arch = "aarch64"))]
    {
        *to = line.0;
    }
}

/// Waits until what [`stream`] has written is there for everybody.
#[inline(always)]
pub fn stream_end() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of the x86-64 baseline.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

/// Stores two vectors beside each other with STNP, aarch64's hint that they are not read again soon. Needs no alignment, and
/// no [`stream_end`]: the barriers of any lock or message order it like every store.
///
/// # Safety
/// 32 bytes at `to` are writable.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub(crate) unsafe fn stream_pair(to: *mut f64, [low, high]: [float64x2_t; 2]) {
    // SAFETY: the caller's contract; NEON is part of the aarch64 baseline.
    unsafe {
        std::arch::asm!("stnp {low:q}, {high:q}, [{to}]", low = in(vreg) low, high = in(vreg) high, to = in(reg) to,
            options(nostack, preserves_flags));
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE, Line, stream, stream_end};

    #[test]
    fn a_line_arrives_at_any_alignment_and_nothing_beside_it_changes() {
        let line = Line(std::array::from_fn(|at| 0x7ff0_0001 + at as u32));
        for offset in 0..=LINE {
            let mut place = [Line([7; LINE]), Line([7; LINE])].map(|line| line.0).concat();
            let to = place[offset..].first_chunk_mut().expect("a line of room");
            stream(to, &line);
            stream_end();
            assert_eq!(place[offset..][..LINE], line.0);
            assert!(place[..offset].iter().chain(&place[offset + LINE..]).all(|&word| word == 7), "{offset}");
        }
    }
}
