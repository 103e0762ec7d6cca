//! The polynomial that solves the equations exactly, and the field that the iterations start from: exact on the boundary,
//! interpolated from the boundary inside (NAS report RNR-94-007, section 3).

use super::grid::{GHOST, Grid, LEAD};

/// Coefficients of 1, the first, second, third and fourth powers of x, y, z, for each of the five components.
#[rustfmt::skip]
const COEFFICIENTS: [[f64; 13]; 5] = [
    [2.0, 0.0, 0.0, 4.0, 5.0, 3.0, 0.5, 0.02, 0.01, 0.03, 0.5, 0.4, 0.3],
    [1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 0.01, 0.03, 0.02, 0.4, 0.3, 0.5],
    [2.0, 2.0, 0.0, 0.0, 0.0, 2.0, 3.0, 0.04, 0.03, 0.05, 0.3, 0.5, 0.4],
    [2.0, 2.0, 0.0, 0.0, 0.0, 2.0, 3.0, 0.03, 0.05, 0.04, 0.2, 0.1, 0.3],
    [5.0, 4.0, 3.0, 2.0, 0.1, 0.4, 0.3, 0.05, 0.04, 0.03, 0.1, 0.3, 0.2],
];

/// Density, three momenta and energy at a point of the unit cube.
pub(in super::super) fn exact(point: [f64; 3]) -> [f64; 5] {
    COEFFICIENTS.map(|c| {
        let along = |d: usize| {
            let x = point[d];
            x * (c[1 + d] + x * (c[4 + d] + x * (c[7 + d] + x * c[10 + d])))
        };
        c[0] + along(0) + along(1) + along(2)
    })
}

/// The exact solution at grid point `[x, y, z]` of a cube of `n` points an edge.
pub(in super::super) fn exact_at(n: usize, point: [usize; 3]) -> [f64; 5] {
    exact(point.map(|index| index as f64 / (n - 1) as f64))
}

/// Where every iteration starts.
pub(in super::super) fn initial_at(n: usize, point: [usize; 3]) -> [f64; 5] {
    if point.iter().any(|&index| index == 0 || index == n - 1) {
        return exact_at(n, point);
    }
    let at = point.map(|index| index as f64 / (n - 1) as f64);
    let along = [0, 1, 2].map(|d| {
        let face = |value: f64| {
            let mut on_face = at;
            on_face[d] = value;
            exact(on_face)
        };
        let (low, high) = (face(0.0), face(1.0));
        std::array::from_fn::<f64, 5, _>(|m| at[d] * high[m] + (1.0 - at[d]) * low[m])
    });
    std::array::from_fn(|m| {
        let [x, y, z] = along.map(|values| values[m]);
        x + y + z - x * y - x * z - y * z + x * y * z
    })
}

/// Sets every point that `field` has room for; what pads rows and corners gets copies of the boundary.
pub(in super::super) fn fill(grid: &Grid, field: &mut [f64], value: impl Fn(usize, [usize; 3]) -> [f64; 5]) {
    let edge = grid.n - 1;
    for k in 0..grid.z.len + 2 * GHOST {
        for j in 0..grid.y.len + 2 * GHOST {
            let start = grid.at(j, k);
            for p in 0..grid.row {
                let point = [
                    p.saturating_sub(LEAD).min(edge),
                    (grid.y.first + j).saturating_sub(GHOST).min(edge),
                    (grid.z.first + k).saturating_sub(GHOST).min(edge),
                ];
                for (m, value) in value(grid.n, point).into_iter().enumerate() {
                    field[start + m * grid.row + p] = value;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{exact, exact_at, initial_at};

    #[test]
    fn the_corners_are_sums_of_coefficients() {
        let close = |found: [f64; 5], expected: [f64; 5]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        };
        close(exact([0.0; 3]), [2.0, 1.0, 2.0, 2.0, 5.0]);
        close(exact([1.0, 0.0, 0.0]), [7.52, 2.41, 4.34, 4.23, 9.25]);
    }

    #[test]
    fn the_start_is_exact_on_the_boundary_only() {
        assert_eq!(initial_at(12, [0, 4, 5]), exact_at(12, [0, 4, 5]));
        assert_eq!(initial_at(12, [3, 4, 11]), exact_at(12, [3, 4, 11]));
        assert_ne!(initial_at(12, [3, 4, 5]), exact_at(12, [3, 4, 5]));
    }
}
