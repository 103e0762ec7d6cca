//! Scalar pentadiagonal elimination along a line, one line a lane: one system for the three characteristics that travel with
//! the flow, and one each for those a speed of sound faster and slower. The changes of variables between the directions are
//! made where a direction's values are first loaded or last stored.

use std::marker::PhantomData;

use pulp::{Arch, Simd, WithSimd};

use super::super::cfd::bundle::{Bundle, Eliminator};
use super::super::cfd::lanes::{V, WIDTH};
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
    fn load(simd: S, u: &[f64], at: usize, component: usize) -> Self {
        let of = |m: usize| V::load(simd, u, at + m * component);
        let density = of(0);
        let per_mass = density.recip();
        let velocity @ [a, b, c] = [of(1) * per_mass, of(2) * per_mass, of(3) * per_mass];
        let kinetic = (a * a).plus(b, b).plus(c, c) * 0.5;
        let sound = ((of(4) * per_mass - kinetic) * (C1 * C2)).sqrt();
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

    /// Into the next direction's variables, or back into the field's.
    fn leave<S: Simd>(flow: impl FnOnce() -> Flow<S>, r: [V<S>; 5]) -> [V<S>; 5];
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
    fn leave<S: Simd>(_: impl FnOnce() -> Flow<S>, [r1, r2, r3, r4, r5]: [V<S>; 5]) -> [V<S>; 5] {
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
    fn leave<S: Simd>(_: impl FnOnce() -> Flow<S>, [r1, r2, r3, r4, r5]: [V<S>; 5]) -> [V<S>; 5] {
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
    fn leave<S: Simd>(flow: impl FnOnce() -> Flow<S>, [r1, r2, r3, r4, r5]: [V<S>; 5]) -> [V<S>; 5] {
        let Flow { density, velocity: [a, b, c], kinetic, sound, .. } = flow();
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
    fn next(before: &[Self; 2], [l1, l2, l3, l4, q]: [V<S>; 5], mut r: [V<S>; R]) -> Self {
        let [far, near] = before;
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
    fn from(mut value: impl FnMut() -> V<S>) -> Self {
        Self {
            flow: Row { p: value(), q: value(), r: [value(), value(), value()] },
            fast: Row { p: value(), q: value(), r: [value()] },
            slow: Row { p: value(), q: value(), r: [value()] },
        }
    }

    #[inline(always)]
    fn kept(&self) -> [V<S>; KEPT] {
        [self.flow.p, self.flow.q, self.fast.p, self.fast.q, self.slow.p, self.slow.q]
    }

    #[inline(always)]
    fn right(&self) -> [V<S>; 5] {
        let [a, b, c] = self.flow.r;
        [a, b, c, self.fast.r[0], self.slow.r[0]]
    }

    /// In the order of [`Self::from`].
    #[inline(always)]
    fn all(&self) -> [V<S>; ROW] {
        let [a, b, c] = self.flow.r;
        let (fast, slow) = (&self.fast, &self.slow);
        let flow = &self.flow;
        [flow.p, flow.q, a, b, c, fast.p, fast.q, fast.r[0], slow.p, slow.q, slow.r[0]]
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

impl<D: Direction> WithSimd for Eliminate<'_, D> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { system: &Pentadiagonal { n, dt, .. }, bundle, u, r, factors, state } = self;
        let (t1, t2) = spacing(n);
        let part = |flow: &Flow<S>| Part {
            convection: flow.velocity[D::D] * (dt * t2),
            // The largest of the four diffusion coefficients is the energy's: c1 c5 exceeds 4/3 and 1.
            diffusion: flow.per_mass * (CONDUCTION * dt * t1) + SECOND[D::D] * dt * t1,
            sound: flow.sound * (dt * t2),
        };
        for lane in (0..WIDTH).step_by(V::<S>::LANES) {
            let start = bundle.base + lane;
            let flow_at = |at: usize| Flow::load(simd, u, at, bundle.component);
            let mut stored = (0..2 * ROW).map(|i| i * WIDTH + lane);
            let mut value = || V::load(simd, state, stored.next().unwrap_or_default());
            let mut rows = [Rows::from(&mut value), Rows::from(&mut value)];
            let mut below = part(&flow_at(start));
            let mut own_flow = flow_at(start + bundle.point);
            let mut here = part(&own_flow);
            for i in 0..bundle.len {
                let at = start + (i + 1) * bundle.point;
                let next_flow = flow_at(at + bundle.point);
                let above = part(&next_flow);
                let fourth =
                    fourth_difference(bundle.first + i, n).map(|weight| V::splat(simd, weight * FOURTH * dt));
                let l2 = fourth[1] - below.convection - below.diffusion;
                let l3 = fourth[2] + here.diffusion * 2.0 + 1.0;
                let l4 = fourth[3] + above.convection - above.diffusion;
                let own = std::array::from_fn(|m| V::load(simd, r, at + m * bundle.component));
                let [r1, r2, r3, r4, r5] = D::enter(simd, &own_flow, own);
                let flows = rows.map(|rows| rows.flow);
                let new = Rows {
                    flow: Row::next(&flows, [fourth[0], l2, l3, l4, fourth[4]], [r1, r2, r3]),
                    fast: Row::next(
                        &rows.map(|rows| rows.fast),
                        [fourth[0], l2 - below.sound, l3, l4 + above.sound, fourth[4]],
                        [r4],
                    ),
                    slow: Row::next(
                        &rows.map(|rows| rows.slow),
                        [fourth[0], l2 + below.sound, l3, l4 - above.sound, fourth[4]],
                        [r5],
                    ),
                };
                for (m, value) in new.kept().into_iter().enumerate() {
                    value.store(factors, (i * KEPT + m) * WIDTH + lane);
                }
                for (m, value) in new.right().into_iter().enumerate() {
                    value.store(r, at + m * bundle.component);
                }
                rows = [rows[1], new];
                (below, here, own_flow) = (here, above, next_flow);
            }
            for (i, value) in rows.iter().flat_map(Rows::all).enumerate() {
                value.store(state, i * WIDTH + lane);
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
            let stored = |i: usize| V::load(simd, state, i * WIDTH + lane);
            let mut near: [V<S>; 5] = std::array::from_fn(&stored);
            let mut far: [V<S>; 5] = std::array::from_fn(|m| stored(5 + m));
            for i in (0..bundle.len).rev() {
                let at = bundle.base + lane + (i + 1) * bundle.point;
                let own: [V<S>; 5] = std::array::from_fn(|m| {
                    let factor = |which: usize| {
                        let system = m.saturating_sub(2);
                        V::load(simd, factors, (i * KEPT + 2 * system + which) * WIDTH + lane)
                    };
                    let right = V::load(simd, r, at + m * bundle.component);
                    right.minus(factor(0), near[m]).minus(factor(1), far[m])
                });
                (near, far) = (own, near);
                let left = D::leave(|| Flow::load(simd, u, at, bundle.component), own);
                for (m, value) in left.into_iter().enumerate() {
                    let at = at + m * bundle.component;
                    if D::LAST {
                        (value + V::load(simd, u, at)).store(u, at);
                    } else {
                        value.store(r, at);
                    }
                }
            }
            for (i, value) in near.into_iter().chain(far).enumerate() {
                value.store(state, i * WIDTH + lane);
            }
        }
    }
}
