//! The right-hand side of the equations: differences of convective and viscous fluxes plus dissipation, in one pass over the
//! field. It neither communicates nor knows who solves for what.
//!
//! Velocities, pressure and what heat and viscosity need of a point are derived once, a plane ahead of the plane being
//! computed; three planes of them stay in the cache. Rows are computed a register at a time along x.

use pulp::{Arch, Simd, WithSimd};

use super::grid::{GHOST, Grid, LEAD};
use super::lanes::{Source, V, WIDTH, five, store_five};
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
            let [density, a, b, c, energy] = Source { simd, from, at: p, stride: row }.all();
            let per_mass = density.recip();
            let [a, b, c] = [a * per_mass, b * per_mass, c * per_mass];
            let square = (a * a).plus(b, b).plus(c, c);
            let pressure = (energy - square * density * 0.5) * C2;
            let warmth = square * speed + energy * per_mass * heat;
            store_five(&[a, b, c, pressure, warmth], into, p, row);
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
    let viscous = VISCOSITY * t1;
    let factors = Factors {
        t2: V::splat(simd, *t2),
        shear: V::splat(simd, viscous),
        normal: V::splat(simd, viscous * NORMAL),
        work: V::splat(simd, viscous / 6.0),
    };
    let along_y = dissipation(grid.y.first + j - GHOST, n, 1);
    let along_y = five!(|offset| V::splat(simd, along_y[offset]));
    let along_z = dissipation(grid.z.first + k - GHOST, n, 2);
    let along_z = five!(|offset| V::splat(simd, along_z[offset]));
    let start = grid.at(j, k);
    let derived = [(k + 2) % 3, k % 3, (k + 1) % 3].map(|slot| slot * plane + j * line);
    for p in (WIDTH..WIDTH + grid.padded_interior()).step_by(V::<S>::LANES) {
        let at = start + p;
        let mut sum = Source { simd, from: forcing, at, stride: row }.all();
        let along_x = Source { simd, from: weights, at: p, stride: row }.all();
        let field = Source { simd, from: u, at, stride: row };
        let here = Source { simd, from: ring, at: derived[1] + p, stride: row };
        let beside = [here.starting(here.at - 1), here, here.starting(here.at + 1)];
        add_direction::<S, 0>(&mut sum, &along_x, &factors, (field, 1), beside);
        let beside = [here.starting(here.at - line), here, here.starting(here.at + line)];
        add_direction::<S, 1>(&mut sum, &along_y, &factors, (field, line), beside);
        let beside = [here.starting(derived[0] + p), here, here.starting(derived[2] + p)];
        add_direction::<S, 2>(&mut sum, &along_z, &factors, (field, plane), beside);
        let mask = V::load(simd, interior, p) * scale;
        store_five(&five!(|m| sum[m] * mask), out, at, row);
    }
}

/// Adds the differences along direction `D`, from the field whose neighbours are `step` away and from what is derived of the
/// point before, here and after.
#[inline(always)]
fn add_direction<S: Simd, const D: usize>(
    sum: &mut [V<S>; 5],
    weights: &[V<S>; 5],
    factors: &Factors<S>,
    (field, step): (Source<'_, S>, usize),
    [low, here, high]: [Source<'_, S>; 3],
) {
    let (slow, own, fast) = (low.get(D), here.get(D), high.get(D));
    let (before, after) = (field.starting(field.at - step).all(), field.starting(field.at + step).all());
    let (far_before, far_after) = (field.starting(field.at - 2 * step), field.starting(field.at + 2 * step));
    for m in 0..5 {
        sum[m] = sum[m]
            .plus(weights[0], far_before.get(m))
            .plus(weights[1], before[m])
            .plus(weights[2], field.get(m))
            .plus(weights[3], after[m])
            .plus(weights[4], far_after.get(m));
    }
    sum[0] = sum[0].minus(factors.t2, after[1 + D] - before[1 + D]);
    for m in 1..4 {
        let stress = if m == D + 1 { factors.normal } else { factors.shear };
        let flux = (after[m] * fast).minus(before[m], slow);
        let difference = second_difference(low, here, high, m - 1);
        sum[m] = sum[m].minus(factors.t2, flux).plus(stress, difference);
    }
    let (pressure_before, pressure_after) = (low.get(PRESSURE), high.get(PRESSURE));
    sum[1 + D] = sum[1 + D].minus(factors.t2, pressure_after - pressure_before);
    let flux = ((after[4] + pressure_after) * fast).minus(before[4] + pressure_before, slow);
    let work = (fast * fast).plus(slow, slow).minus(own + own, own);
    let heat = second_difference(low, here, high, HEAT);
    sum[4] = sum[4].minus(factors.t2, flux).plus(factors.work, work) + heat;
}

#[inline(always)]
fn second_difference<S: Simd>(
    low: Source<'_, S>,
    here: Source<'_, S>,
    high: Source<'_, S>,
    m: usize,
) -> V<S> {
    let middle = here.get(m);
    (high.get(m) - middle) + (low.get(m) - middle)
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
