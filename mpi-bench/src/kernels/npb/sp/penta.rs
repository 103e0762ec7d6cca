//! Scalar pentadiagonal elimination along a line, one line a lane: one system for the three characteristics that travel with
//! the flow, and one each for those a speed of sound faster and slower. The changes of variables between the directions are
//! made where a direction's values are first loaded or last stored.

use std::marker::PhantomData;

use pulp::{Arch, Simd, WithSimd};

use super::super::cfd::bundle::{Bundle, Eliminator};
use super::super::cfd::lanes::{Source, V, WIDTH, five, store_five, three};
use super::super::cfd::physics::{C1, C2, CONDUCTION, FOURTH, SECOND, fourth_difference, spacing};

/// 1 / sqrt(2): bt.
const HALF_ROOT: f64 = std::f64::consts::FRAC_1_SQRT_2;

/// Values kept of an eliminated point: two of each of the three systems.
const KEPT: usize = 6;
/// With the five right-hand sides.
const ROW: usize = KEPT + 5;

/// What a point's flow contributes: inverse density, velocities, half the squared speed, speed of sound.
#[derive(Clone, Copy)]
pub(super) struct Flow<S: Simd> {
    density: V<S>,
    per_mass: V<S>,
    velocity: [V<S>; 3],
    kinetic: V<S>,
    sound: V<S>,
}

impl<S: Simd> Flow<S> {
    #[inline(always)]
    fn load(point: Source<'_, S>) -> Self {
        let [density, a, b, c, energy] = point.all();
        let per_mass = density.recip();
        let velocity @ [a, b, c] = [a * per_mass, b * per_mass, c * per_mass];
        let kinetic = (a * a).plus(b, b).plus(c, c) * 0.5;
        let sound = ((energy * per_mass - kinetic) * (C1 * C2)).sqrt();
        Self { density, per_mass, velocity, kinetic, sound }
    }
}

/// A direction: its number, and the changes of variables before and after it.
pub(super) trait Direction: 'static {
    /// 0 for x.
    const D: usize;
    /// Whether the solution is the step's, to be added to the field.
    const LAST: bool;

    /// Into the direction's variables, where the previous direction has not seen to it.
    fn enter<S: Simd>(simd: S, flow: &Flow<S>, r: [V<S>; 5]) -> [V<S>; 5];

    /// Into the next direction's variables, or back into the field's at `point`.
    fn leave<S: Simd>(point: Source<'_, S>, r: [V<S>; 5]) -> [V<S>; 5];
}

/// The first: from the field's variables, T_x^-1.
pub(super) struct X;
/// The second.
pub(super) struct Y;
/// The third: back to the field's variables, T_z.
pub(super) struct Z;

impl Direction for X {
    const D: usize = 0;
    const LAST: bool = false;

    #[inline(always)]
    fn enter<S: Simd>(simd: S, flow: &Flow<S>, [r1, r2, r3, r4, r5]: [V<S>; 5]) -> [V<S>; 5] {
        let Flow { per_mass, velocity: [a, b, c], kinetic, sound, .. } = *flow;
        let pressure = (kinetic * r1).minus(a, r2).minus(b, r3).minus(c, r4) + r5;
        let t1 = pressure * V::splat(simd, C2) * (sound * sound).recip();
        let scale = per_mass * HALF_ROOT;
        let t2 = scale * (a * r1 - r2);
        let t3 = scale * sound * t1;
        [r1 - t1, per_mass * (r4 - c * r1), per_mass * (b * r1 - r3), t3 - t2, t3 + t2]
    }

    #[inline(always)]
    fn leave<S: Simd>(_: Source<'_, S>, [r1, r2, r3, r4, r5]: [V<S>; 5]) -> [V<S>; 5] {
        let (t1, t2) = (r3 * HALF_ROOT, (r4 + r5) * 0.5);
        [-r2, r1, (r4 - r5) * HALF_ROOT, t2 - t1, t2 + t1]
    }
}

impl Direction for Y {
    const D: usize = 1;
    const LAST: bool = false;

    #[inline(always)]
    fn enter<S: Simd>(_: S, _: &Flow<S>, r: [V<S>; 5]) -> [V<S>; 5] {
        r
    }

    #[inline(always)]
    fn leave<S: Simd>(_: Source<'_, S>, [r1, r2, r3, r4, r5]: [V<S>; 5]) -> [V<S>; 5] {
        let (t1, t2) = (r1 * HALF_ROOT, (r4 + r5) * 0.5);
        [(r4 - r5) * HALF_ROOT, -r3, r2, t2 - t1, t2 + t1]
    }
}

impl Direction for Z {
    const D: usize = 2;
    const LAST: bool = true;

    #[inline(always)]
    fn enter<S: Simd>(_: S, _: &Flow<S>, r: [V<S>; 5]) -> [V<S>; 5] {
        r
    }

