//! Transforms of several lines at once: lines that lie side by side in memory, an element of each in every row.
//!
//! A block of [`WIDTH`] lines is copied into a buffer that stays in the nearest caches, real and imaginary parts apart, and
//! transformed there by radix-4 steps in place (decimation in frequency); all lines take the same steps with the same
//! factors, so that a vector instruction works on as many lines. The result comes out in digit-reversed order, which copying
//! it back puts right.

use rustfft::num_complex::Complex64;

use super::super::simd::{Arithmetic, dispatch};

/// Lines of a block: two cache lines of a row of them, one vector of AVX-512 of either part.
pub(super) const WIDTH: usize = 8;

/// One element of all lines of a block, of one part.
type Row = [f64; WIDTH];

/// Tables for one length, and the buffer.
pub(super) struct Lines {
    /// exp(-2 pi i k / n)
    roots: Vec<Complex64>,
    /// Where the k-th number of the result lies in the buffer.
    order: Vec<u32>,
    re: Vec<Row>,
    im: Vec<Row>,
}

/// Which transform. Neither is scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    Inverse,
}

impl Lines {
    /// For lines of `n` numbers, a power of two.
    pub(super) fn new(n: usize) -> Self {
        let root = |k: usize| Complex64::from_polar(1.0, -std::f64::consts::TAU * k as f64 / n as f64);
        Self {
            roots: (0..n).map(root).collect(),
            order: (0..n).map(|k| place(k, n) as u32).collect(),
            re: vec![[0.0; WIDTH]; n],
            im: vec![[0.0; WIDTH]; n],
        }
    }

    /// Transforms the lines that start at `from[0..WIDTH]` and go on every `stride` numbers. Each number is multiplied by its
    /// line's and its row's factor on the way in.
    pub(super) fn load_scaled(
        &mut self,
        from: &[Complex64],
        stride: usize,
        line: &Row,
        row: &[f64],
        direction: Direction,
    ) {
        let (re, im) = self.parts(direction);
        load(from, stride, Some((line, row)), re, im);
    }

    /// The same without factors.
    pub(super) fn load(&mut self, from: &[Complex64], stride: usize, direction: Direction) {
        let (re, im) = self.parts(direction);
        load(from, stride, None, re, im);
    }

    /// Transforms what was loaded and writes it to the lines that start at `to[0..WIDTH]`.
    pub(super) fn transform(&mut self, to: &mut [Complex64], stride: usize, direction: Direction) {
        transform(&mut self.re, &mut self.im, &self.roots);
        let order = std::mem::take(&mut self.order);
        let (re, im) = self.parts(direction);
        store(to, stride, &order, re, im);
        self.order = order;
    }

    /// The inverse is the forward transform with the parts in each other's place, on the way in and on the way out.
    fn parts(&mut self, direction: Direction) -> (&mut [Row], &mut [Row]) {
        match direction {
            Direction::Forward => (&mut self.re, &mut self.im),
            Direction::Inverse => (&mut self.im, &mut self.re),
        }
    }
}

/// Where number k of a result of n lies after the steps of [`transform`].
fn place(k: usize, n: usize) -> usize {
    match n {
        1 => 0,
        2 => k,
        _ => (k % 4) * (n / 4) + place(k / 4, n / 4),
    }
}

/// `WIDTH` numbers as they lie in memory.
#[inline(always)]
fn numbers(from: &[Complex64], at: usize) -> &[Complex64; WIDTH] {
    from[at..].first_chunk().unwrap_or(&[Complex64::ZERO; WIDTH])
}

dispatch! {
    fn load<M: Arithmetic>(
        from: &[Complex64], stride: usize, factors: Option<(&Row, &[f64])>, re: &mut [Row], im: &mut [Row],
    ) {
        match factors {
            None => {
                for (k, (re, im)) in re.iter_mut().zip(im).enumerate() {
                    let from = numbers(from, k * stride);
                    for lane in 0..WIDTH {
                        (re[lane], im[lane]) = (from[lane].re, from[lane].im);
                    }
                }
            }
            Some((line, row)) => {
                for (k, ((re, im), row)) in re.iter_mut().zip(im).zip(row).enumerate() {
                    let from = numbers(from, k * stride);
                    for lane in 0..WIDTH {
                        let factor = line[lane] * row;
                        (re[lane], im[lane]) = (from[lane].re * factor, from[lane].im * factor);
                    }
                }
            }
        }
    }
}

dispatch! {
    fn store<M: Arithmetic>(to: &mut [Complex64], stride: usize, order: &[u32], re: &[Row], im: &[Row]) {
        for (k, at) in order.iter().enumerate() {
            let (re, im) = (&re[*at as usize], &im[*at as usize]);
            let Some(to) = to[k * stride..].first_chunk_mut::<WIDTH>() else { return };
            for lane in 0..WIDTH {
                to[lane] = Complex64::new(re[lane], im[lane]);
            }
        }
    }
}

