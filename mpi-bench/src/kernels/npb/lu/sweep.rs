//! The two triangular solves of a symmetric successive over-relaxation step, on skewed bundles of rows. No field layout and no
//! communication here.
//!
//! A point needs its neighbours before it in x, y and z. A bundle holds as many rows as a register has lanes, each a step
//! behind the one before, so that all lanes of a step are independent: lane l of step t is x = 1 + t - l. What a point
//! contributes to its three successors depends on its own flow only, so it is computed once the point is solved and handed
//! on: to the next step, to the next lane of the next step, and to the same place of the next plane. The Jacobians are never
//! formed; their products with a vector take a third of the operations.

use pulp::{Arch, Simd, WithSimd};

use super::super::cfd::grid::LEAD;
use super::super::cfd::lanes::{Source, V, WIDTH, five, store_five, three};
use super::super::cfd::physics::{C1, C2, CONDUCTION, NORMAL, SECOND, VISCOSITY, spacing};

/// Over-relaxation.
const OMEGA: f64 = 1.2;

/// What the solution of a step is weighted with when it is added to the field.
pub(super) const RELAXATION: f64 = 1.0 / (OMEGA * (2.0 - OMEGA));

/// Lanes of a register of this CPU.
pub(super) fn lanes() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;

        fn with_simd<S: Simd>(self, _: S) -> usize {
            V::<S>::LANES
        }
    }
    Arch::new().dispatch(Lanes)
}

/// The coefficients of a problem.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coefficients {
    n: usize,
    /// dt t1 and dt t2.
    viscous: f64,
    convective: f64,
}

impl Coefficients {
    pub(super) fn new(n: usize, dt: f64) -> Self {
        let (t1, t2) = spacing(n);
        Self { n, viscous: dt * t1, convective: dt * t2 }
    }

    /// Solves a bundle. All slices but `edge` hold groups of one register for each of the five components of each step.
    pub(super) fn sweep<const UPPER: bool>(&self, bundle: Bundle<'_>) {
        Arch::new().dispatch(Solve::<UPPER> { coefficients: self, bundle });
    }
}

/// One bundle's data.
pub(super) struct Bundle<'a> {
    /// Rows in use, at least 1.
    pub(super) rows: usize,
    pub(super) u: &'a [f64],
    /// Right-hand side, then the solution.
    pub(super) v: &'a mut [f64],
    /// Contributions along z: from the plane before, then to the plane after.
    pub(super) along_z: &'a mut [f64],
    /// Contributions along y, five rows: from the row before this bundle, then to the row after.
    pub(super) edge: &'a mut [f64],
}

/// A point's inverse density, velocities, energy per mass, half the squared speed.
#[derive(Clone, Copy)]
struct Flow<S: Simd> {
    per_mass: V<S>,
    velocity: [V<S>; 3],
    energy: V<S>,
    kinetic: V<S>,
}

impl<S: Simd> Flow<S> {
    #[inline(always)]
    fn new([density, a, b, c, energy]: [V<S>; 5]) -> Self {
        let per_mass = density.recip();
        let velocity @ [a, b, c] = [a * per_mass, b * per_mass, c * per_mass];
        let kinetic = (a * a).plus(b, b).plus(c, c) * 0.5;
        Self { per_mass, velocity, energy: energy * per_mass, kinetic }
    }
}

/// Solves the diagonal block's equations. The block is triangular: viscosity couples momenta to density and energy to all.
#[inline(always)]
fn solve_diagonal<S: Simd>(flow: &Flow<S>, viscous: f64, s: [V<S>; 5]) -> [V<S>; 5] {
    let Flow { per_mass, velocity, energy, .. } = *flow;
    let constant = 1.0 + 2.0 * viscous * SECOND.iter().sum::<f64>();
    let stress = 2.0 * viscous * VISCOSITY * (NORMAL + 2.0);
    let heat = 2.0 * viscous * CONDUCTION * 3.0;
    let by_momentum = (per_mass * stress + constant).recip();
    let by_energy = (per_mass * heat + constant).recip();
    let pull = per_mass * stress;
    let work = per_mass * (stress - heat);
    let density = s[0] * (1.0 / constant);
    let [a, b, c] = velocity;
    let [p, q, r] = three!(|m| s[1 + m].plus(pull * velocity[m], density) * by_momentum);
    let sum = s[4].plus(per_mass * energy * heat, density);
    let sum = sum.minus(work * a, p.minus(a, density));
    let sum = sum.minus(work * b, q.minus(b, density));
    let sum = sum.minus(work * c, r.minus(c, density));
    [density, p, q, r, sum * by_energy]
}

