//! The innermost loops of the matrix product: C <- beta C + A B for a tile of C that fits into registers, in several instruction
//! sets. Each is safe to call on the machine that `candidates` lists it on. All unsafe code of the product is here.
//!
//! Per step one column piece of A is loaded and each of the tile's columns gets it times one broadcast element of B. The tile is
//! as large as the registers hold, so that loads take fewer slots than the multiply-adds. What the next steps read, the tile of
//! C and what comes after this tile are asked for on the way, spread so that they do not queue up before the loads.

use super::Mat;
use super::pack;
#[cfg(target_arch = "x86_64")]
use crate::cpu::detected;

/// Steps between two requests for C and for what comes next.
const CHUNK: usize = 8;
/// Chunks before the last step from which on C is asked for.
const LATE: usize = 20;
/// Steps by which A is asked for ahead of its use.
const AHEAD: usize = 16;
/// Elements of the largest tile.
pub(super) const LARGEST: usize = 24 * 8;

/// What a tile multiplies: `depth` steps.
#[derive(Clone, Copy)]
pub(super) struct Factors<'a> {
    pub(super) depth: usize,
    /// The tile's rows of A: a packed panel, or A itself.
    pub(super) a: Mat<'a>,
    /// A packed panel of B.
    pub(super) b: &'a [f64],
    /// Columns of the tile that are in C, the first ones.
    pub(super) cols: usize,
    /// What is read after this tile, asked for every few steps a line further. A hint: any address is harmless.
    pub(super) next: *const f64,
}

