//! Moves between a large row-major matrix and a small buffer of columns, four by four elements at a time.
//!
//! Reading asks for lines ahead of time: the rows of the matrix are pages apart, where no hardware prefetcher follows.
//! Writing goes past the cache (non-temporal): the lines are written whole and not needed again soon, so reading them first,
//! which an ordinary store does, would be half as much traffic again.

use rustfft::num_complex::Complex64;

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

/// `buffer[column * pitch + row] = matrix[row * stride + column]`.
///
/// # Panics
/// A slice is too short for the shape.
pub(super) fn gather(matrix: &[Complex64], shape: Shape, buffer: &mut [Complex64], pitch: usize) {
    let across = Shape { rows: shape.width, width: shape.rows, stride: pitch };
    assert!(shape.fits(matrix.len()) && across.fits(buffer.len()), "gather: slice too short");
    #[cfg(target_arch = "x86_64")]
    if shape.whole_tiles() {
        // SAFETY: the shapes fit their slices (asserted) and consist of whole tiles.
        return unsafe { x86::gather(matrix.as_ptr(), shape, buffer.as_mut_ptr(), pitch) };
    }
    for row in 0..shape.rows {
        for column in 0..shape.width {
            buffer[column * pitch + row] = matrix[row * shape.stride + column];
        }
    }
}

/// `matrix[row * stride + column] = buffer[column * pitch + row]`.
///
/// # Panics
/// A slice is too short for the shape.
pub(super) fn scatter(buffer: &[Complex64], pitch: usize, matrix: &mut [Complex64], shape: Shape) {
    let across = Shape { rows: shape.width, width: shape.rows, stride: pitch };
    assert!(shape.fits(matrix.len()) && across.fits(buffer.len()), "scatter: slice too short");
    #[cfg(target_arch = "x86_64")]
    if shape.whole_tiles() && matrix.as_ptr().align_offset(64) == 0 {
        // SAFETY: the shapes fit their slices (asserted), consist of whole tiles, and each tile row starts on a cache line.
        return unsafe { x86::scatter(buffer.as_ptr(), pitch, matrix.as_mut_ptr(), shape) };
    }
    for row in 0..shape.rows {
        for column in 0..shape.width {
            matrix[row * shape.stride + column] = buffer[column * pitch + row];
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _MM_HINT_T0, _mm_loadu_pd, _mm_prefetch, _mm_sfence, _mm_storeu_pd, _mm_stream_pd, _mm512_loadu_pd,
        _mm512_shuffle_f64x2, _mm512_storeu_pd, _mm512_stream_pd,
    };

    use super::{AHEAD, Complex64, Shape, TILE};
    use crate::cpu::detected;

    /// Transposes one tile.
    trait Move {
        /// # Safety
        /// Four elements at each of four places `from_stride` (to_stride) apart are readable (writable), the CPU has the
        /// instructions, and for streaming the places written to are aligned to what is stored.
        unsafe fn tile(from: *const f64, from_stride: usize, to: *mut f64, to_stride: usize);
    }

    struct Sse2<const STREAM: bool>;
    struct Avx512<const STREAM: bool>;

    impl<const STREAM: bool> Move for Sse2<STREAM> {
        #[inline(always)]
        unsafe fn tile(from: *const f64, from_stride: usize, to: *mut f64, to_stride: usize) {
            for i in 0..TILE {
                for j in 0..TILE {
                    // SAFETY: the caller's contract; SSE2 is part of the x86-64 baseline.
                    unsafe {
                        let value = _mm_loadu_pd(from.add(2 * (j * from_stride + i)));
                        let place = to.add(2 * (i * to_stride + j));
                        if STREAM { _mm_stream_pd(place, value) } else { _mm_storeu_pd(place, value) }
                    }
                }
            }
        }
    }

    impl<const STREAM: bool> Move for Avx512<STREAM> {
        #[inline(always)]
        unsafe fn tile(from: *const f64, from_stride: usize, to: *mut f64, to_stride: usize) {
            // SAFETY: the caller's contract.
            unsafe {
                let row = |j: usize| _mm512_loadu_pd(from.add(2 * j * from_stride));
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
                    let place = to.add(2 * i * to_stride);
                    if STREAM { _mm512_stream_pd(place, column) } else { _mm512_storeu_pd(place, column) }
                }
            }
        }
    }

    /// # Safety
    /// See [`super::gather`]: whole tiles within both arrays.
    pub(super) unsafe fn gather(
        matrix: *const Complex64,
        shape: Shape,
        buffer: *mut Complex64,
        pitch: usize,
    ) {
        // SAFETY: the caller's contract, and the CPU has what is chosen.
        unsafe {
            if detected!("avx512f", "avx2", "fma", "f16c") {
                gather_avx512(matrix, shape, buffer, pitch);
            } else {
                gather_with::<Sse2<false>>(matrix, shape, buffer, pitch);
            }
        }
    }

    /// # Safety
    /// See [`super::scatter`]: whole tiles within both arrays, the matrix on a cache line.
    pub(super) unsafe fn scatter(
        buffer: *const Complex64,
        pitch: usize,
        matrix: *mut Complex64,
        shape: Shape,
    ) {
        // SAFETY: the caller's contract, and the CPU has what is chosen.
        unsafe {
            if detected!("avx512f", "avx2", "fma", "f16c") {
                scatter_avx512(buffer, pitch, matrix, shape);
            } else {
                scatter_with::<Sse2<true>>(buffer, pitch, matrix, shape);
            }
            // Streaming stores are weakly ordered; MPI and other readers expect them done.
            _mm_sfence();
        }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn gather_avx512(matrix: *const Complex64, shape: Shape, buffer: *mut Complex64, pitch: usize) {
        // SAFETY: the caller's contract.
        unsafe { gather_with::<Avx512<false>>(matrix, shape, buffer, pitch) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn scatter_avx512(buffer: *const Complex64, pitch: usize, matrix: *mut Complex64, shape: Shape) {
        // SAFETY: the caller's contract.
        unsafe { scatter_with::<Avx512<true>>(buffer, pitch, matrix, shape) }
    }

    #[inline(always)]
    unsafe fn gather_with<M: Move>(
        matrix: *const Complex64,
        shape: Shape,
        buffer: *mut Complex64,
        pitch: usize,
    ) {
        for row in (0..shape.rows).step_by(TILE) {
            for column in (0..shape.width).step_by(TILE) {
                for next in 0..TILE {
                    let place = matrix.wrapping_add((row + AHEAD + next) * shape.stride + column);
                    // SAFETY: a prefetch never faults, whatever the address.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
                }
                // SAFETY: the tile lies within both arrays.
                unsafe {
                    let from = matrix.add(row * shape.stride + column).cast();
                    M::tile(from, shape.stride, buffer.add(column * pitch + row).cast(), pitch);
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
                    let to = matrix.add(row * shape.stride + column).cast();
                    M::tile(buffer.add(column * pitch + row).cast(), pitch, to, shape.stride);
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