/// What the solution `v` of a point takes from the equations of its successor along direction `D`, times omega.
#[inline(always)]
fn contribution<S: Simd, const D: usize, const UPPER: bool>(
    flow: &Flow<S>,
    coefficients: &Coefficients,
    v: [V<S>; 5],
    common: &Common<S>,
) -> [V<S>; 5] {
    let Flow { velocity, .. } = *flow;
    let Common { simd, slip, pressure, enthalpy, drag, loss } = *common;
    let sign = if UPPER { OMEGA } else { -OMEGA };
    let t2 = V::splat(simd, sign * coefficients.convective);
    let dissipation = V::splat(simd, OMEGA * coefficients.viscous * SECOND[D]);
    let speed = velocity[D] * t2;
    let slide = slip[D] * t2;
    let mut momenta = three!(|m| {
        let stress = if m == D { drag[m] * NORMAL } else { drag[m] };
        (speed * v[m + 1]).plus(slide, velocity[m]).minus(dissipation, v[m + 1]) - stress
    });
    momenta[D] = momenta[D].plus(t2, pressure);
    let stretch = velocity[D] * drag[D] * (NORMAL - 1.0);
    let energy = (speed * (v[4] + pressure)).plus(slide, enthalpy).minus(dissipation, v[4]) - loss - stretch;
    [(t2 * v[D + 1]).minus(dissipation, v[0]), momenta[0], momenta[1], momenta[2], energy]
}

/// What the three directions' contributions share.
#[derive(Clone, Copy)]
struct Common<S: Simd> {
    simd: S,
    /// Change of velocity times density.
    slip: [V<S>; 3],
    /// Change of pressure.
    pressure: V<S>,
    enthalpy: V<S>,
    /// Shear stresses, and the energy lost to them and to heat.
    drag: [V<S>; 3],
    loss: V<S>,
}

impl<S: Simd> Common<S> {
    #[inline(always)]
    fn new(simd: S, flow: &Flow<S>, viscous: f64, v: [V<S>; 5]) -> Self {
        let Flow { per_mass, velocity: velocity @ [a, b, c], energy, kinetic } = *flow;
        let slip @ [p, q, r] = three!(|m| v[m + 1].minus(velocity[m], v[0]));
        let pressure = (v[4].minus(a, v[1]).plus(kinetic, v[0]) - (b * v[2]).plus(c, v[3])) * C2;
        let shear = per_mass * (OMEGA * viscous * VISCOSITY);
        let heat = per_mass * (OMEGA * viscous * CONDUCTION);
        let work = (a * p).plus(b, q).plus(c, r);
        Self {
            simd,
            slip,
            pressure,
            enthalpy: (energy * C1).minus(kinetic, V::splat(simd, C2)),
            drag: [p * shear, q * shear, r * shear],
            loss: ((shear - heat) * work).plus(heat, v[4].minus(energy, v[0])),
        }
    }
}

/// 1 in the lanes that are meant, else 0.
fn flags(meant: impl Fn(usize) -> bool) -> [f64; WIDTH] {
    std::array::from_fn(|lane| f64::from(u8::from(meant(lane))))
}

struct Solve<'a, const UPPER: bool> {
    coefficients: &'a Coefficients,
    bundle: Bundle<'a>,
}

impl<const UPPER: bool> WithSimd for Solve<'_, UPPER> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { coefficients, bundle: Bundle { rows, u, v, along_z, edge } } = self;
        let lanes = V::<S>::LANES;
        let (interior, viscous) = (coefficients.n - 2, coefficients.viscous);
        let steps = interior + lanes - 1;
        let row = edge.len() / 5;
        // The lane that takes contributions from outside of the bundle, and the one whose contributions leave it.
        let (first, last) = if UPPER { (rows - 1, 0) } else { (0, rows - 1) };
        let chosen = V::load(simd, &flags(|lane| lane == first), 0);
        let zero = V::splat(simd, 0.0);
        let (mut along_x, mut along_y) = ([zero; 5], [zero; 5]);
        for step in 0..steps {
            let t = if UPPER { steps - 1 - step } else { step };
            let at = 5 * t * lanes;
            let flow = Flow::new(Source { simd, from: u, at, stride: lanes }.all());
            let outside = five!(|m| V::splat(simd, edge[m * row + LEAD + 1 + t - first]));
            let from_y = five!(|m| {
                let moved = if UPPER { along_y[m].moved_down() } else { along_y[m].moved_up() };
                moved.replaced(chosen, outside[m])
            });
            let from_z = Source { simd, from: &*along_z, at, stride: lanes }.all();
            let before = five!(|m| from_z[m] + along_x[m] + from_y[m]);
            let own = Source { simd, from: &*v, at, stride: lanes }.all();
            let new = if UPPER {
                let correction = solve_diagonal(&flow, viscous, before);
                five!(|m| own[m] - correction[m])
            } else {
                let solution = solve_diagonal(&flow, viscous, five!(|m| own[m] - before[m]));
                if t < interior {
                    solution
                } else {
                    // Beyond the end of a row there is nothing, or the other sweep would find it.
                    let inside = V::load(simd, &flags(|lane| t < interior + lane), 0);
                    five!(|m| solution[m] * inside)
                }
            };
            let common = Common::new(simd, &flow, viscous, new);
            along_x = contribution::<S, 0, UPPER>(&flow, coefficients, new, &common);
            along_y = contribution::<S, 1, UPPER>(&flow, coefficients, new, &common);
            let onward = contribution::<S, 2, UPPER>(&flow, coefficients, new, &common);
            store_five(&new, v, at, lanes);
            store_five(&onward, along_z, at, lanes);
            if (last..last + interior).contains(&t) {
                for m in 0..5 {
                    edge[m * row + LEAD + 1 + t - last] = along_y[m].lane(last);
                }
            }
        }
    }
}
