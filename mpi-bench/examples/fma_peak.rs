//! The most double-precision operations a second that this CPU can do: nothing but fused multiply-adds on registers, the best of
//! some runs of a tenth of a second. No DGEMM can be faster, so a bound above it cannot be met on this machine.
//!
//! `cargo run --release -p trimtab-bench --example fma_peak`. Prints GF/s of one core; x86-64 with FMA, and aarch64. May not:
//! touch memory inside the loop.

/// Defines a function that returns how many operations it has done. `$fma` is the first argument times the second plus the third.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! rounds {
    ($name:ident, $features:literal, $vector:ty, $set:ident, $fma:ident) => {
        #[target_feature(enable = $features)]
        fn $name() -> u64 {
            /// Independent sums: two units of a latency of four or five cycles each need ten at once.
            const SUMS: usize = 16;
            /// Rounds of the loop: about a tenth of a second.
            const ROUNDS: u64 = 1 << 24;
            let (a, b) = (black_box($set(0.999_999)), black_box($set(1e-9)));
            let mut sums: [$vector; SUMS] = [$set(1.0); SUMS];
            for _ in 0..ROUNDS {
                for sum in &mut sums {
                    *sum = $fma(*sum, a, b);
                }
            }
            black_box(sums);
            ROUNDS * SUMS as u64 * 2 * (size_of::<$vector>() / 8) as u64
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod vectors {
    use std::arch::x86_64::{
        __m256d, __m512d, _mm256_fmadd_pd, _mm256_set1_pd, _mm512_fmadd_pd, _mm512_set1_pd,
    };
    use std::hint::black_box;

    rounds!(avx512, "avx512f", __m512d, _mm512_set1_pd, _mm512_fmadd_pd);
    rounds!(avx2, "avx2,fma", __m256d, _mm256_set1_pd, _mm256_fmadd_pd);

    /// What the widest vectors of the CPU are called, and the operations that the loop over them did.
    pub(crate) fn widest() -> Option<(&'static str, u64)> {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
        {
            // SAFETY: the CPU has its features, those included that come with them.
            Some(("AVX-512", unsafe { avx512() }))
        } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the CPU has its features.
            Some(("AVX2", unsafe { avx2() }))
        } else {
            None
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod vectors {
    use std::arch::aarch64::{float64x2_t, vdupq_n_f64, vfmaq_f64};
    use std::hint::black_box;

    #[inline]
    #[target_feature(enable = "neon")]
    fn times_plus(a: float64x2_t, b: float64x2_t, c: float64x2_t) -> float64x2_t {
        vfmaq_f64(c, a, b)
    }

    rounds!(neon, "neon", float64x2_t, vdupq_n_f64, times_plus);

    /// As on x86-64.
    pub(crate) fn widest() -> Option<(&'static str, u64)> {
        // SAFETY: NEON is part of the aarch64 baseline.
        Some(("NEON", unsafe { neon() }))
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod vectors {
    /// Not written for this CPU.
    pub(crate) fn widest() -> Option<(&'static str, u64)> {
        None
    }
}

const RUNS: usize = 40;

fn main() {
    let mut best = None;
    for _ in 0..RUNS {
        let begin = std::time::Instant::now();
        let Some((name, operations)) = vectors::widest() else { break };
        let gflops = operations as f64 / begin.elapsed().as_secs_f64() / 1e9;
        if best.is_none_or(|(fastest, _)| gflops > fastest) {
            best = Some((gflops, name));
        }
    }
    match best {
        Some((gflops, name)) => println!("{name}: {:.1} GF/s on one core", gflops),
        None => println!("no fused multiply-add on this CPU that this program knows"),
    }
}
