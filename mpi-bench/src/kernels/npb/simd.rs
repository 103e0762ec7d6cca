//! One source, several instruction sets: [`dispatch`] compiles a function for the baseline, AVX2 and AVX-512 and calls the
//! widest that the CPU has; NEON is aarch64's baseline. The compiler vectorises; nothing here knows a kernel.

#[cfg(target_arch = "x86_64")]
use crate::cpu::detected;

/// How `a * b + c` is computed. Rust never fuses the two by itself, and without FMA instructions a fused one is a slow call.
pub(super) trait Arithmetic {
    /// `a * b + c`, rounded once or twice.
    fn mul_add(a: f64, b: f64, c: f64) -> f64;
}

/// Product and sum each rounded: every CPU. Not needed where the baseline fuses.
#[cfg(any(test, not(target_arch = "aarch64")))]
pub(super) struct Separate;

/// Rounded once, where the CPU has an instruction for it.
pub(super) struct Fused;

#[cfg(any(test, not(target_arch = "aarch64")))]
impl Arithmetic for Separate {
    #[inline(always)]
    fn mul_add(a: f64, b: f64, c: f64) -> f64 {
        a * b + c
    }
}

impl Arithmetic for Fused {
    #[inline(always)]
    fn mul_add(a: f64, b: f64, c: f64) -> f64 {
        a.mul_add(b, c)
    }
}

/// Defines `fn name<M: Arithmetic>(arguments) -> result { body }` as a plain function `name(arguments)` that runs the best
/// compilation of the body for this CPU; inside, `M::mul_add` is the fitting multiply-add. What the body calls must be
/// `#[inline(always)]` to be compiled along with it. Called per line or plane, not per element: the choice costs some
/// nanoseconds.
macro_rules! dispatch {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$m:ident: Arithmetic>($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $type),*) $(-> $result)? {
            #[inline(always)]
            fn compiled<$m: $crate::kernels::npb::simd::Arithmetic>($($arg: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
            fn avx512($($arg: $type),*) $(-> $result)? {
                compiled::<$crate::kernels::npb::simd::Fused>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
            fn avx2($($arg: $type),*) $(-> $result)? {
                compiled::<$crate::kernels::npb::simd::Fused>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            match $crate::kernels::npb::simd::level() {
                // SAFETY: the CPU has the features that the function is compiled for; so said `level`.
                $crate::kernels::npb::simd::Level::Avx512 => return unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                $crate::kernels::npb::simd::Level::Avx2 => return unsafe { avx2($($arg),*) },
                $crate::kernels::npb::simd::Level::Baseline => {}
            }
            #[cfg(target_arch = "aarch64")]
            return compiled::<$crate::kernels::npb::simd::Fused>($($arg),*);
            #[cfg(not(target_arch = "aarch64"))]
            compiled::<$crate::kernels::npb::simd::Separate>($($arg),*)
        }
    };
}
pub(super) use dispatch;

/// What [`dispatch`] chooses from.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// What every x86-64 has.
    Baseline,
    /// AVX2 with FMA and the bit instructions of its generation.
    Avx2,
    /// The AVX-512 of servers since Skylake.
    Avx512,
}

/// The best for this CPU.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn level() -> Level {
    let avx2 = detected!("avx2", "fma", "bmi1", "bmi2", "lzcnt", "popcnt");
    let avx512 = detected!(
        "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx2", "fma", "f16c", "bmi1", "bmi2", "lzcnt",
        "popcnt"
    );
    match (avx512, avx2) {
        (true, _) => Level::Avx512,
        (false, true) => Level::Avx2,
        (false, false) => Level::Baseline,
    }
}

#[cfg(test)]
mod tests {
    dispatch! {
        fn dot<M: Arithmetic>(x: &[f64], y: &[f64]) -> f64 {
            x.iter().zip(y).fold(0.0, |sum, (x, y)| M::mul_add(*x, *y, sum))
        }
    }

    #[test]
    fn a_dispatched_function_is_the_plain_one() {
        let x: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(dot(&x, &x), 328_350.0);
    }
}
