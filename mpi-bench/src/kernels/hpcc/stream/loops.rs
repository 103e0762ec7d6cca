//! The four STREAM loops in several instruction sets. Each set is safe to call on the machine that `candidates` lists it on.
//! Non-temporal stores avoid reading the destination into the cache: a third to a half of the traffic. Where the memory is fast,
//! one core then waits for what it reads, because the hardware's own requests ahead are few: the sets named `ahead` make more.

#[cfg(target_arch = "x86_64")]
use crate::cpu::detected;

/// One implementation of each operation.
#[derive(Clone, Copy)]
pub(super) struct Loops {
    names: [&'static str; 4],
    /// `c <- a`
    pub(super) copy: fn(&mut [f64], &[f64]),
    /// `b <- s c`
    pub(super) scale: fn(&mut [f64], &[f64], f64),
    /// `c <- a + b`
    pub(super) add: fn(&mut [f64], &[f64], &[f64]),
    /// `a <- b + s c`
    pub(super) triad: fn(&mut [f64], &[f64], &[f64], f64),
}

impl Loops {
    /// Takes one operation (0 copy, 1 scale, 2 add, 3 triad) from another set.
    pub(super) fn take(&mut self, which: usize, other: &Self) {
        self.names[which] = other.names[which];
        match which {
            0 => self.copy = other.copy,
            1 => self.scale = other.scale,
            2 => self.add = other.add,
            _ => self.triad = other.triad,
        }
    }

    /// Which set each operation comes from.
    pub(super) fn names(&self) -> String {
        self.names.join("/")
    }
}

/// What a compiler makes of the loops for the baseline instruction set.
pub(super) const PLAIN: Loops = Loops { names: ["plain"; 4], copy, scale, add, triad };

fn copy(c: &mut [f64], a: &[f64]) {
    c.copy_from_slice(a);
}

fn scale(b: &mut [f64], c: &[f64], s: f64) {
    for (b, c) in b.iter_mut().zip(c) {
        *b = s * c;
    }
}

fn add(c: &mut [f64], a: &[f64], b: &[f64]) {
    for ((c, a), b) in c.iter_mut().zip(a).zip(b) {
        *c = a + b;
    }
}

fn triad(a: &mut [f64], b: &[f64], c: &[f64], s: f64) {
    for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
        *a = b + s * c;
    }
}

