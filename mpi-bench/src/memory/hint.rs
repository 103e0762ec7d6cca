//! Requests to the caches for lines that will be used soon. Hints only: none of them reads, writes or faults, at any address.

macro_rules! hint {
    ($(#[$doc:meta])* $visibility:vis $name:ident, $x86:ident, $aarch64:literal) => {
        $(#[$doc])*
        #[inline(always)]
        $visibility fn $name<T>(address: *const T) {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a prefetch never faults, whatever the address; SSE is part of the x86-64 baseline.
            unsafe {
                std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::$x86 }>(address.cast());
            }
            #[cfg(target_arch = "aarch64")]
            // SAFETY: a prefetch never faults and writes nothing.
            unsafe {
                std::arch::asm!(concat!("prfm ", $aarch64, ", [{p}]"), p = in(reg) address,
                    options(nostack, preserves_flags, readonly));
            }
            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
            let _ = address;
        }
    };
}

hint! {
    /// Asks the first-level cache for a line.
    pub prefetch, _MM_HINT_T0, "pldl1keep"
}
hint! {
    /// Asks the second-level cache for a line.
    pub prefetch_second, _MM_HINT_T1, "pldl2keep"
}
hint! {
    to_write, _MM_HINT_T0, "pstl1keep"
}

/// Asks the first-level cache for the line of `data[at]`, which is about to be written. Any index is harmless.
#[inline(always)]
pub fn prefetch_for_write<T>(data: &[T], at: usize) {
    to_write(data.as_ptr().wrapping_add(at));
}
