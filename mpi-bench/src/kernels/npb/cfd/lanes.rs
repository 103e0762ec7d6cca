//! Vectors of as many doubles as the CPU's registers hold, with arithmetic that reads like the formulas. Which registers there
//! are is `pulp`'s to find out at run time. Nothing here knows a kernel.
//!
//! Everything that computes must end up inside the function that is compiled for the CPU's instructions: it is
//! `#[inline(always)]`, and arithmetic stands in no closure, for which there is no such attribute. [`five`] and [`three`] take
//! the place of `array::from_fn`.

use std::ops::{Add, Mul, Neg, Sub};

use pulp::Simd;

/// Doubles that data are grouped and padded to: the widest register's; all others divide it.
pub(in super::super) const WIDTH: usize = 8;

/// Smallest multiple of [`WIDTH`] that holds `len`.
pub(in super::super) const fn padded(len: usize) -> usize {
    len.next_multiple_of(WIDTH)
}

/// One register.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct V<S: Simd>(S, S::f64s);

impl<S: Simd> V<S> {
    /// Doubles in a register.
    pub(in super::super) const LANES: usize = S::F64_LANES;

    #[inline(always)]
    pub(in super::super) fn splat(simd: S, value: f64) -> Self {
        Self(simd, simd.splat_f64s(value))
    }

    /// The lanes that start at `from[at]`.
    #[inline(always)]
    pub(in super::super) fn load(simd: S, from: &[f64], at: usize) -> Self {
        Self(simd, S::as_simd_f64s(&from[at..at + S::F64_LANES]).0[0])
    }

    #[inline(always)]
    pub(in super::super) fn store(self, into: &mut [f64], at: usize) {
        S::as_mut_simd_f64s(&mut into[at..at + S::F64_LANES]).0[0] = self.1;
    }

    /// `self + a b`
    #[inline(always)]
    pub(in super::super) fn plus(self, a: Self, b: Self) -> Self {
        Self(self.0, self.0.mul_add_e_f64s(a.1, b.1, self.1))
    }

    /// `self - a b`
    #[inline(always)]
    pub(in super::super) fn minus(self, a: Self, b: Self) -> Self {
        Self(self.0, self.0.negate_mul_add_e_f64s(a.1, b.1, self.1))
    }

    #[inline(always)]
    pub(in super::super) fn recip(self) -> Self {
        Self(self.0, self.0.div_f64s(self.0.splat_f64s(1.0), self.1))
    }

    #[inline(always)]
    pub(in super::super) fn sqrt(self) -> Self {
        Self(self.0, self.0.sqrt_f64s(self.1))
    }

    /// One lane's value.
    #[inline(always)]
    pub(in super::super) fn lane(self, lane: usize) -> f64 {
        let mut all = [0.0; WIDTH];
        self.store(&mut all, 0);
        all[lane]
    }

    /// Every lane's value in the next higher lane.
    #[inline(always)]
    pub(in super::super) fn moved_up(self) -> Self {
        Self(self.0, self.0.rotate_right_f64s(self.1, 1))
    }

    /// Every lane's value in the next lower lane.
    #[inline(always)]
    pub(in super::super) fn moved_down(self) -> Self {
        Self(self.0, self.0.rotate_left_f64s(self.1, 1))
    }

    /// The lanes of `other` where `mask` is 1, this vector's where it is 0.
    #[inline(always)]
    pub(in super::super) fn replaced(self, mask: Self, other: Self) -> Self {
        let simd = self.0;
        let chosen = simd.less_than_f64s(simd.splat_f64s(0.5), mask.1);
        Self(simd, simd.select_f64s(chosen, other.1, self.1))
    }
}

/// `[body with m = 0, .., body with m = 4]`
macro_rules! five {
    (|$m:ident| $body:expr) => { five!(|$m| $body; 0 1 2 3 4) };
    (|$m:ident| $body:expr; $($value:literal)+) => { [$({ let $m: usize = $value; $body }),+] };
}
pub(in super::super) use five;