/// Every set that this CPU can run.
pub(super) fn candidates() -> Vec<Loops> {
    let mut sets = vec![PLAIN];
    #[cfg(target_arch = "x86_64")]
    {
        sets.extend(x86::SSE2_STREAM);
        if detected!("avx2") {
            sets.extend(x86::AVX2_STREAM);
        }
        if detected!("avx512f", "avx2", "fma", "f16c") {
            sets.extend(x86::AVX512_STREAM);
        }
    }
    #[cfg(target_arch = "aarch64")]
    sets.push(aarch64::NEON_PAIR_STREAM);
    sets
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128d, __m256d, __m512d, _mm_add_pd, _mm_loadu_pd, _mm_mul_pd, _mm_set1_pd, _mm_sfence,
        _mm_stream_pd, _mm256_add_pd, _mm256_loadu_pd, _mm256_mul_pd, _mm256_set1_pd, _mm256_stream_pd,
        _mm512_add_pd, _mm512_loadu_pd, _mm512_mul_pd, _mm512_set1_pd, _mm512_stream_pd,
    };

    use super::Loops;
    use crate::memory::prefetch_second;

    /// Elements of a cache line.
    const LINE: usize = 8;
    /// What is read is asked for so many elements ahead, from the second-level cache. 128 to 2048 were within 2 % of each other on
    /// an Emerald Rapids, and 5 % better than the same from the first level.
    const AHEAD: usize = 256;

    /// Defines the four loops for one vector width, as they are and with requests ahead. The destination is a whole `Array` (2 MiB
    /// aligned), so vectors of any width are aligned from its start; the rest beyond the last whole line is done one by one.
    macro_rules! stream_loops {
        ($table:ident, $module:ident, $feature:literal, $vector:ty, $lanes:literal,
         $load:ident, $store:ident, $splat:ident, $mul:ident, $add:ident) => {
            mod $module {
                use super::*;

                /// Applies `op` to whole lines; returns how many elements are done.
                #[inline]
                #[target_feature(enable = $feature)]
                fn each<const AHEAD: usize>(
                    out: &mut [f64],
                    inputs: [&[f64]; 2],
                    op: impl Fn($vector, $vector) -> $vector,
                ) -> usize {
                    let n = inputs.iter().fold(out.len(), |n, input| n.min(input.len()));
                    let whole =
                        if out.as_ptr().align_offset(size_of::<$vector>()) == 0 { n - n % LINE } else { 0 };
                    for line in (0..whole).step_by(LINE) {
                        if AHEAD > 0 {
                            for input in inputs {
                                prefetch_second(input.as_ptr().wrapping_add(line + AHEAD));
                            }
                        }
                        for i in (line..line + LINE).step_by($lanes) {
                            // SAFETY: i + LANES <= whole <= the length of all three slices, because the lanes divide a line;
                            // the store is aligned because the start is (checked above) and i is a multiple of the lanes.
                            unsafe {
                                let result =
                                    op($load(inputs[0].as_ptr().add(i)), $load(inputs[1].as_ptr().add(i)));
                                $store(out.as_mut_ptr().add(i), result);
                            }
                        }
                    }
                    // Streaming stores are weakly ordered: they must be out before the clock is read.
                    _mm_sfence();
                    whole
                }

                #[target_feature(enable = $feature)]
                fn copy<const AHEAD: usize>(c: &mut [f64], a: &[f64]) {
                    let done = each::<AHEAD>(c, [a, a], |a, _| a);
                    super::super::copy(&mut c[done..], &a[done..]);
                }

                #[target_feature(enable = $feature)]
                fn scale<const AHEAD: usize>(b: &mut [f64], c: &[f64], s: f64) {
                    let factor = $splat(s);
                    let done = each::<AHEAD>(b, [c, c], |c, _| $mul(factor, c));
                    super::super::scale(&mut b[done..], &c[done..], s);
                }

                #[target_feature(enable = $feature)]
                fn add<const AHEAD: usize>(c: &mut [f64], a: &[f64], b: &[f64]) {
                    let done = each::<AHEAD>(c, [a, b], |a, b| $add(a, b));
                    super::super::add(&mut c[done..], &a[done..], &b[done..]);
                }

                #[target_feature(enable = $feature)]
                fn triad<const AHEAD: usize>(a: &mut [f64], b: &[f64], c: &[f64], s: f64) {
                    let factor = $splat(s);
                    let done = each::<AHEAD>(a, [b, c], |b, c| $add(b, $mul(factor, c)));
                    super::super::triad(&mut a[done..], &b[done..], &c[done..], s);
                }

                const fn table<const AHEAD: usize>(name: &'static str) -> Loops {
                    // SAFETY (all four): `candidates` lists these sets only where the CPU has the feature.
                    Loops {
                        names: [name; 4],
                        // SAFETY: as above.
                        copy: |c, a| unsafe { copy::<AHEAD>(c, a) },
                        // SAFETY: as above.
                        scale: |b, c, s| unsafe { scale::<AHEAD>(b, c, s) },
                        // SAFETY: as above.
                        add: |c, a, b| unsafe { add::<AHEAD>(c, a, b) },
                        // SAFETY: as above.
                        triad: |a, b, c, s| unsafe { triad::<AHEAD>(a, b, c, s) },
                    }
                }
                pub(in super::super) const TABLES: [Loops; 2] =
                    [table::<0>(concat!($feature, "-nt")), table::<AHEAD>(concat!($feature, "-nt-ahead"))];
            }
            pub(super) const $table: [Loops; 2] = $module::TABLES;
        };
    }

    stream_loops!(
        SSE2_STREAM,
        sse2,
        "sse2",
        __m128d,
        2,
        _mm_loadu_pd,
        _mm_stream_pd,
        _mm_set1_pd,
        _mm_mul_pd,
        _mm_add_pd
    );
    stream_loops!(
        AVX2_STREAM,
        avx2,
        "avx2",
        __m256d,
        4,
        _mm256_loadu_pd,
        _mm256_stream_pd,
        _mm256_set1_pd,
        _mm256_mul_pd,
        _mm256_add_pd
    );
    stream_loops!(
        AVX512_STREAM,
        avx512,
        "avx512f",
        __m512d,
        8,
        _mm512_loadu_pd,
        _mm512_stream_pd,
        _mm512_set1_pd,
        _mm512_mul_pd,
        _mm512_add_pd
    );
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use std::arch::aarch64::{float64x2_t, vaddq_f64, vld1q_f64, vmulq_n_f64};

    use super::Loops;
    use crate::memory::stream_pair;

    /// Elements of two vectors, which are stored together.
    const LANES: usize = 4;

    /// Stores pairs of vectors with STNP, the non-temporal hint; NEON is part of the aarch64 baseline.
    pub(super) const NEON_PAIR_STREAM: Loops = Loops { names: ["neon-stnp"; 4], copy, scale, add, triad };

    /// Applies `op` to whole pairs of vectors; returns how many elements are done.
    #[inline(always)]
    fn each(
        out: &mut [f64],
        inputs: [&[f64]; 2],
        op: impl Fn(float64x2_t, float64x2_t) -> float64x2_t,
    ) -> usize {
        let n = inputs.iter().fold(out.len(), |n, input| n.min(input.len()));
        let whole = n - n % LANES;
        for i in (0..whole).step_by(LANES) {
            // SAFETY: i + LANES <= whole <= the length of all three slices.
            unsafe {
                let [x, y] = inputs.map(|input| input.as_ptr().add(i));
                let low = op(vld1q_f64(x), vld1q_f64(y));
                let high = op(vld1q_f64(x.add(2)), vld1q_f64(y.add(2)));
                stream_pair(out.as_mut_ptr().add(i), [low, high]);
            }
        }
        whole
    }

    #[inline(always)]
    fn plus(a: float64x2_t, b: float64x2_t) -> float64x2_t {
        // SAFETY: NEON is part of the aarch64 baseline.
        unsafe { vaddq_f64(a, b) }
    }

    #[inline(always)]
    fn times(a: float64x2_t, s: f64) -> float64x2_t {
        // SAFETY: as above.
        unsafe { vmulq_n_f64(a, s) }
    }

    fn copy(c: &mut [f64], a: &[f64]) {
        let done = each(c, [a, a], |a, _| a);
        super::copy(&mut c[done..], &a[done..]);
    }

    fn scale(b: &mut [f64], c: &[f64], s: f64) {
        let done = each(b, [c, c], |c, _| times(c, s));
        super::scale(&mut b[done..], &c[done..], s);
    }

    fn add(c: &mut [f64], a: &[f64], b: &[f64]) {
        let done = each(c, [a, b], plus);
        super::add(&mut c[done..], &a[done..], &b[done..]);
    }

    fn triad(a: &mut [f64], b: &[f64], c: &[f64], s: f64) {
        let done = each(a, [b, c], |b, c| plus(b, times(c, s)));
        super::triad(&mut a[done..], &b[done..], &c[done..], s);
    }
}

#[cfg(test)]
mod tests {
    use super::candidates;
    use crate::memory::{Array, Pages};

    #[test]
    fn every_set_computes_the_same_on_any_length() {
        for loops in candidates() {
            for n in [1, 2, 7, 8, 9, 1023] {
                let array = || Array::<f64>::zeroed(n, Pages::Default).expect("small");
                let (mut a, mut b, mut c) = (array(), array(), array());
                for i in 0..n {
                    (a[i], b[i]) = (i as f64 + 1.0, 2.0 * i as f64);
                }
                (loops.copy)(&mut c, &a);
                assert_eq!(*c, *a, "{}", loops.names());
                (loops.scale)(&mut b, &c, 3.0);
                assert!((0..n).all(|i| b[i] == 3.0 * a[i]));
                (loops.add)(&mut c, &a, &b);
                assert!((0..n).all(|i| c[i] == 4.0 * (i as f64 + 1.0)));
                (loops.triad)(&mut a, &b, &c, 2.0);
                assert!((0..n).all(|i| a[i] == 11.0 * (i as f64 + 1.0)));
            }
        }
    }
}
