//! Block-tridiagonal elimination along a line: 5x5 blocks from the Jacobians of the convective and viscous fluxes, one line a
//! lane. The direction's momentum is taken as the first, so that one set of formulas serves x, y and z.

use pulp::{Arch, Simd, WithSimd};

use super::super::cfd::bundle::{Bundle, Eliminator};
use super::super::cfd::lanes::{V, WIDTH, five, store_five};
use super::super::cfd::physics::{C1, C2, CONDUCTION, NORMAL, SECOND, VISCOSITY, spacing};

/// Entries of a block.
const BLOCK: usize = 25;

/// The elimination along one direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blocks {
    d: usize,
    /// dt t1, dt t2, dt t1 times the dissipation of second order.
    viscous: f64,
    convective: f64,
    dissipative: f64,
    /// Whether this is the step's last direction, whose solution is added to the field.
    last: bool,
}

impl Blocks {
    pub(super) fn new(n: usize, dt: f64, d: usize) -> Self {
        let (t1, t2) = spacing(n);
        Self { d, viscous: dt * t1, convective: dt * t2, dissipative: dt * t1 * SECOND[d], last: d == 2 }
    }

    /// Offset of each component from a point, the direction's momentum first among the momenta.
    fn offsets(&self, bundle: &Bundle) -> [usize; 5] {
        let mut order = [0, 1, 2, 3, 4];
        order.swap(1, 1 + self.d);
        order.map(|m| m * bundle.component)
    }
}

impl Eliminator for Blocks {
    const STATE: [usize; 2] = [BLOCK + 5, 5];
    const FACTORS: usize = BLOCK;

    fn eliminate(&self, bundle: Bundle, u: &[f64], r: &mut [f64], factors: &mut [f64], state: &mut [f64]) {
        Arch::new().dispatch(Eliminate { blocks: self, bundle, u, r, factors, state });
    }

    fn substitute(&self, bundle: Bundle, u: &mut [f64], r: &mut [f64], factors: &[f64], state: &mut [f64]) {
        Arch::new().dispatch(Substitute { blocks: self, bundle, u, r, factors, state });
    }
}

/// A point's inverse density, velocities (the direction's first), energy per mass, half the squared speed.
#[derive(Clone, Copy)]
struct Flow<S: Simd> {
    per_mass: V<S>,
    a: V<S>,
    b: V<S>,
    c: V<S>,
    energy: V<S>,
    kinetic: V<S>,
}

impl<S: Simd> Flow<S> {
    #[inline(always)]
    fn load(simd: S, u: &[f64], at: usize, offsets: &[usize; 5]) -> Self {
        let [density, a, b, c, energy] = five!(|m| V::load(simd, u, at + offsets[m]));
        let per_mass = density.recip();
        let [a, b, c, energy] = [a * per_mass, b * per_mass, c * per_mass, energy * per_mass];
        Self { per_mass, a, b, c, energy, kinetic: (a * a).plus(b, b).plus(c, c) * 0.5 }
    }
}

/// A block beside the diagonal: only what can differ from 0.
#[derive(Clone, Copy)]
struct Beside<S: Simd> {
    density: [V<S>; 2],
    normal: [V<S>; 5],
    /// Columns 1, 2, 3 of row 3, and columns 1, 2, 4 of row 4.
    cross: [[V<S>; 3]; 2],
    energy: [V<S>; 5],
}

impl<S: Simd> Beside<S> {
    /// `convective` F(flow) - `viscous` N(flow) - `dissipative`, the Jacobians of the fluxes.
    #[inline(always)]
    fn new(simd: S, flow: &Flow<S>, convective: f64, blocks: &Blocks) -> Self {
        let Flow { per_mass, a, b, c, energy, kinetic } = *flow;
        let (t2, diagonal) = (V::splat(simd, convective), V::splat(simd, -blocks.dissipative));
        let shear = per_mass * (VISCOSITY * blocks.viscous);
        let normal = per_mass * (NORMAL * VISCOSITY * blocks.viscous);
        let heat = per_mass * (CONDUCTION * blocks.viscous);
        let [t2a, t2b, t2c] = [a * t2, b * t2, c * t2];
        let sides = (b * b).plus(c, c);
        let pull = t2a * C2;
        let drag = shear - heat + pull;
        Self {
            density: [diagonal, t2],
            normal: [
                (kinetic * t2 * C2).minus(t2a, a).plus(normal, a),
                diagonal - normal + t2a * (2.0 - C2),
                t2b * -C2,
                t2c * -C2,
                t2 * C2,
            ],
            cross: [
                [(shear * b).minus(t2a, b), t2b, diagonal - shear + t2a],
                [(shear * c).minus(t2a, c), t2c, diagonal - shear + t2a],
            ],
            energy: [
                (t2a * (kinetic * (2.0 * C2) - energy * C1))
                    .plus((normal - heat) * a, a)
                    .plus(shear - heat, sides)
                    .plus(heat, energy),
                (t2 * (energy * C1 - (kinetic.plus(a, a)) * C2)).minus(normal - heat, a),
                -(drag * b),
                -(drag * c),
                diagonal - heat + t2a * C1,
            ],
        }
    }