    #[inline(always)]
    fn leave<S: Simd>(point: Source<'_, S>, [r1, r2, r3, r4, r5]: [V<S>; 5]) -> [V<S>; 5] {
        let Flow { density, velocity: [a, b, c], kinetic, sound, .. } = Flow::load(point);
        let scale = density * HALF_ROOT;
        let t1 = scale * sound.recip() * (r4 + r5);
        let t2 = r3 + t1;
        let t3 = scale * (r4 - r5);
        [
            t2,
            (a * t2).minus(density, r2),
            (b * t2).plus(density, r1),
            (c * t2) + t3,
            (density * (b * r1 - a * r2)).plus(kinetic, t2).plus(c, t3).plus(sound * sound * (1.0 / C2), t1),
        ]
    }
}

/// The elimination along one direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pentadiagonal<D> {
    n: usize,
    dt: f64,
    direction: PhantomData<D>,
}

impl<D: Direction> Pentadiagonal<D> {
    pub(super) fn new(n: usize, dt: f64) -> Self {
        Self { n, dt, direction: PhantomData }
    }
}

impl<D: Direction> Eliminator for Pentadiagonal<D> {
    const STATE: [usize; 2] = [2 * ROW, 2 * 5];
    const FACTORS: usize = KEPT;

    fn eliminate(&self, bundle: Bundle, u: &[f64], r: &mut [f64], factors: &mut [f64], state: &mut [f64]) {
        Arch::new().dispatch(Eliminate { system: self, bundle, u, r, factors, state });
    }

    fn substitute(&self, bundle: Bundle, u: &mut [f64], r: &mut [f64], factors: &[f64], state: &mut [f64]) {
        Arch::new().dispatch(Substitute::<D> { bundle, u, r, factors, state, direction: PhantomData });
    }
}

/// An eliminated row of one system with its right-hand sides: x_i + p x_(i+1) + q x_(i+2) = r.
#[derive(Clone, Copy)]
struct Row<S: Simd, const R: usize> {
    p: V<S>,
    q: V<S>,
    r: [V<S>; R],
}

impl<S: Simd, const R: usize> Row<S, R> {
    /// The next row, from its five coefficients and the two rows before it.
    #[inline(always)]
    fn next([far, near]: [Self; 2], [l1, l2, l3, l4, q]: [V<S>; 5], mut r: [V<S>; R]) -> Self {
        let l2 = l2.minus(l1, far.p);
        let inverse = l3.minus(l1, far.q).minus(l2, near.p).recip();
        for ((r, far), near) in r.iter_mut().zip(far.r).zip(near.r) {
            *r = r.minus(l1, far).minus(l2, near) * inverse;
        }
        Self { p: l4.minus(l2, near.q) * inverse, q: q * inverse, r }
    }
}

/// Rows of the three systems at a point.
#[derive(Clone, Copy)]
struct Rows<S: Simd> {
    flow: Row<S, 3>,
    fast: Row<S, 1>,
    slow: Row<S, 1>,
}

impl<S: Simd> Rows<S> {
    #[inline(always)]
    fn load(from: Source<'_, S>) -> Self {
        Self {
            flow: Row { p: from.get(0), q: from.get(1), r: three!(|m| from.get(KEPT + m)) },
            fast: Row { p: from.get(2), q: from.get(3), r: [from.get(KEPT + 3)] },
            slow: Row { p: from.get(4), q: from.get(5), r: [from.get(KEPT + 4)] },
        }
    }

    #[inline(always)]
    fn store_kept(&self, into: &mut [f64], at: usize) {
        let Self { flow, fast, slow } = self;
        store_five(&[flow.p, flow.q, fast.p, fast.q, slow.p], into, at, WIDTH);
        slow.q.store(into, at + 5 * WIDTH);
    }

    #[inline(always)]
    fn right(&self) -> [V<S>; 5] {
        let [a, b, c] = self.flow.r;
        [a, b, c, self.fast.r[0], self.slow.r[0]]
    }
}

struct Eliminate<'a, D> {
    system: &'a Pentadiagonal<D>,
    bundle: Bundle,
    u: &'a [f64],
    r: &'a mut [f64],
    factors: &'a mut [f64],
    state: &'a mut [f64],
}

/// A neighbour's part in a row: convection, diffusion, sound.
#[derive(Clone, Copy)]
struct Part<S: Simd> {
    convection: V<S>,
    diffusion: V<S>,
    sound: V<S>,
}

/// What makes a [`Part`] of a flow.
struct PartFactors<S: Simd> {
    convection: V<S>,
    diffusion: V<S>,
    constant: V<S>,
}