/// One implementation.
pub(super) struct Tile {
    pub(super) name: &'static str,
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// `C <- beta C + A B` for all rows of a tile, whose columns are so far apart; C is not read where beta is zero.
    pub(super) run: fn(&Factors<'_>, f64, &mut [f64], usize),
    /// See [`pack::rows`].
    pub(super) pack_a: fn(Mat<'_>, usize, usize, &mut [f64]),
    /// See [`pack::columns`].
    pub(super) pack_b: fn(f64, Mat<'_>, usize, usize, &mut [f64]),
}

/// Every tile that this CPU can run, the best first.
pub(super) fn candidates() -> Vec<&'static Tile> {
    #[cfg(target_arch = "x86_64")]
    let vectors = [
        detected!("avx512f", "avx2", "fma", "f16c").then_some(&avx512::TILE),
        detected!("avx2", "fma").then_some(&avx2::TILE),
    ];
    #[cfg(target_arch = "aarch64")]
    let vectors = [Some(&neon::TILE)];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let vectors = [];
    vectors.into_iter().flatten().chain([&plain::TILE]).collect()
}

/// Defines `TILE` of `$vectors` vectors of `$lanes` by `$cols` columns in a module that has `load`, `store`, `splat`, `plus`
/// (third argument plus the product of the others) and a vector type `V`.
macro_rules! tile {
    ($name:literal, $vectors:literal x $lanes:literal by $cols:literal, $pack:expr $(, $features:literal)?) => {
        use super::{AHEAD, CHUNK, Factors, LATE, Mat, Tile, pack};
        use crate::memory::{prefetch, prefetch_second};

        const ROWS: usize = $vectors * $lanes;

        pub(super) static TILE: Tile = Tile {
            name: $name,
            rows: ROWS,
            cols: $cols,
            run: |factors, beta, c, ld| {
                let run = match (beta == 0.0, factors.a.ld == ROWS) {
                    (true, true) => run::<false, true>,
                    (true, false) => run::<false, false>,
                    (false, true) => run::<true, true>,
                    (false, false) => run::<true, false>,
                };
                // SAFETY: `candidates` lists this tile only where the CPU has the features.
                unsafe { run(factors, beta, c, ld) }
            },
            pack_a: |a, rows, depth, out| {
                // SAFETY: as for `run`.
                unsafe { pack_rows(a, rows, depth, out) }
            },
            pack_b: $pack,
        };

        /// [`pack::rows`], compiled for these vectors.
        ///
        /// # Safety
        /// The CPU has the features.
        $(#[target_feature(enable = $features)])?
        unsafe fn pack_rows(a: Mat<'_>, rows: usize, depth: usize, out: &mut [f64]) {
            pack::rows::<ROWS>(a, rows, depth, out);
        }

        /// One step. A `PACKED` A is one stream, which the hardware fetches ahead by itself.
        ///
        /// # Safety
        /// `a` and `b` point to `ROWS` and `$cols` elements; the CPU has the features.
        #[inline]
        $(#[target_feature(enable = $features)])?
        unsafe fn step<const PACKED: bool>(sums: &mut [[V; $vectors]; $cols], a: *const f64, ld: usize, b: *const f64) {
            let mut piece = [splat(0.0); $vectors];
            for (r, piece) in piece.iter_mut().enumerate() {
                // SAFETY: r + 1 vectors are at most ROWS.
                *piece = unsafe { load(a.add(r * $lanes)) };
            }
            if !PACKED {
                for line in (0..ROWS).step_by(8) {
                    prefetch(a.wrapping_add(AHEAD * ld + line));
                }
            }
            for (j, column) in sums.iter_mut().enumerate() {
                // SAFETY: j < the columns.
                let factor = splat(unsafe { *b.add(j) });
                for (sum, &piece) in column.iter_mut().zip(&piece) {
                    *sum = plus(piece, factor, *sum);
                }
            }
        }

        /// See `Tile::run`; `READ` is whether C is read, which is no question for each vector, and `PACKED` whether the columns
        /// of A follow each other.
        ///
        /// # Safety
        /// The CPU has the features.
        $(#[target_feature(enable = $features)])?
        unsafe fn run<const READ: bool, const PACKED: bool>(factors: &Factors<'_>, beta: f64, c: &mut [f64], ld: usize) {
            let Factors { depth, a: Mat { data, ld: stride }, b, cols, mut next } = *factors;
            assert!(depth > 0 && data.len() >= (depth - 1) * stride + ROWS && b.len() >= depth * $cols);
            assert!((1..=$cols).contains(&cols) && c.len() >= (cols - 1) * ld + ROWS);
            let stride = if PACKED { ROWS } else { stride };
            let (c, mut a, mut b) = (c.as_mut_ptr(), data.as_ptr(), b.as_ptr());
            let mut sums = [[splat(0.0); $vectors]; $cols];
            // Earlier, what passes by would have driven C out of the first-level cache again.
            let first = (depth / CHUNK).saturating_sub(LATE);
            for chunk in 0..depth / CHUNK {
                let column = chunk.wrapping_sub(first);
                if column < cols {
                    for line in (0..ROWS).step_by(8) {
                        prefetch(c.wrapping_add(column * ld + line));
                    }
                    prefetch(c.wrapping_add(column * ld + ROWS - 1));
                }
                prefetch_second(next);
                next = next.wrapping_add(8);
                for _ in 0..CHUNK {
                    // SAFETY: fewer than `depth` steps were made, and the first assert.
                    unsafe { step::<PACKED>(&mut sums, a, stride, b) };
                    (a, b) = (a.wrapping_add(stride), b.wrapping_add($cols));
                }
            }
            for _ in 0..depth % CHUNK {
                // SAFETY: as above.
                unsafe { step::<PACKED>(&mut sums, a, stride, b) };
                (a, b) = (a.wrapping_add(stride), b.wrapping_add($cols));
            }
            let factor = splat(beta);
            for (j, column) in sums.iter().enumerate() {
                if j >= cols {
                    return;
                }
                for (r, &sum) in column.iter().enumerate() {
                    // SAFETY: j < cols and r + 1 vectors are at most ROWS: the second assert.
                    unsafe {
                        let to = c.add(j * ld + r * $lanes);
                        store(to, if READ { plus(factor, load(to), sum) } else { sum });
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m512d as V, _mm512_fmadd_pd as plus, _mm512_loadu_pd as load, _mm512_mul_pd,
        _mm512_set1_pd as splat, _mm512_shuffle_f64x2, _mm512_storeu_pd as store, _mm512_unpackhi_pd,
        _mm512_unpacklo_pd,
    };

    tile!("avx512", 3 x 8 by 8, columns, "avx512f");

    /// As [`pack::columns`], eight rows at a time.
    fn columns(alpha: f64, b: Mat<'_>, cols: usize, depth: usize, out: &mut [f64]) {
        let whole = if cols == 8 { depth / 8 * 8 } else { 0 };
        // SAFETY: `candidates` lists the tile that packs so only where the CPU has the feature.
        unsafe { blocks(alpha, b, whole, out) };
        if depth > whole {
            pack::columns::<8>(alpha, b.rest(whole, 0), cols, depth - whole, &mut out[8 * whole..]);
        }
    }

    /// The first `rows` rows, which are a multiple of eight, of eight columns.
    #[target_feature(enable = "avx512f")]
    fn blocks(alpha: f64, b: Mat<'_>, rows: usize, out: &mut [f64]) {
        assert!(rows == 0 || (b.data.len() >= 7 * b.ld + rows && out.len() >= 8 * rows));
        let factor = splat(alpha);
        for row in (0..rows).step_by(8) {
            let mut block = [factor; 8];
            for (j, column) in block.iter_mut().enumerate() {
                // SAFETY: j < 8 and row + 8 <= rows: the assert.
                *column = _mm512_mul_pd(factor, unsafe { load(b.data.as_ptr().add(row + j * b.ld)) });
            }
            for (i, line) in transposed(block).iter().enumerate() {
                // SAFETY: i < 8: the assert.
                unsafe { store(out.as_mut_ptr().add(8 * (row + i)), *line) };
            }
        }
    }

    /// Rows of an 8 x 8 block from its columns.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn transposed(c: [V; 8]) -> [V; 8] {
        // Even rows 0 2 4 6 (odd rows 1 3 5 7) of two columns each, in pairs.
        let (e0, o0) = (_mm512_unpacklo_pd(c[0], c[1]), _mm512_unpackhi_pd(c[0], c[1]));
        let (e1, o1) = (_mm512_unpacklo_pd(c[2], c[3]), _mm512_unpackhi_pd(c[2], c[3]));
        let (e2, o2) = (_mm512_unpacklo_pd(c[4], c[5]), _mm512_unpackhi_pd(c[4], c[5]));
        let (e3, o3) = (_mm512_unpacklo_pd(c[6], c[7]), _mm512_unpackhi_pd(c[6], c[7]));
        let ((r0, r4), (r2, r6)) = quarters(e0, e1, e2, e3);
        let ((r1, r5), (r3, r7)) = quarters(o0, o1, o2, o3);
        [r0, r1, r2, r3, r4, r5, r6, r7]
    }

    /// The pairs 0 and 2, 1 and 3, of all four.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn quarters(a: V, b: V, c: V, d: V) -> ((V, V), (V, V)) {
        let (front, back) = (even_odd(a, b), even_odd(c, d));
        (even_odd(front.0, back.0), even_odd(front.1, back.1))
    }

    /// The even and the odd pairs of both.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn even_odd(a: V, b: V) -> (V, V) {
        (_mm512_shuffle_f64x2::<0x88>(a, b), _mm512_shuffle_f64x2::<0xdd>(a, b))
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256d as V, _mm256_fmadd_pd as plus, _mm256_loadu_pd as load, _mm256_set1_pd as splat,
        _mm256_storeu_pd as store,
    };

    tile!("avx2", 3 x 4 by 4, pack::columns::<4>, "avx2,fma");
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::{
        float64x2_t as V, vdupq_n_f64 as splat, vfmaq_f64, vld1q_f64 as load, vst1q_f64 as store,
    };

    #[inline]
    #[target_feature(enable = "neon")]
    fn plus(a: V, b: V, sum: V) -> V {
        vfmaq_f64(sum, a, b)
    }

    tile!("neon", 4 x 2 by 6, pack::columns::<6>, "neon");
}

/// For the baseline instruction set.
mod plain {
    type V = f64;

    #[inline]
    unsafe fn load(from: *const f64) -> f64 {
        // SAFETY: the caller's.
        unsafe { *from }
    }

    #[inline]
    unsafe fn store(to: *mut f64, value: f64) {
        // SAFETY: the caller's.
        unsafe { *to = value }
    }

    #[inline]
    fn splat(value: f64) -> f64 {
        value
    }

    #[inline]
    fn plus(a: f64, b: f64, sum: f64) -> f64 {
        sum + a * b
    }

    tile!("plain", 4 x 1 by 4, pack::columns::<4>);
}