dispatch! {
    /// All steps. `re` and `im` are as long as the table of roots.
    fn transform<M: Arithmetic>(re: &mut [Row], im: &mut [Row], roots: &[Complex64]) {
        let n = roots.len();
        let mut len = n;
        while len >= 4 {
            for (re, im) in re.chunks_exact_mut(len).zip(im.chunks_exact_mut(len)) {
                radix_4::<M>(re, im, roots);
            }
            len /= 4;
        }
        if len == 2 {
            for (re, im) in re.chunks_exact_mut(2).zip(im.chunks_exact_mut(2)) {
                for lane in 0..WIDTH {
                    for part in [&mut *re, &mut *im] {
                        let (a, b) = (part[0][lane], part[1][lane]);
                        (part[0][lane], part[1][lane]) = (a + b, a - b);
                    }
                }
            }
        }
    }
}

/// One step on a section: four quarters become four sections, of the results k = 0, 1, 2, 3 modulo 4.
#[inline(always)]
fn radix_4<M: Arithmetic>(re: &mut [Row], im: &mut [Row], roots: &[Complex64]) {
    let quarter = re.len() / 4;
    let step = roots.len() / re.len();
    let [r0, r1, r2, r3] = quarters(re, quarter);
    let [i0, i1, i2, i3] = quarters(im, quarter);
    for j in 0..quarter {
        let (w1, w2, w3) = (roots[j * step], roots[2 * j * step], roots[3 * j * step]);
        for lane in 0..WIDTH {
            let (sum_r, sum_i) = (r0[j][lane] + r2[j][lane], i0[j][lane] + i2[j][lane]);
            let (difference_r, difference_i) = (r0[j][lane] - r2[j][lane], i0[j][lane] - i2[j][lane]);
            let (odd_r, odd_i) = (r1[j][lane] + r3[j][lane], i1[j][lane] + i3[j][lane]);
            // -i times the difference of the odd quarters.
            let (turned_r, turned_i) = (i1[j][lane] - i3[j][lane], r3[j][lane] - r1[j][lane]);
            (r0[j][lane], i0[j][lane]) = (sum_r + odd_r, sum_i + odd_i);
            (r1[j][lane], i1[j][lane]) = times::<M>(difference_r + turned_r, difference_i + turned_i, w1);
            (r2[j][lane], i2[j][lane]) = times::<M>(sum_r - odd_r, sum_i - odd_i, w2);
            (r3[j][lane], i3[j][lane]) = times::<M>(difference_r - turned_r, difference_i - turned_i, w3);
        }
    }
}

#[inline(always)]
fn quarters(rows: &mut [Row], quarter: usize) -> [&mut [Row]; 4] {
    let (low, high) = rows.split_at_mut(2 * quarter);
    let (first, second) = low.split_at_mut(quarter);
    let (third, fourth) = high.split_at_mut(quarter);
    [first, second, third, &mut fourth[..quarter]]
}

#[inline(always)]
fn times<M: Arithmetic>(re: f64, im: f64, w: Complex64) -> (f64, f64) {
    (M::mul_add(re, w.re, -(im * w.im)), M::mul_add(re, w.im, im * w.re))
}

#[cfg(test)]
mod tests {
    use rustfft::num_complex::Complex64;

    use super::{Direction, Lines, WIDTH};

    fn sample(n: usize, stride: usize) -> Vec<Complex64> {
        (0..n * stride).map(|i| Complex64::new((i as f64).sin(), (1.7 * i as f64).cos())).collect()
    }

    #[test]
    fn the_transform_is_the_sum_of_its_definition() {
        for n in [2, 4, 8, 32, 64, 128] {
            let stride = WIDTH + 3;
            let from = sample(n, stride);
            for (direction, sign) in [(Direction::Forward, -1.0), (Direction::Inverse, 1.0)] {
                let mut to = vec![Complex64::ZERO; n * stride];
                let mut lines = Lines::new(n);
                lines.load(&from, stride, direction);
                lines.transform(&mut to, stride, direction);
                for line in 0..WIDTH {
                    for k in 0..n {
                        let term = |j: usize| {
                            let angle = sign * std::f64::consts::TAU * (j * k % n) as f64 / n as f64;
                            from[j * stride + line] * Complex64::from_polar(1.0, angle)
                        };
                        let expected: Complex64 = (0..n).map(term).sum();
                        let off = (to[k * stride + line] - expected).norm();
                        assert!(off < 1e-12 * n as f64, "{n} {line} {k}: {off}");
                    }
                }
            }
        }
    }

    #[test]
    fn factors_apply_on_the_way_in() {
        let (n, stride) = (16, WIDTH);
        let from = sample(n, stride);
        let line: [f64; WIDTH] = std::array::from_fn(|lane| 1.0 + lane as f64);
        let row: Vec<f64> = (0..n).map(|k| 0.5 + k as f64).collect();
        let scaled: Vec<Complex64> =
            (0..n * stride).map(|at| from[at] * line[at % stride] * row[at / stride]).collect();
        let (mut one, mut other) = (from.clone(), from.clone());
        let mut lines = Lines::new(n);
        lines.load_scaled(&from, stride, &line, &row, Direction::Forward);
        lines.transform(&mut one, stride, Direction::Forward);
        lines.load(&scaled, stride, Direction::Forward);
        lines.transform(&mut other, stride, Direction::Forward);
        assert!(one.iter().zip(&other).all(|(a, b)| (a - b).norm() < 1e-9));
    }
}