    /// `y - block x`
    #[inline(always)]
    fn subtract(&self, y: [V<S>; 5], x: [V<S>; 5]) -> [V<S>; 5] {
        let Self { density, normal, cross: [b, c], energy } = self;
        let (mut second, mut last) = (y[1], y[4]);
        for m in 0..5 {
            second = second.minus(normal[m], x[m]);
            last = last.minus(energy[m], x[m]);
        }
        [
            y[0].minus(density[0], x[0]).minus(density[1], x[1]),
            second,
            y[2].minus(b[0], x[0]).minus(b[1], x[1]).minus(b[2], x[2]),
            y[3].minus(c[0], x[0]).minus(c[1], x[1]).minus(c[2], x[3]),
            last,
        ]
    }

    /// All columns, with the zeroes.
    #[inline(always)]
    fn columns(&self, simd: S) -> [[V<S>; 5]; 5] {
        let zero = V::splat(simd, 0.0);
        let [[p, q, r], [s, t, w]] = self.cross;
        [
            [self.density[0], self.normal[0], p, s, self.energy[0]],
            [self.density[1], self.normal[1], q, t, self.energy[1]],
            [zero, self.normal[2], r, zero, self.energy[2]],
            [zero, self.normal[3], zero, w, self.energy[3]],
            [zero, self.normal[4], zero, zero, self.energy[4]],
        ]
    }
}

/// The columns of the diagonal block: 1 + 2 (viscous N(flow) + dissipative).
#[inline(always)]
fn diagonal<S: Simd>(simd: S, flow: &Flow<S>, blocks: &Blocks) -> [[V<S>; 5]; 5] {
    let Flow { per_mass, a, b, c, energy, .. } = *flow;
    let zero = V::splat(simd, 0.0);
    let one = V::splat(simd, 1.0 + 2.0 * blocks.dissipative);
    let shear = per_mass * (2.0 * VISCOSITY * blocks.viscous);
    let normal = per_mass * (2.0 * NORMAL * VISCOSITY * blocks.viscous);
    let heat = per_mass * (2.0 * CONDUCTION * blocks.viscous);
    let (stretch, slide) = (normal - heat, shear - heat);
    let loss = ((stretch * a) * a).plus(slide * b, b).plus(slide * c, c).plus(heat, energy);
    [
        [one, -(normal * a), -(shear * b), -(shear * c), -loss],
        [zero, one + normal, zero, zero, stretch * a],
        [zero, zero, one + shear, zero, slide * b],
        [zero, zero, zero, one + shear, slide * c],
        [zero, zero, zero, zero, one + heat],
    ]
}

/// One step of Gaussian elimination with pivot `P`, on the columns of the block and on six right-hand sides.
#[inline(always)]
fn pivot<S: Simd, const P: usize>(block: &mut [[V<S>; 5]; 5], sides: &mut [[V<S>; 5]; 6]) {
    let inverse = block[P][P].recip();
    let column = block[P];
    for other in &mut block[P + 1..] {
        eliminate_column::<S, P>(&column, inverse, other);
    }
    for other in sides {
        eliminate_column::<S, P>(&column, inverse, other);
    }
}

#[inline(always)]
fn eliminate_column<S: Simd, const P: usize>(column: &[V<S>; 5], inverse: V<S>, other: &mut [V<S>; 5]) {
    other[P] = other[P] * inverse;
    for m in P + 1..5 {
        other[m] = other[m].minus(column[m], other[P]);
    }
}

