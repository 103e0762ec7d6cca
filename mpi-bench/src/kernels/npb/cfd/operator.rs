//! The right-hand side of the equations: differences of convective and viscous fluxes plus dissipation, in one pass over the
//! field. It neither communicates nor knows who solves for what.
//!
//! Velocities, pressure and what heat and viscosity need of a point are derived once, a plane ahead of the plane being
//! computed; three planes of them stay in the cache. Rows are computed a register at a time along x.

use pulp::{Arch, Simd, WithSimd};

use super::grid::{GHOST, Grid, LEAD};
use super::lanes::{V, WIDTH};
use super::physics::{C2, CONDUCTION, NORMAL, VISCOSITY, dissipation, spacing};

/// Derived quantities of a point: three velocities, pressure, and heat plus half the squared speed.
const DERIVED: usize = 5;
const PRESSURE: usize = 3;
const HEAT: usize = 4;

/// The operator for one rank's part, with its work space.
#[derive(Debug)]
pub(in super::super) struct Operator {
    grid: Grid,
    t1: f64,
    t2: f64,
    /// Weights of both dissipations along x: five rows.
    weights: Vec<f64>,
    /// 1 at the interior points of a row.
    interior: Vec<f64>,
    /// Three planes of derived rows.
    ring: Vec<f64>,
}

impl Operator {
    pub(in super::super) fn new(grid: &Grid) -> Self {
        let (t1, t2) = spacing(grid.n);
        let mut weights = vec![0.0; 5 * grid.row];
        let mut interior = vec![0.0; grid.row];
        for x in 1..grid.n - 1 {
            interior[LEAD + x] = 1.0;
            for (offset, weight) in dissipation(x, grid.n, 0).into_iter().enumerate() {
                weights[offset * grid.row + LEAD + x] = weight;
            }
        }
        Self { grid: grid.clone(), t1, t2, weights, interior, ring: vec![0.0; 3 * grid.plane()] }
    }

    /// `out = scale (forcing + L(u))` at this rank's interior points, where L is the operator; 0 in the padding of rows.
    pub(in super::super) fn apply(&mut self, u: &[f64], forcing: &[f64], out: &mut [f64], scale: f64) {
        Arch::new().dispatch(Apply { operator: self, u, forcing, out, scale });
    }
}

struct Apply<'a> {
    operator: &'a mut Operator,
    u: &'a [f64],
    forcing: &'a [f64],
    out: &'a mut [f64],
    scale: f64,
}

impl WithSimd for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { operator, u, forcing, out, scale } = self;
        let own = operator.grid.own_z();
        derive_plane(simd, operator, u, own.start - 1);
        derive_plane(simd, operator, u, own.start);
        for k in own {
            derive_plane(simd, operator, u, k + 1);
            for j in operator.grid.own_y() {
                apply_row(simd, operator, [j, k], u, forcing, out, scale);
            }
        }
    }
}

/// Fills the ring's plane for plane `k` of the field.
#[inline(always)]
fn derive_plane<S: Simd>(simd: S, operator: &mut Operator, u: &[f64], k: usize) {
    let Operator { grid, ring, t1, .. } = operator;
    let row = grid.row;
    let viscous = VISCOSITY * *t1;
    let (speed, heat) = (0.5 * (viscous - CONDUCTION * *t1), CONDUCTION * *t1);
    for j in GHOST - 1..grid.y.len + GHOST + 1 {
        let from = &u[grid.at(j, k)..][..5 * row];
        let into = &mut ring[(k % 3) * grid.plane() + j * grid.line()..][..DERIVED * row];
        for p in (0..row).step_by(V::<S>::LANES) {
            let of = |m: usize| V::load(simd, from, m * row + p);
            let per_mass = of(0).recip();
            let [a, b, c] = [of(1) * per_mass, of(2) * per_mass, of(3) * per_mass];
            let square = (a * a).plus(b, b).plus(c, c);
            let pressure = (of(4) - square * of(0) * 0.5) * C2;
            let warmth = square * speed + of(4) * per_mass * heat;
            for (m, value) in [a, b, c, pressure, warmth].into_iter().enumerate() {
                value.store(into, m * row + p);
            }
        }
    }
}

/// What a direction's differences need besides the fields.
struct Factors<S: Simd> {
    t2: V<S>,
    shear: V<S>,
    normal: V<S>,
    work: V<S>,
}

