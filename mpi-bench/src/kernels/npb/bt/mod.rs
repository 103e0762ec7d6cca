//! BT: alternating directions with block-tridiagonal systems of 5x5 blocks. Sizes and official values are NPB 3.4's.

mod block;
mod cases;

use super::cfd::bundle::{Eliminator, Space, solve};
use super::cfd::grid::Grid;
use super::cfd::solver::{Case, Method, State};
use crate::error::Result;
use crate::kernel::Spec;
use crate::team::Team;
use block::Blocks;
use cases::CASES;

/// The method.
pub(super) struct Bt {
    directions: [Blocks; 3],
    space: Space,
}

impl Method for Bt {
    const SPEC: Spec = super::spec("npb-bt", "Navier-Stokes, block-tridiagonal lines", "NPB 3.4 BT");
    const CASES: [Case; 5] = CASES;

    fn operations(n: f64) -> f64 {
        3478.8 * n.powi(3) - 17655.7 * n.powi(2) + 28023.7 * n
    }

    fn bytes(grid: &Grid) -> u64 {
        Space::bytes(grid, Blocks::FACTORS)
    }

    fn new(state: &State) -> Result<Self> {
        let directions = [0, 1, 2].map(|d| Blocks::new(state.grid.n, state.dt, d));
        Ok(Self { directions, space: Space::new(&state.grid, Blocks::FACTORS) })
    }

    fn step(&mut self, state: &mut State, team: &Team) {
        state.right_hand_side(team);
        let State { grid, u, r, .. } = state;
        for (d, blocks) in self.directions.iter().enumerate() {
            solve(team, grid, d, blocks, (u, r), &mut self.space);
        }
    }
}
