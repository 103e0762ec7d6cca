//! The four operators of a V-cycle and the norms, a plane at a time. Rows and planes come with their ghosts.
//!
//! Each goes over a row twice: first it sums up the rows around, then it combines neighbours within the row; that halves the
//! additions of a 27-point stencil, and both loops compile to vector instructions. Ghosts of the plane that is written
//! are filled from its other side; those of whole planes are the caller's.

use super::super::simd::{Arithmetic, dispatch};

/// A: what the residual subtracts, by distance (centre, edge, corner; the faces have none).
const CENTRE: f64 = -8.0 / 3.0;
const EDGE: f64 = 1.0 / 6.0;
const CORNER: f64 = 1.0 / 12.0;

/// Rows that the operators need for themselves.
pub(super) struct Scratch {
    faces: Vec<f64>,
    edges: Vec<f64>,
}

impl Scratch {
    /// For rows of up to `n` points and ghosts.
    pub(super) fn new(n: usize) -> Self {
        Self { faces: vec![0.0; n + 2], edges: vec![0.0; n + 2] }
    }
}

/// Points of a row of a plane, with ghosts: planes are squares.
#[inline(always)]
fn width_of(plane: &[f64]) -> usize {
    plane.len().isqrt()
}

/// Sums over the rows around row `j` of the middle plane: of the four that share a face, of the four that share an edge.
#[inline(always)]
fn sum_rows(x: [&[f64]; 3], width: usize, j: usize, scratch: &mut Scratch) {
    let row = |plane: usize, j: usize| &x[plane][j * width..][..width];
    let (down, up) = (row(1, j - 1), row(1, j + 1));
    let (before, after) = (row(0, j), row(2, j));
    let [a, b, c, d] = [row(0, j - 1), row(0, j + 1), row(2, j - 1), row(2, j + 1)];
    let (faces, edges) = (&mut scratch.faces[..width], &mut scratch.edges[..width]);
    for i in 0..width {
        faces[i] = (down[i] + up[i]) + (before[i] + after[i]);
        edges[i] = (a[i] + b[i]) + (c[i] + d[i]);
    }
}

/// Fills the ghosts of a plane from its other side.
#[inline(always)]
fn close(plane: &mut [f64], width: usize) {
    for row in plane.chunks_exact_mut(width) {
        (row[0], row[width - 1]) = (row[width - 2], row[1]);
    }
    plane.copy_within((width - 2) * width..(width - 1) * width, 0);
    plane.copy_within(width..2 * width, (width - 1) * width);
}

/// One row of r -= A u, from the sums around it.
#[inline(always)]
fn subtract_row<M: Arithmetic>(u: &[f64], r: &mut [f64], scratch: &Scratch) {
    let n = r.len() - 2;
    let (faces, edges) = (&scratch.faces[..n + 2], &scratch.edges[..n + 2]);
    let (u, r) = (&u[1..=n], &mut r[1..=n]);
    let (faces_left, faces_right) = (&faces[..n], &faces[2..]);
    let (edges_left, edges_here, edges_right) = (&edges[..n], &edges[1..=n], &edges[2..]);
    for i in 0..n {
        let edge = edges_here[i] + (faces_left[i] + faces_right[i]);
        let corner = edges_left[i] + edges_right[i];
        let rest = M::mul_add(-CORNER, corner, r[i]);
        r[i] = M::mul_add(-CENTRE, u[i], M::mul_add(-EDGE, edge, rest));
    }
}

dispatch! {
    /// r = v - A u
    pub(super) fn residual_of<M: Arithmetic>(u: [&[f64]; 3], v: &[f64], r: &mut [f64], scratch: &mut Scratch) {
        let width = width_of(r);
        for j in 1..width - 1 {
            sum_rows(u, width, j, scratch);
            let row = &mut r[j * width..][..width];
            row.copy_from_slice(&v[j * width..][..width]);
            subtract_row::<M>(&u[1][j * width..][..width], row, scratch);
        }
        close(r, width);
    }
}

dispatch! {
    /// r -= A u
    pub(super) fn subtract<M: Arithmetic>(u: [&[f64]; 3], r: &mut [f64], scratch: &mut Scratch) {
        let width = width_of(r);
        for j in 1..width - 1 {
            sum_rows(u, width, j, scratch);
            subtract_row::<M>(&u[1][j * width..][..width], &mut r[j * width..][..width], scratch);
        }
        close(r, width);
    }
}

