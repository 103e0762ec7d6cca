//! The surface integral that LU is judged by besides the norms: of the pressure, over a box just inside of the cube.

use super::super::cfd::physics::C2;
use super::super::cfd::solver::State;
use crate::team::Team;

/// A quarter of the trapezoidal sums over the six faces; x from 1 to n - 2, y from 1 to n - 3, z from 2 to n - 2.
pub(super) fn pressure_on_surface(state: &State, team: &Team) -> f64 {
    let (grid, u) = (&state.grid, &state.u);
    let (n, row) = (grid.n, grid.row);
    let range = [[1, n - 2], [1, n - 3], [2, n - 2]];
    let mut sum = 0.0;
    grid.for_own(|at, point| {
        // How many cells of its face a point is a corner of, along one direction.
        let cells = |d: usize| match point[d] {
            x if x < range[d][0] || x > range[d][1] => 0.0,
            x if range[d].contains(&x) => 1.0,
            _ => 2.0,
        };
        let weight: f64 = (0..3)
            .filter(|&d| range[d].contains(&point[d]))
            .map(|d| cells((d + 1) % 3) * cells((d + 2) % 3))
            .sum();
        if weight > 0.0 {
            let of = |m: usize| u[at + m * row];
            let momenta = of(1).powi(2) + of(2).powi(2) + of(3).powi(2);
            sum += weight * C2 * (of(4) - 0.5 * momenta / of(0));
        }
    });
    let spacing = 1.0 / (n - 1) as f64;
    0.25 * spacing * spacing * team.sum(sum)
}