impl<S: Simd> Part<S> {
    #[inline(always)]
    fn new<D: Direction>(flow: &Flow<S>, factor: &PartFactors<S>) -> Self {
        Self {
            convection: flow.velocity[D::D] * factor.convection,
            // The largest of the four diffusion coefficients is the energy's: c1 c5 exceeds 4/3 and 1.
            diffusion: factor.constant.plus(flow.per_mass, factor.diffusion),
            sound: flow.sound * factor.convection,
        }
    }
}

impl<D: Direction> WithSimd for Eliminate<'_, D> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { system: &Pentadiagonal { n, dt, .. }, bundle, u, r, factors, state } = self;
        let (t1, t2) = spacing(n);
        let factor = PartFactors {
            convection: V::splat(simd, dt * t2),
            diffusion: V::splat(simd, CONDUCTION * dt * t1),
            constant: V::splat(simd, SECOND[D::D] * dt * t1),
        };
        for lane in (0..WIDTH).step_by(V::<S>::LANES) {
            let from = Source { simd, from: &*state, at: lane, stride: WIDTH };
            let mut rows = [Rows::load(from), Rows::load(from.starting(ROW * WIDTH + lane))];
            let point = Source { simd, from: u, at: bundle.base + lane, stride: bundle.component };
            let mut below = Part::new::<D>(&Flow::load(point), &factor);
            let mut own_flow = Flow::load(point.starting(point.at + bundle.point));
            let mut here = Part::new::<D>(&own_flow, &factor);
            for i in 0..bundle.len {
                let at = point.at + (i + 1) * bundle.point;
                let next_flow = Flow::load(point.starting(at + bundle.point));
                let above = Part::new::<D>(&next_flow, &factor);
                let fourth = fourth_difference(bundle.first + i, n);
                let fourth = five!(|offset| V::splat(simd, fourth[offset] * FOURTH * dt));
                let l2 = fourth[1] - below.convection - below.diffusion;
                let l3 = fourth[2] + here.diffusion * 2.0 + 1.0;
                let l4 = fourth[3] + above.convection - above.diffusion;
                let own = Source { simd, from: &*r, at, stride: bundle.component }.all();
                let [r1, r2, r3, r4, r5] = D::enter(simd, &own_flow, own);
                let [far, near] = rows;
                let flow = Row::next([far.flow, near.flow], [fourth[0], l2, l3, l4, fourth[4]], [r1, r2, r3]);
                let faster = [fourth[0], l2 - below.sound, l3, l4 + above.sound, fourth[4]];
                let slower = [fourth[0], l2 + below.sound, l3, l4 - above.sound, fourth[4]];
                let new = Rows {
                    flow,
                    fast: Row::next([far.fast, near.fast], faster, [r4]),
                    slow: Row::next([far.slow, near.slow], slower, [r5]),
                };
                new.store_kept(factors, i * KEPT * WIDTH + lane);
                store_five(&new.right(), r, at, bundle.component);
                rows = [near, new];
                (below, here, own_flow) = (here, above, next_flow);
            }
            for (i, row) in rows.iter().enumerate() {
                row.store_kept(state, i * ROW * WIDTH + lane);
                store_five(&row.right(), state, (i * ROW + KEPT) * WIDTH + lane, WIDTH);
            }
        }
    }
}

struct Substitute<'a, D> {
    bundle: Bundle,
    u: &'a mut [f64],
    r: &'a mut [f64],
    factors: &'a [f64],
    state: &'a mut [f64],
    direction: PhantomData<D>,
}

impl<D: Direction> WithSimd for Substitute<'_, D> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { bundle, u, r, factors, state, .. } = self;
        for lane in (0..WIDTH).step_by(V::<S>::LANES) {
            let from = Source { simd, from: &*state, at: lane, stride: WIDTH };
            let (mut near, mut far) = (from.all(), from.starting(5 * WIDTH + lane).all());
            for i in (0..bundle.len).rev() {
                let at = bundle.base + lane + (i + 1) * bundle.point;
                let factor = Source { simd, from: factors, at: i * KEPT * WIDTH + lane, stride: WIDTH };
                let right = Source { simd, from: &*r, at, stride: bundle.component };
                let own = five!(|m| {
                    let system = 2 * usize::saturating_sub(m, 2);
                    right.get(m).minus(factor.get(system), near[m]).minus(factor.get(system + 1), far[m])
                });
                (near, far) = (own, near);
                let point = Source { simd, from: &*u, at, stride: bundle.component };
                let left = D::leave(point, own);
                if D::LAST {
                    let old = point.all();
                    store_five(&five!(|m| left[m] + old[m]), u, at, bundle.component);
                } else {
                    store_five(&left, r, at, bundle.component);
                }
            }
            store_five(&near, state, lane, WIDTH);
            store_five(&far, state, 5 * WIDTH + lane, WIDTH);
        }
    }
}
