//! Moves between a large row-major matrix and a small buffer of columns, four by four elements at a time.
//!
//! Reading asks for lines ahead of time: the rows of the matrix are pages apart, where no hardware prefetcher follows.
//! Writing goes past the cache (non-temporal): the lines are written whole and not needed again soon, so reading them first,
//! which an ordinary store does, would be half as much traffic again.

use rustfft::num_complex::Complex64;

#[cfg(target_arch = "x86_64")]
use crate::cpu::detected;
use crate::memory::{prefetch, stream_end};

/// Rows ahead for which lines are asked.
const AHEAD: usize = 16;

/// Edge of a tile: four complex numbers are a cache line.
const TILE: usize = 4;

/// Part of a matrix: `rows` rows of `width` elements, `stride` apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) rows: usize,
    pub(super) width: usize,
    pub(super) stride: usize,
}

impl Shape {
    fn fits(&self, len: usize) -> bool {
        self.rows == 0 || (self.rows - 1) * self.stride + self.width <= len
    }

    fn whole_tiles(&self) -> bool {
        self.rows.is_multiple_of(TILE) && self.width.is_multiple_of(TILE) && self.stride.is_multiple_of(TILE)
    }
}

/// Transposes one tile.
trait Move {
    /// # Safety
    /// Four elements at each of four places `from_stride` (to_stride) apart are readable (writable), the CPU has the
    /// instructions, and for streaming the places written to are aligned to what is stored.
    unsafe fn tile(from: *const Complex64, from_stride: usize, to: *mut Complex64, to_stride: usize);
}

/// Element by element, each one vector of SSE2 or NEON.
struct Plain;

impl Move for Plain {
    #[inline(always)]
    unsafe fn tile(from: *const Complex64, from_stride: usize, to: *mut Complex64, to_stride: usize) {
        for i in 0..TILE {
            for j in 0..TILE {
                // SAFETY: the caller's contract. A copy, not a load of two numbers: it stays one vector.
                unsafe {
                    to.add(i * to_stride + j).copy_from_nonoverlapping(from.add(j * from_stride + i), 1);
                }
            }
        }
    }
}

/// `buffer[column * pitch + row] = matrix[row * stride + column]`.
///
/// # Panics
/// A slice is too short for the shape.
pub(super) fn gather(matrix: &[Complex64], shape: Shape, buffer: &mut [Complex64], pitch: usize) {
    let across = Shape { rows: shape.width, width: shape.rows, stride: pitch };
    assert!(shape.fits(matrix.len()) && across.fits(buffer.len()), "gather: slice too short");
    if shape.whole_tiles() {
        let (from, to) = (matrix.as_ptr(), buffer.as_mut_ptr());
        // SAFETY: the shapes fit their slices (asserted) and consist of whole tiles.
        return unsafe { gather_tiles(from, shape, to, pitch) };
    }
    for row in 0..shape.rows {
        for column in 0..shape.width {
            buffer[column * pitch + row] = matrix[row * shape.stride + column];
        }
    }
}

/// # Safety
/// See [`gather`]: whole tiles within both arrays.
unsafe fn gather_tiles(matrix: *const Complex64, shape: Shape, buffer: *mut Complex64, pitch: usize) {
    #[cfg(target_arch = "x86_64")]
    if detected!("avx512f", "avx2", "fma", "f16c") {
        // SAFETY: the caller's contract, and the CPU has the features.
        return unsafe { x86::gather_avx512(matrix, shape, buffer, pitch) };
    }
    // SAFETY: the caller's contract.
    unsafe { gather_with::<Plain>(matrix, shape, buffer, pitch) };
}