dispatch! {
    /// u += S r, with the smoother's centre, face and edge.
    pub(super) fn smooth<M: Arithmetic>(smoother: [f64; 3], r: [&[f64]; 3], u: &mut [f64], scratch: &mut Scratch) {
        let width = width_of(u);
        let n = width - 2;
        let [centre, face, edge] = smoother;
        for j in 1..=n {
            sum_rows(r, width, j, scratch);
            let r = &r[1][j * width..][..width];
            let u = &mut u[j * width + 1..][..n];
            let (faces, edges) = (&scratch.faces[..width], &scratch.edges[..width]);
            let (left, here, right) = (&r[..n], &r[1..=n], &r[2..]);
            let (faces_left, faces_here, faces_right) = (&faces[..n], &faces[1..=n], &faces[2..]);
            let edges = &edges[1..=n];
            for i in 0..n {
                let by_face = (left[i] + right[i]) + faces_here[i];
                let by_edge = (faces_left[i] + faces_right[i]) + edges[i];
                let rest = M::mul_add(edge, by_edge, u[i]);
                u[i] = M::mul_add(centre, here[i], M::mul_add(face, by_face, rest));
            }
        }
        close(u, width);
    }
}

dispatch! {
    /// One plane of the coarser grid: full weighting of the plane of r that it lies on, and of its neighbours.
    pub(super) fn restrict<M: Arithmetic>(r: [&[f64]; 3], s: &mut [f64], scratch: &mut Scratch) {
        let (width, coarse_width) = (width_of(r[1]), width_of(s));
        let n = coarse_width - 2;
        for j in 1..=n {
            sum_rows(r, width, 2 * j, scratch);
            let centre = &r[1][2 * j * width..][..width];
            let (faces, edges) = (&mut scratch.faces[..width], &scratch.edges[..width]);
            for i in 0..width {
                faces[i] = M::mul_add(0.5, centre[i], M::mul_add(0.25, faces[i], 0.125 * edges[i]));
            }
            let s = &mut s[j * coarse_width + 1..][..n];
            // Coarse point i lies on the fine point 2i + 2, counted with ghosts.
            let (to_here, _) = faces[1..].as_chunks::<2>();
            let (from_here, _) = faces[2..].as_chunks::<2>();
            for ((s, [left, here]), [_, right]) in s.iter_mut().zip(to_here).zip(from_here) {
                *s = M::mul_add(0.5, left + right, *here);
            }
        }
        close(s, coarse_width);
    }
}

dispatch! {
    /// Adds to one plane of the fine grid, ghosts and all, what lies between two planes of the coarse one (the same twice,
    /// where it lies on one).
    pub(super) fn prolongate<M: Arithmetic>(z: [&[f64]; 2], u: &mut [f64], scratch: &mut Scratch) {
        let (width, coarse_width) = (width_of(u), width_of(z[0]));
        for (j, u) in u.chunks_exact_mut(width).enumerate() {
            let (below, above) = (j / 2, j.div_ceil(2));
            let row = |plane: usize, j: usize| &z[plane][j * coarse_width..][..coarse_width];
            let [a, b, c, d] = [row(0, below), row(0, above), row(1, below), row(1, above)];
            let mean = &mut scratch.faces[..coarse_width];
            for i in 0..coarse_width {
                mean[i] = 0.25 * ((a[i] + b[i]) + (c[i] + d[i]));
            }
            u[0] += mean[0];
            let (pairs, last) = u[1..].as_chunks_mut::<2>();
            for (pair, ends) in pairs.iter_mut().zip(mean.windows(2)) {
                pair[0] = M::mul_add(0.5, ends[0] + ends[1], pair[0]);
                pair[1] += ends[1];
            }
            last[0] += 0.5 * (mean[coarse_width - 2] + mean[coarse_width - 1]);
        }
    }
}

