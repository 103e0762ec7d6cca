//! Dense linear algebra over column-major slices, one thread: the matrix product ([`Product`]), and what is small beside it.
//! Speed is the product's business only.

mod cache;
mod pack;
mod product;
mod tile;

pub use product::Product;

/// A column-major matrix in a slice: element (i, j) is `data[i + j * ld]`.
#[derive(Debug, Clone, Copy)]
pub struct Mat<'a> {
    /// Elements from the first of the matrix on.
    pub data: &'a [f64],
    /// Distance between columns, at least the number of rows.
    pub ld: usize,
}

impl<'a> Mat<'a> {
    /// What is left from this row and column on; nothing if they are outside.
    fn rest(self, row: usize, col: usize) -> Mat<'a> {
        Mat { data: self.data.get(row + col * self.ld..).unwrap_or_default(), ld: self.ld }
    }
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
    use super::{Mat, gemv, norm_inf};

    #[test]
    fn gemv_agrees_with_the_definition() {
        let (m, n, ld) = (5, 3, 6);
        let a: Vec<f64> = (0..ld * n).map(|i| (i as f64).sin()).collect();
        let x = [1.0, -2.0, 0.5];
        let y0: Vec<f64> = (0..m).map(|i| i as f64).collect();
        let mut y = y0.clone();
        gemv((m, n), 2.0, Mat { data: &a, ld }, &x, -1.0, &mut y);
        for i in 0..m {
            let dot: f64 = (0..n).map(|j| a[i + j * ld] * x[j]).sum();
            assert!((y[i] - (2.0 * dot - y0[i])).abs() < 1e-12);
        }
    }

    #[test]
    fn norm_sees_nan() {
        let data = [1.0, -2.0, 3.0, 4.0];
        assert_eq!(norm_inf((2, 2), Mat { data: &data, ld: 2 }), 6.0);
        assert!(norm_inf((2, 2), Mat { data: &[1.0, f64::NAN, 3.0, 4.0], ld: 2 }).is_nan());
    }
}