#[inline(always)]
fn apply_row<S: Simd>(
    simd: S,
    operator: &Operator,
    [j, k]: [usize; 2],
    u: &[f64],
    forcing: &[f64],
    out: &mut [f64],
    scale: f64,
) {
    let Operator { grid, t1, t2, weights, interior, ring } = operator;
    let (n, row, line, plane) = (grid.n, grid.row, grid.line(), grid.plane());
    let splat = |value: f64| V::splat(simd, value);
    let viscous = VISCOSITY * t1;
    let factors = Factors {
        t2: splat(*t2),
        shear: splat(viscous),
        normal: splat(viscous * NORMAL),
        work: splat(viscous / 6.0),
    };
    let along_y = dissipation(grid.y.first + j - GHOST, n, 1).map(splat);
    let along_z = dissipation(grid.z.first + k - GHOST, n, 2).map(splat);
    let start = grid.at(j, k);
    let derived = [(k + 2) % 3, k % 3, (k + 1) % 3].map(|slot| slot * plane + j * line);
    for p in (WIDTH..WIDTH + grid.padded_interior()).step_by(V::<S>::LANES) {
        let at = start + p;
        let mut sum: [V<S>; 5] = std::array::from_fn(|m| V::load(simd, forcing, at + m * row));
        let along_x: [V<S>; 5] = std::array::from_fn(|offset| V::load(simd, weights, offset * row + p));
        let here = derived[1] + p;
        let of = |m: usize, at: usize| V::load(simd, u, at + m * row);
        let what = |m: usize, at: usize| V::load(simd, ring, at + m * row);
        add_direction::<S, 0>(&mut sum, &along_x, &factors, of, (at, 1), what, [here - 1, here, here + 1]);
        let beside = [here - line, here, here + line];
        add_direction::<S, 1>(&mut sum, &along_y, &factors, of, (at, line), what, beside);
        let beside = [derived[0] + p, here, derived[2] + p];
        add_direction::<S, 2>(&mut sum, &along_z, &factors, of, (at, plane), what, beside);
        let mask = V::load(simd, interior, p) * scale;
        for (m, value) in sum.into_iter().enumerate() {
            (value * mask).store(out, at + m * row);
        }
    }
}

/// Adds the differences along direction `D`; `of(m, at)` is component m of the field, `what(m, at)` a derived quantity.
#[inline(always)]
fn add_direction<S: Simd, const D: usize>(
    sum: &mut [V<S>; 5],
    weights: &[V<S>; 5],
    factors: &Factors<S>,
    of: impl Fn(usize, usize) -> V<S>,
    (at, step): (usize, usize),
    what: impl Fn(usize, usize) -> V<S>,
    [low, here, high]: [usize; 3],
) {
    let second = |m: usize| what(m, high) - what(m, here) + (what(m, low) - what(m, here));
    let (slow, own, fast) = (what(D, low), what(D, here), what(D, high));
    let (before, after): ([V<S>; 5], [V<S>; 5]) =
        (std::array::from_fn(|m| of(m, at - step)), std::array::from_fn(|m| of(m, at + step)));
    for m in 0..5 {
        sum[m] = sum[m]
            .plus(weights[0], of(m, at - 2 * step))
            .plus(weights[1], before[m])
            .plus(weights[2], of(m, at))
            .plus(weights[3], after[m])
            .plus(weights[4], of(m, at + 2 * step));
    }
    sum[0] = sum[0].minus(factors.t2, after[1 + D] - before[1 + D]);
    for m in 1..4 {
        let stress = if m == D + 1 { factors.normal } else { factors.shear };
        let flux = (after[m] * fast).minus(before[m], slow);
        sum[m] = sum[m].minus(factors.t2, flux).plus(stress, second(m - 1));
    }
    let (pressure_before, pressure_after) = (what(PRESSURE, low), what(PRESSURE, high));
    sum[1 + D] = sum[1 + D].minus(factors.t2, pressure_after - pressure_before);
    let flux = ((after[4] + pressure_after) * fast).minus(before[4] + pressure_before, slow);
    let work = (fast * fast).plus(slow, slow).minus(own + own, own);
    sum[4] = sum[4].minus(factors.t2, flux).plus(factors.work, work) + second(HEAT);
}

#[cfg(test)]
mod tests {
    use super::super::exact::{exact_at, fill};
    use super::super::grid::{Grid, LEAD};
    use super::Operator;

    /// Whatever the field, a uniform shift of nothing but forcing passes through scaled, and padding stays zero.
    #[test]
    fn the_forcing_is_added_and_scaled_and_padding_is_zero() {
        let grid = Grid::new(12, 0, 1).expect("enough points");
        let mut u = vec![0.0; grid.len()];
        fill(&grid, &mut u, exact_at);
        let (zero, one) = (vec![0.0; grid.len()], vec![1.0; grid.len()]);
        let (mut plain, mut forced) = (zero.clone(), zero.clone());
        let mut operator = Operator::new(&grid);
        operator.apply(&u, &zero, &mut plain, 1.0);
        operator.apply(&u, &one, &mut forced, -2.0);
        grid.for_own(|at, _| assert!((forced[at] + 2.0 * (plain[at] + 1.0)).abs() < 1e-9));
        let row = grid.at(4, 4);
        assert!(plain[row + LEAD + 1] != 0.0 && plain[row + LEAD] == 0.0 && plain[row + LEAD + 11] == 0.0);
    }

    /// A fluid at rest with constant pressure has no fluxes, and a constant has no fourth difference away from the boundary.
    #[test]
    fn a_fluid_at_rest_stays_so() {
        let grid = Grid::new(12, 0, 1).expect("enough points");
        let mut u = vec![0.0; grid.len()];
        fill(&grid, &mut u, |_, _| [2.0, 0.0, 0.0, 0.0, 5.0]);
        let mut out = vec![0.0; grid.len()];
        Operator::new(&grid).apply(&u, &vec![0.0; grid.len()], &mut out, 1.0);
        grid.for_own(|at, point| {
            if point.iter().all(|index| (3..9).contains(index)) {
                assert!(out[at].abs() < 1e-9, "{point:?}");
            }
        });
    }
}