/// Undoes the elimination's upper triangle.
#[inline(always)]
fn back<S: Simd, const P: usize>(block: &[[V<S>; 5]; 5], sides: &mut [[V<S>; 5]; 6]) {
    for side in sides {
        for m in 0..P {
            side[m] = side[m].minus(block[P][m], side[P]);
        }
    }
}

struct Eliminate<'a> {
    blocks: &'a Blocks,
    bundle: Bundle,
    u: &'a [f64],
    r: &'a mut [f64],
    factors: &'a mut [f64],
    state: &'a mut [f64],
}

impl WithSimd for Eliminate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { blocks, bundle, u, r, factors, state } = self;
        let offsets = blocks.offsets(&bundle);
        for lane in (0..WIDTH).step_by(V::<S>::LANES) {
            // The five columns of the previous point's upper block, then its right-hand side.
            let mut sides = [[V::splat(simd, 0.0); 5]; 6];
            for (q, side) in sides.iter_mut().enumerate() {
                for (m, value) in side.iter_mut().enumerate() {
                    *value = V::load(simd, state, (5 * q + m) * WIDTH + lane);
                }
            }
            let start = bundle.base + lane;
            let mut below = Flow::load(simd, u, start, &offsets);
            let mut here = Flow::load(simd, u, start + bundle.point, &offsets);
            for i in 0..bundle.len {
                let at = start + (i + 1) * bundle.point;
                let above = Flow::load(simd, u, at + bundle.point, &offsets);
                let lower = Beside::new(simd, &below, -blocks.convective, blocks);
                let mut block = diagonal(simd, &here, blocks);
                for (column, before) in block.iter_mut().zip(&sides) {
                    *column = lower.subtract(*column, *before);
                }
                let own = five!(|m| V::load(simd, r, at + offsets[m]));
                let own = lower.subtract(own, sides[5]);
                let upper = Beside::new(simd, &above, blocks.convective, blocks).columns(simd);
                sides = [upper[0], upper[1], upper[2], upper[3], upper[4], own];
                pivot::<S, 0>(&mut block, &mut sides);
                pivot::<S, 1>(&mut block, &mut sides);
                pivot::<S, 2>(&mut block, &mut sides);
                pivot::<S, 3>(&mut block, &mut sides);
                pivot::<S, 4>(&mut block, &mut sides);
                back::<S, 4>(&block, &mut sides);
                back::<S, 3>(&block, &mut sides);
                back::<S, 2>(&block, &mut sides);
                back::<S, 1>(&block, &mut sides);
                for (q, side) in sides[..5].iter().enumerate() {
                    store_five(side, factors, (i * BLOCK + 5 * q) * WIDTH + lane, WIDTH);
                }
                for m in 0..5 {
                    sides[5][m].store(r, at + offsets[m]);
                }
                (below, here) = (here, above);
            }
            for (q, side) in sides.iter().enumerate() {
                store_five(side, state, 5 * q * WIDTH + lane, WIDTH);
            }
        }
    }
}

struct Substitute<'a> {
    blocks: &'a Blocks,
    bundle: Bundle,
    u: &'a mut [f64],
    r: &'a mut [f64],
    factors: &'a [f64],
    state: &'a mut [f64],
}

impl WithSimd for Substitute<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { blocks, bundle, u, r, factors, state } = self;
        let offsets = blocks.offsets(&bundle);
        for lane in (0..WIDTH).step_by(V::<S>::LANES) {
            let mut next = five!(|m| V::load(simd, state, m * WIDTH + lane));
            for i in (0..bundle.len).rev() {
                let at = bundle.base + lane + (i + 1) * bundle.point;
                let mut own = five!(|m| V::load(simd, r, at + offsets[m]));
                for (q, x) in next.into_iter().enumerate() {
                    for (m, value) in own.iter_mut().enumerate() {
                        let factor = V::load(simd, factors, (i * BLOCK + 5 * q + m) * WIDTH + lane);
                        *value = value.minus(factor, x);
                    }
                }
                next = own;
                for m in 0..5 {
                    if blocks.last {
                        (own[m] + V::load(simd, u, at + offsets[m])).store(u, at + offsets[m]);
                    } else {
                        own[m].store(r, at + offsets[m]);
                    }
                }
            }
            store_five(&next, state, lane, WIDTH);
        }
    }
}
