//! SP: alternating directions with scalar pentadiagonal systems, diagonalised. Sizes and official values are NPB 3.4's.

mod cases;
mod penta;

use super::cfd::bundle::{Eliminator, Space, solve};
use super::cfd::grid::Grid;
use super::cfd::solver::{Case, Method, State};
use crate::error::Result;
use crate::kernel::Spec;
use crate::team::Team;
use cases::CASES;
use penta::{Pentadiagonal, X, Y, Z};

/// The method.
pub(super) struct Sp {
    x: Pentadiagonal<X>,
    y: Pentadiagonal<Y>,
    z: Pentadiagonal<Z>,
    space: Space,
}

impl Method for Sp {
    const SPEC: Spec = super::spec("npb-sp", "Navier-Stokes, scalar pentadiagonal lines", "NPB 3.4 SP");
    const CASES: [Case; 5] = CASES;

    fn operations(n: f64) -> f64 {
        881.174 * n.powi(3) - 4683.91 * n.powi(2) + 11484.5 * n - 19272.4
    }

    fn bytes(grid: &Grid) -> u64 {
        Space::bytes(grid, Pentadiagonal::<X>::FACTORS)
    }

    fn new(state: &State) -> Result<Self> {
        let (n, dt) = (state.grid.n, state.dt);
        Ok(Self {
            x: Pentadiagonal::new(n, dt),
            y: Pentadiagonal::new(n, dt),
            z: Pentadiagonal::new(n, dt),
            space: Space::new(&state.grid, Pentadiagonal::<X>::FACTORS),
        })
    }

    fn step(&mut self, state: &mut State, team: &Team) {
        state.right_hand_side(team);
        let State { grid, u, r, .. } = state;
        solve(team, grid, 0, &self.x, (u, r), &mut self.space);
        solve(team, grid, 1, &self.y, (u, r), &mut self.space);
        solve(team, grid, 2, &self.z, (u, r), &mut self.space);
    }
}
