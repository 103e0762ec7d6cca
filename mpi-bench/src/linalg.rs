//! Column-major matrix products over slices: a checked face of the `gemm` crate, which picks AVX-512, AVX2 or NEON at run time.
//! No allocation of its own beyond the packing buffers of `gemm`; one thread.

use gemm::Parallelism;

/// A column-major matrix in a slice: element (i, j) is `data[i + j * ld]`.
#[derive(Debug, Clone, Copy)]
pub struct Mat<'a> {
    /// Elements from the first of the matrix on.
    pub data: &'a [f64],
    /// Distance between columns, at least the number of rows.
    pub ld: usize,
}

/// The same, writable.
#[derive(Debug)]
pub struct MatMut<'a> {
    /// Elements from the first of the matrix on.
    pub data: &'a mut [f64],
    /// Distance between columns, at least the number of rows.
    pub ld: usize,
}

fn fits(len: usize, rows: usize, cols: usize, ld: usize) -> bool {
    cols == 0 || rows == 0 || (ld >= rows && (cols - 1) * ld + rows <= len)
}

/// `C <- beta C + alpha A B`, with A m x k, B k x n, C m x n.
///
/// # Panics
/// A slice is too short for its shape.
pub fn gemm(
    (m, n, k): (usize, usize, usize),
    alpha: f64,
    a: Mat<'_>,
    b: Mat<'_>,
    beta: f64,
    c: &mut MatMut<'_>,
) {
    assert!(fits(a.data.len(), m, k, a.ld) && fits(b.data.len(), k, n, b.ld), "gemm: operand too short");
    assert!(fits(c.data.len(), m, n, c.ld), "gemm: result too short");
    if m == 0 || n == 0 {
        return;
    }
    let stride = |ld: usize| isize::try_from(ld).unwrap_or(isize::MAX);
    // SAFETY: the asserts above keep every access inside its slice; C is borrowed mutably, so it aliases neither A nor B.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.data.as_mut_ptr(),
            stride(c.ld),
            1,
            beta != 0.0,
            a.data.as_ptr(),
            stride(a.ld),
            1,
            b.data.as_ptr(),
            stride(b.ld),
            1,
            beta,
            alpha,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// `y <- beta y + alpha A x`, with A m x n.
///
/// # Panics
/// A slice is too short for its shape.
pub fn gemv((m, n): (usize, usize), alpha: f64, a: Mat<'_>, x: &[f64], beta: f64, y: &mut [f64]) {
    assert!(fits(a.data.len(), m, n, a.ld) && x.len() >= n && y.len() >= m, "gemv: operand too short");
    for value in &mut y[..m] {
        *value *= beta;
    }
    for (j, &xj) in x[..n].iter().enumerate() {
        let column = &a.data[j * a.ld..j * a.ld + m];
        for (value, &aij) in y.iter_mut().zip(column) {
            *value += alpha * xj * aij;
        }
    }
}

/// Largest row sum of absolute values of the m x n matrix.
#[must_use]
pub fn norm_inf((m, n): (usize, usize), a: Mat<'_>) -> f64 {
    let mut sums = vec![0.0; m];
    for j in 0..n {
        for (sum, value) in sums.iter_mut().zip(&a.data[j * a.ld..j * a.ld + m]) {
            *sum += value.abs();
        }
    }
    // A NaN anywhere must reach the verdict, which f64::max would hide.
    sums.into_iter().fold(0.0, |max, s| if s > max || s.is_nan() { s } else { max })
}

#[cfg(test)]
mod tests {
    use super::{Mat, MatMut, gemm, gemv, norm_inf};

    #[test]
    fn gemm_and_gemv_agree_with_the_definition() {
        let (m, n, k, ld) = (5, 4, 3, 6);
        let a: Vec<f64> = (0..ld * k).map(|i| (i as f64).sin()).collect();
        let b: Vec<f64> = (0..ld * n).map(|i| (i as f64).cos()).collect();
        let c0: Vec<f64> = (0..ld * n).map(|i| i as f64).collect();
        let mut c = c0.clone();
        gemm(
            (m, n, k),
            2.0,
            Mat { data: &a, ld },
            Mat { data: &b, ld },
            -1.0,
            &mut MatMut { data: &mut c, ld },
        );
        for j in 0..n {
            let mut y = c0[j * ld..j * ld + m].to_vec();
            gemv((m, k), 2.0, Mat { data: &a, ld }, &b[j * ld..j * ld + k], -1.0, &mut y);
            for i in 0..m {
                let dot: f64 = (0..k).map(|l| a[i + l * ld] * b[l + j * ld]).sum();
                let expected = 2.0 * dot - c0[i + j * ld];
                assert!((c[i + j * ld] - expected).abs() < 1e-12 && (y[i] - expected).abs() < 1e-12);
            }
            assert_eq!(c[m + j * ld], c0[m + j * ld], "padding untouched");
        }
    }

    #[test]
    fn norm_sees_nan() {
        let data = [1.0, -2.0, 3.0, 4.0];
        assert_eq!(norm_inf((2, 2), Mat { data: &data, ld: 2 }), 6.0);
        assert!(norm_inf((2, 2), Mat { data: &[1.0, f64::NAN, 3.0, 4.0], ld: 2 }).is_nan());
    }
}