dispatch! {
    /// Sum of the squares, and the largest size, of the points of a plane.
    pub(super) fn norms<M: Arithmetic>(r: &[f64], width: usize) -> [f64; 2] {
        const LANES: usize = 16;
        let (mut squares, mut largest) = ([0.0; LANES], [0.0f64; LANES]);
        let mut rest = [0.0, 0.0f64];
        for row in r.chunks_exact(width).skip(1).take(width - 2) {
            let (chunks, single) = row[1..width - 1].as_chunks::<LANES>();
            for chunk in chunks {
                for lane in 0..LANES {
                    squares[lane] = M::mul_add(chunk[lane], chunk[lane], squares[lane]);
                    largest[lane] = if chunk[lane].abs() > largest[lane] { chunk[lane].abs() } else { largest[lane] };
                }
            }
            for value in single {
                rest = [rest[0] + value * value, rest[1].max(value.abs())];
            }
        }
        [squares.iter().sum::<f64>() + rest[0], largest.into_iter().fold(rest[1], f64::max)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three planes of random numbers, periodic within the plane.
    fn planes(width: usize) -> Vec<Vec<f64>> {
        let mut random = super::super::super::randlc::Randlc::new(1);
        let mut plane = || {
            let mut plane = vec![0.0; width * width];
            random.fill(&mut plane);
            close(&mut plane, width);
            plane
        };
        (0..3).map(|_| plane()).collect()
    }

    fn around(planes: &[Vec<f64>]) -> [&[f64]; 3] {
        std::array::from_fn(|at| &planes[at][..])
    }

    /// The sum over the 27 points around (1, j, i) of the weight for their distance (in faces crossed) times their value.
    fn by_definition(x: [&[f64]; 3], width: usize, [j, i]: [usize; 2], weights: [f64; 4]) -> f64 {
        let mut sum = 0.0;
        for (k, plane) in x.iter().enumerate() {
            for (row, column) in
                (j - 1..=j + 1).flat_map(|row| (i - 1..=i + 1).map(move |column| (row, column)))
            {
                let distance = k.abs_diff(1) + row.abs_diff(j) + column.abs_diff(i);
                sum += weights[distance] * plane[row * width + column];
            }
        }
        sum
    }

    #[test]
    fn residual_and_smoother_are_the_stencils_of_their_definition() {
        const WIDTH: usize = 18;
        let x = planes(WIDTH);
        let x = around(&x);
        let mut scratch = Scratch::new(WIDTH - 2);
        let v = vec![0.25; WIDTH * WIDTH];
        let (mut r, mut in_place, mut u) = (v.clone(), v.clone(), v.clone());
        residual_of(x, &v, &mut r, &mut scratch);
        subtract(x, &mut in_place, &mut scratch);
        assert_eq!(r, in_place);
        smooth([3.0, 5.0, 7.0], x, &mut u, &mut scratch);
        for (j, i) in (1..WIDTH - 1).flat_map(|j| (1..WIDTH - 1).map(move |i| (j, i))) {
            let a = by_definition(x, WIDTH, [j, i], [CENTRE, 0.0, EDGE, CORNER]);
            assert!((r[j * WIDTH + i] - (0.25 - a)).abs() < 1e-14);
            let s = by_definition(x, WIDTH, [j, i], [3.0, 5.0, 7.0, 0.0]);
            assert!((u[j * WIDTH + i] - (0.25 + s)).abs() < 1e-12);
        }
        assert_eq!(r[0], r[WIDTH * (WIDTH - 2) + WIDTH - 2], "ghosts come from the other side");
    }

    #[test]
    fn grid_transfers_are_those_of_their_definition() {
        const FINE: usize = 18;
        const COARSE: usize = 10;
        let mut scratch = Scratch::new(FINE - 2);
        let r = planes(FINE);
        let r = around(&r);
        let mut s = vec![0.0; COARSE * COARSE];
        restrict(r, &mut s, &mut scratch);
        for (j, i) in (1..COARSE - 1).flat_map(|j| (1..COARSE - 1).map(move |i| (j, i))) {
            let expected = by_definition(r, FINE, [2 * j, 2 * i], [0.5, 0.25, 0.125, 0.0625]);
            assert!((s[j * COARSE + i] - expected).abs() < 1e-14, "{j} {i}");
        }
        let z = planes(COARSE);
        let mut u = vec![1.0; FINE * FINE];
        prolongate([&z[0], &z[1]], &mut u, &mut scratch);
        for (j, i) in (0..FINE).flat_map(|j| (0..FINE).map(move |i| (j, i))) {
            // A point on a coarse one takes it, one between takes the mean; in each direction.
            let ends = |at: usize| [at.div_ceil(2), at / 2];
            let values = z[..2].iter().flat_map(|z| {
                ends(j).into_iter().flat_map(move |row| ends(i).map(|column| z[row * COARSE + column]))
            });
            let expected = 1.0 + values.sum::<f64>() / 8.0;
            assert!((u[j * FINE + i] - expected).abs() < 1e-14, "{j} {i}");
        }
    }
}
