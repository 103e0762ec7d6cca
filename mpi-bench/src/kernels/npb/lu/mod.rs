//! LU: symmetric successive over-relaxation, a lower and an upper block-triangular solve a step. Sizes and official values are
//! NPB 3.4's.
//!
//! The solves run plane by plane through the chain of ranks along y, which hand each other a row of contributions per plane:
//! the next rank is one plane behind. Where the ranks are cut along z too, a whole plane is handed on after a sweep.

mod cases;
mod integral;
mod skew;
mod sweep;

use mpi::topology::Rank;

use super::cfd::grid::{GHOST, Grid, shift};
use super::cfd::lanes::WIDTH;
use super::cfd::solver::{Case, Method, State};
use super::class::Class;
use super::official::Compared;
use crate::error::Result;
use crate::kernel::Spec;
use crate::memory::{Array, Pages};
use crate::team::Team;
use cases::{CASES, INTEGRALS};
use skew::Skew;
use sweep::{Bundle, Coefficients, RELAXATION, lanes};

/// The method.
pub(super) struct Lu {
    coefficients: Coefficients,
    skew: Skew,
    /// Field and solution in skewed bundles, plane by plane.
    u: Array<f64>,
    v: Array<f64>,
    /// Contributions to the next plane, in bundles; to the next row, five rows; to the next rank's plane, as in a field.
    along_z: Vec<f64>,
    along_y: Vec<f64>,
    plane: Vec<f64>,
}

/// Bundles of `lanes` rows in a plane.
fn bundles(grid: &Grid, lanes: usize) -> usize {
    grid.y.len.div_ceil(lanes)
}

impl Lu {
    /// Solves all planes of this rank, and passes contributions between the ranks.
    fn solve<const UPPER: bool>(&mut self, state: &mut State, team: &Team) {
        let (y, z) = (state.grid.y, state.grid.z);
        let chain =
            |before: Option<Rank>, after: Option<Rank>| if UPPER { (after, before) } else { (before, after) };
        let (y_from, y_to) = chain(y.before, y.after);
        let (z_from, z_to) = chain(z.before, z.after);
        self.along_z.fill(0.0);
        if z_from.is_some() {
            shift(team, (&[], None), (&mut self.plane, z_from));
            self.each_bundle(&state.grid, |lu, bundle, rows, line| {
                let into = &mut lu.along_z[bundle * lu.skew.len()..][..lu.skew.len()];
                lu.skew.pack(&lu.plane[line..], rows, into);
            });
        }
        for plane in 0..z.len {
            let plane = if UPPER { z.len - 1 - plane } else { plane };
            self.along_y.fill(0.0);
            shift(team, (&[], None), (&mut self.along_y, y_from));
            self.solve_plane::<UPPER>(state, plane);
            shift(team, (&self.along_y, y_to), (&mut [], None));
        }
        if z_to.is_some() {
            self.plane.fill(0.0);
            self.each_bundle(&state.grid, |lu, bundle, rows, line| {
                let from = &lu.along_z[bundle * lu.skew.len()..][..lu.skew.len()];
                lu.skew.unpack(from, rows, &mut lu.plane[line..], |point, value| *point = value);
            });
            shift(team, (&self.plane, z_to), (&mut [], None));
        }
    }

    /// Calls `each(self, bundle, rows in it, start of its first row in a plane)`.
    fn each_bundle(&mut self, grid: &Grid, mut each: impl FnMut(&mut Self, usize, usize, usize)) {
        let lanes = self.skew.lanes;
        for bundle in 0..bundles(grid, lanes) {
            let row = bundle * lanes;
            each(self, bundle, (grid.y.len - row).min(lanes), (GHOST + row) * grid.line());
        }
    }

    fn solve_plane<const UPPER: bool>(&mut self, state: &mut State, plane: usize) {
        let (lanes, len) = (self.skew.lanes, self.skew.len());
        let all = bundles(&state.grid, lanes);
        for bundle in 0..all {
            let bundle = if UPPER { all - 1 - bundle } else { bundle };
            let row = bundle * lanes;
            let rows = (state.grid.y.len - row).min(lanes);
            let start = state.grid.at(GHOST + row, GHOST + plane);
            let packed = (plane * all + bundle) * len;
            let (u, v) = (&mut self.u[packed..packed + len], &mut self.v[packed..packed + len]);
            if !UPPER {
                self.skew.pack(&state.u[start..], rows, u);
                self.skew.pack(&state.r[start..], rows, v);
            }
            let along_z = &mut self.along_z[bundle * len..][..len];
            self.coefficients.sweep::<UPPER>(Bundle { rows, u, v, along_z, edge: &mut self.along_y });
            if UPPER {
                let add = |point: &mut f64, value: f64| *point += RELAXATION * value;
                self.skew.unpack(v, rows, &mut state.u[start..], add);
            }
        }
    }
}

impl Method for Lu {
    const SPEC: Spec = super::spec("npb-lu", "Navier-Stokes, symmetric over-relaxation", "NPB 3.4 LU");
    const CASES: [Case; 5] = CASES;

    fn operations(n: f64) -> f64 {
        1984.77 * n.powi(3) - 10923.3 * n.powi(2) + 27770.9 * n - 144_010.0
    }

    fn bytes(grid: &Grid) -> u64 {
        let plane = grid.y.len.next_multiple_of(WIDTH) * (grid.n - 2 + WIDTH) * 5;
        ((2 * grid.z.len + 1) * plane * size_of::<f64>()) as u64
    }

    fn new(state: &State) -> Result<Self> {
        let grid = &state.grid;
        let skew = Skew::new(grid, lanes());
        let plane = bundles(grid, skew.lanes) * skew.len();
        Ok(Self {
            coefficients: Coefficients::new(grid.n, state.dt),
            skew,
            u: Array::zeroed(grid.z.len * plane, Pages::Huge)?,
            v: Array::zeroed(grid.z.len * plane, Pages::Huge)?,
            along_z: vec![0.0; plane],
            along_y: vec![0.0; grid.line()],
            plane: vec![0.0; grid.plane()],
        })
    }

    fn start(&mut self, state: &mut State, team: &Team) {
        state.right_hand_side(team);
    }

    fn step(&mut self, state: &mut State, team: &Team) {
        self.solve::<false>(state, team);
        self.solve::<true>(state, team);
        state.right_hand_side(team);
    }

    fn finish(&mut self, state: &mut State, team: &Team) {
        state.residual(team);
    }

    fn further(class: Class, state: &State, team: &Team) -> Vec<Compared> {
        let found = integral::pressure_on_surface(state, team);
        vec![Compared::new("surface integral", found, class.pick(INTEGRALS))]
    }
}
