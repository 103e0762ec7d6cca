//! The most double-precision operations a second that this CPU can do: nothing but fused multiply-adds on registers, the best of
//! some runs of a tenth of a second. No DGEMM can be faster, so a bound above it cannot be met on this machine.
//!
//! `cargo run --release -p trimtab-bench --example fma_peak`. Prints GF/s of one core; x86-64 with FMA only. May not: touch memory
//! inside the loop.

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256d, __m512d, _mm256_fmadd_pd, _mm256_set1_pd, _mm512_fmadd_pd, _mm512_set1_pd,
    };
    use std::hint::black_box;

    /// Independent sums: two units of a latency of four or five cycles each need ten at once.
    const SUMS: usize = 16;
    /// Rounds of the loop: about a tenth of a second.
    const ROUNDS: u64 = 1 << 24;

    macro_rules! rounds {
        ($name:ident, $features:literal, $vector:ty, $set:ident, $fma:ident) => {
            /// Operations done.
            #[target_feature(enable = $features)]
            pub(crate) fn $name() -> u64 {
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

#[cfg(target_arch = "x86_64")]
const RUNS: usize = 40;

#[cfg(target_arch = "x86_64")]
fn main() {
    let mut best = None;
    for _ in 0..RUNS {
        let begin = std::time::Instant::now();
        let Some((name, operations)) = x86::widest() else { break };
        let gflops = operations as f64 / begin.elapsed().as_secs_f64() / 1e9;
        if best.is_none_or(|(fastest, _)| gflops > fastest) {
            best = Some((gflops, name));
        }
    }
    match best {
        Some((gflops, name)) => println!("{name}: {:.1} GF/s on one core", gflops),
        None => println!("no fused multiply-add on this CPU"),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    println!("only written for x86-64");
}