/// `[body with m = 0, .., body with m = 2]`
macro_rules! three {
    (|$m:ident| $body:expr) => { three!(|$m| $body; 0 1 2) };
    (|$m:ident| $body:expr; $($value:literal)+) => { [$({ let $m: usize = $value; $body }),+] };
}
pub(in super::super) use three;

/// Registers at equal distances in a slice: the components at a point, mostly.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Source<'a, S: Simd> {
    pub(in super::super) simd: S,
    pub(in super::super) from: &'a [f64],
    pub(in super::super) at: usize,
    pub(in super::super) stride: usize,
}

impl<S: Simd> Source<'_, S> {
    /// The `m`-th.
    #[inline(always)]
    pub(in super::super) fn get(&self, m: usize) -> V<S> {
        V::load(self.simd, self.from, self.at + m * self.stride)
    }

    /// The first five.
    #[inline(always)]
    pub(in super::super) fn all(&self) -> [V<S>; 5] {
        five!(|m| self.get(m))
    }

    /// The same from another start.
    #[inline(always)]
    pub(in super::super) fn starting(&self, at: usize) -> Self {
        Self { at, ..*self }
    }
}

/// Stores five registers at equal distances.
#[inline(always)]
pub(in super::super) fn store_five<S: Simd>(values: &[V<S>; 5], into: &mut [f64], at: usize, stride: usize) {
    for (m, value) in values.iter().enumerate() {
        value.store(into, at + m * stride);
    }
}

impl<S: Simd> Add for V<S> {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0, self.0.add_f64s(self.1, other.1))
    }
}

impl<S: Simd> Sub for V<S> {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(self.0, self.0.sub_f64s(self.1, other.1))
    }
}

impl<S: Simd> Mul for V<S> {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(self.0, self.0.mul_f64s(self.1, other.1))
    }
}

impl<S: Simd> Neg for V<S> {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        Self(self.0, self.0.neg_f64s(self.1))
    }
}

impl<S: Simd> Add<f64> for V<S> {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: f64) -> Self {
        self + Self::splat(self.0, other)
    }
}

impl<S: Simd> Mul<f64> for V<S> {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: f64) -> Self {
        self * Self::splat(self.0, other)
    }
}

#[cfg(test)]
mod tests {
    use pulp::{Arch, Simd, WithSimd};

    use super::V;

    struct Everything;

    impl WithSimd for Everything {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            let input: Vec<f64> = (1..=V::<S>::LANES + 1).map(|i| i as f64).collect();
            let (a, b) = (V::load(simd, &input, 0), V::load(simd, &input, 1));
            let first = V::load(simd, &[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 0);
            let lanes = |v: V<S>| {
                let mut out = vec![0.0; V::<S>::LANES];
                v.store(&mut out, 0);
                out
            };
            let each =
                |f: &dyn Fn(f64) -> f64| input[..V::<S>::LANES].iter().map(|&x| f(x)).collect::<Vec<_>>();
            assert_eq!(lanes(a + b), each(&|x| 2.0 * x + 1.0));
            assert_eq!(lanes(b - a), each(&|_| 1.0));
            assert_eq!(lanes(-a.plus(a, b)), each(&|x| -(x + x * (x + 1.0))));
            assert_eq!(lanes(a.minus(a, b)), each(&|x| x - x * (x + 1.0)));
            assert_eq!(lanes((a * a).sqrt() * 3.0 + 1.0), each(&|x| 3.0 * x + 1.0));
            assert_eq!(lanes(a.recip()), each(&|x| 1.0 / x));
            let last = V::<S>::LANES as f64;
            assert_eq!(a.lane(V::<S>::LANES - 1), last);
            assert_eq!(lanes(a.moved_up()), each(&|x| if x == 1.0 { last } else { x - 1.0 }));
            assert_eq!(lanes(a.moved_down()), each(&|x| if x == last { 1.0 } else { x + 1.0 }));
            assert_eq!(lanes(a.replaced(first, b)), each(&|x| if x == 1.0 { 2.0 } else { x }));
        }
    }

    #[test]
    fn lanes_compute_as_numbers_do() {
        Arch::new().dispatch(Everything);
        Everything.with_simd(pulp::Scalar);
    }
}