/// `matrix[row * stride + column] = buffer[column * pitch + row]`.
///
/// # Panics
/// A slice is too short for the shape.
pub(super) fn scatter(buffer: &[Complex64], pitch: usize, matrix: &mut [Complex64], shape: Shape) {
    let across = Shape { rows: shape.width, width: shape.rows, stride: pitch };
    assert!(shape.fits(matrix.len()) && across.fits(buffer.len()), "scatter: slice too short");
    if shape.whole_tiles() && matrix.as_ptr().align_offset(64) == 0 {
        let (from, to) = (buffer.as_ptr(), matrix.as_mut_ptr());
        // SAFETY: the shapes fit their slices (asserted), consist of whole tiles, and each tile row starts on a cache line.
        unsafe { scatter_tiles(from, pitch, to, shape) };
        // MPI and other readers expect it done.
        return stream_end();
    }
    for row in 0..shape.rows {
        for column in 0..shape.width {
            matrix[row * shape.stride + column] = buffer[column * pitch + row];
        }
    }
}

/// # Safety
/// See [`scatter`]: whole tiles within both arrays, the matrix on a cache line.
unsafe fn scatter_tiles(buffer: *const Complex64, pitch: usize, matrix: *mut Complex64, shape: Shape) {
    #[cfg(target_arch = "x86_64")]
    if detected!("avx512f", "avx2", "fma", "f16c") {
        // SAFETY: the caller's contract, and the CPU has the features.
        return unsafe { x86::scatter_avx512(buffer, pitch, matrix, shape) };
    }
    #[cfg(target_arch = "x86_64")]
    type Baseline = x86::Sse2Stream;
    #[cfg(target_arch = "aarch64")]
    type Baseline = aarch64::NeonStream;
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    type Baseline = Plain;
    // SAFETY: the caller's contract.
    unsafe { scatter_with::<Baseline>(buffer, pitch, matrix, shape) };
}

#[inline(always)]
unsafe fn gather_with<M: Move>(matrix: *const Complex64, shape: Shape, buffer: *mut Complex64, pitch: usize) {
    for row in (0..shape.rows).step_by(TILE) {
        for column in (0..shape.width).step_by(TILE) {
            for next in 0..TILE {
                prefetch(matrix.wrapping_add((row + AHEAD + next) * shape.stride + column));
            }
            // SAFETY: the tile lies within both arrays.
            unsafe {
                let from = matrix.add(row * shape.stride + column);
                M::tile(from, shape.stride, buffer.add(column * pitch + row), pitch);
            }
        }
    }
}

#[inline(always)]
unsafe fn scatter_with<M: Move>(
    buffer: *const Complex64,
    pitch: usize,
    matrix: *mut Complex64,
    shape: Shape,
) {
    for row in (0..shape.rows).step_by(TILE) {
        for column in (0..shape.width).step_by(TILE) {
            // SAFETY: the tile lies within both arrays; its rows start on cache lines.
            unsafe {
                let to = matrix.add(row * shape.stride + column);
                M::tile(buffer.add(column * pitch + row), pitch, to, shape.stride);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _mm_loadu_pd, _mm_stream_pd, _mm512_loadu_pd, _mm512_shuffle_f64x2, _mm512_storeu_pd,
        _mm512_stream_pd,
    };

    use super::{Complex64, Move, Shape, TILE, gather_with, scatter_with};

    pub(super) struct Sse2Stream;
    struct Avx512<const STREAM: bool>;

    impl Move for Sse2Stream {
        #[inline(always)]
        unsafe fn tile(from: *const Complex64, from_stride: usize, to: *mut Complex64, to_stride: usize) {
            for i in 0..TILE {
                for j in 0..TILE {
                    // SAFETY: the caller's contract; SSE2 is part of the x86-64 baseline.
                    unsafe {
                        let value = _mm_loadu_pd(from.add(j * from_stride + i).cast());
                        _mm_stream_pd(to.add(i * to_stride + j).cast(), value);
                    }
                }
            }
        }
    }

    impl<const STREAM: bool> Move for Avx512<STREAM> {
        #[inline(always)]
        unsafe fn tile(from: *const Complex64, from_stride: usize, to: *mut Complex64, to_stride: usize) {
            // SAFETY: the caller's contract.
            unsafe {
                let row = |j: usize| _mm512_loadu_pd(from.add(j * from_stride).cast());
                let (r0, r1, r2, r3) = (row(0), row(1), row(2), row(3));
                let (a, b) = (_mm512_shuffle_f64x2::<0x44>(r0, r1), _mm512_shuffle_f64x2::<0xee>(r0, r1));
                let (c, d) = (_mm512_shuffle_f64x2::<0x44>(r2, r3), _mm512_shuffle_f64x2::<0xee>(r2, r3));
                let columns = [
                    _mm512_shuffle_f64x2::<0x88>(a, c),
                    _mm512_shuffle_f64x2::<0xdd>(a, c),
                    _mm512_shuffle_f64x2::<0x88>(b, d),
                    _mm512_shuffle_f64x2::<0xdd>(b, d),
                ];
                for (i, column) in columns.into_iter().enumerate() {
                    let place = to.add(i * to_stride).cast();
                    if STREAM {
                        _mm512_stream_pd(place, column);
                    } else {
                        _mm512_storeu_pd(place.cast(), column);
                    }
                }
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn gather_avx512(
        matrix: *const Complex64,
        shape: Shape,
        buffer: *mut Complex64,
        pitch: usize,
    ) {
        // SAFETY: the caller's contract.
        unsafe { gather_with::<Avx512<false>>(matrix, shape, buffer, pitch) }
    }

    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn scatter_avx512(
        buffer: *const Complex64,
        pitch: usize,
        matrix: *mut Complex64,
        shape: Shape,
    ) {
        // SAFETY: the caller's contract.
        unsafe { scatter_with::<Avx512<true>>(buffer, pitch, matrix, shape) }
    }
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use std::arch::aarch64::vld1q_f64;

    use super::{Complex64, Move, TILE};
    use crate::memory::stream_pair;

    pub(super) struct NeonStream;

    impl Move for NeonStream {
        #[inline(always)]
        unsafe fn tile(from: *const Complex64, from_stride: usize, to: *mut Complex64, to_stride: usize) {
            for i in 0..TILE {
                for j in (0..TILE).step_by(2) {
                    // SAFETY: the caller's contract; NEON is part of the aarch64 baseline.
                    unsafe {
                        let value = |j: usize| vld1q_f64(from.add(j * from_stride + i).cast());
                        stream_pair(to.add(i * to_stride + j).cast(), [value(j), value(j + 1)]);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustfft::num_complex::Complex64;

    use super::{Shape, gather, scatter};
    use crate::memory::{Array, Pages};

    #[test]
    fn there_and_back_for_whole_and_broken_tiles() {
        for (rows, width, stride, pitch) in [(8, 4, 16, 8), (64, 8, 64, 72), (5, 3, 7, 6), (1, 1, 1, 1)] {
            let shape = Shape { rows, width, stride };
            let mut matrix: Array<Complex64> = Array::zeroed(rows * stride, Pages::Default).expect("small");
            for (i, value) in matrix.iter_mut().enumerate() {
                *value = Complex64::new(i as f64, -(i as f64));
            }
            let mut buffer = vec![Complex64::default(); width * pitch];
            gather(&matrix, shape, &mut buffer, pitch);
            for row in 0..rows {
                for column in 0..width {
                    assert_eq!(buffer[column * pitch + row], matrix[row * stride + column]);
                }
            }
            let mut back: Array<Complex64> = Array::zeroed(rows * stride, Pages::Default).expect("small");
            scatter(&buffer, pitch, &mut back, shape);
            for row in 0..rows {
                assert_eq!(back[row * stride..][..width], matrix[row * stride..][..width]);
                assert!(back[row * stride + width..].iter().take(stride - width).all(|v| v.re == 0.0));
            }
        }
    }
}
