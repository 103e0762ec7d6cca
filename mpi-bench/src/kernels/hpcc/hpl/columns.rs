//! The innermost loop of the panel factorisation: one pass over a column that applies all earlier columns of its block and
//! finds the largest element. The same source is compiled for AVX-512 and AVX2 and chosen at run time; on aarch64 the
//! baseline has NEON and fused operations.

#[cfg(target_arch = "x86_64")]
use crate::cpu::detected;

/// Rows handled at a time: the partial column stays in registers or the first-level cache while earlier columns are read.
const STRIP: usize = 64;

/// `column -= sum_i earlier[i] * factors[i]`; returns the position of the element of largest size (the first of equals), or
/// `None` for an empty column. `earlier` holds `factors.len()` columns, `ld` apart, of at least `column.len()` rows.
pub(super) fn eliminate(column: &mut [f64], earlier: &[f64], ld: usize, factors: &[f64]) -> Option<usize> {
    debug_assert!(factors.is_empty() || earlier.len() >= (factors.len() - 1) * ld + column.len());
    #[cfg(target_arch = "x86_64")]
    {
        if detected!("avx512f", "avx512vl", "avx2", "fma", "f16c") {
            // SAFETY: the CPU has the features.
            return unsafe { x86::eliminate_avx512(column, earlier, ld, factors) };
        }
        if detected!("avx2", "fma") {
            // SAFETY: the CPU has both features.
            return unsafe { x86::eliminate_avx2(column, earlier, ld, factors) };
        }
    }
    eliminate_plain::<{ cfg!(target_arch = "aarch64") }>(column, earlier, ld, factors)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #[target_feature(enable = "avx512f,avx512vl,fma,avx2")]
    pub(super) fn eliminate_avx512(
        column: &mut [f64],
        earlier: &[f64],
        ld: usize,
        factors: &[f64],
    ) -> Option<usize> {
        super::eliminate_plain::<true>(column, earlier, ld, factors)
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn eliminate_avx2(
        column: &mut [f64],
        earlier: &[f64],
        ld: usize,
        factors: &[f64],
    ) -> Option<usize> {
        super::eliminate_plain::<true>(column, earlier, ld, factors)
    }
}

/// `FUSED`: multiply and subtract in one rounding, where the CPU has it in hardware.
#[inline(always)]
fn eliminate_plain<const FUSED: bool>(
    column: &mut [f64],
    earlier: &[f64],
    ld: usize,
    factors: &[f64],
) -> Option<usize> {
    let (mut best, mut best_at) = (-1.0, None);
    let mut top = 0;
    for strip in column.chunks_mut(STRIP) {
        for (i, &factor) in factors.iter().enumerate() {
            let source = &earlier[i * ld + top..][..strip.len()];
            for (value, l) in strip.iter_mut().zip(source) {
                *value = if FUSED { (-factor).mul_add(*l, *value) } else { *value - factor * l };
            }
        }
        let largest = strip.iter().fold(0.0, |max, v| f64::max(max, v.abs()));
        if largest > best {
            best = largest;
            best_at = strip.iter().position(|v| v.abs() == largest).map(|at| top + at).or(best_at);
        }
        top += strip.len();
    }
    best_at
}

/// `column *= factor`.
pub(super) fn scale(column: &mut [f64], factor: f64) {
    for value in column {
        *value *= factor;
    }
}

#[cfg(test)]
mod tests {
    use super::{eliminate, eliminate_plain};

    #[test]
    fn one_pass_is_elimination_and_search() {
        for rows in [0, 1, 63, 64, 65, 200] {
            let ld = rows + 5;
            let earlier: Vec<f64> = (0..3 * ld).map(|x| (x as f64 * 0.7).sin()).collect();
            let start: Vec<f64> = (0..rows).map(|x| (x as f64 * 1.3).cos()).collect();
            let factors = [0.5, -2.0, 1.25];
            let (mut fast, mut plain) = (start.clone(), start.clone());
            let at = eliminate(&mut fast, &earlier, ld, &factors);
            eliminate_plain::<false>(&mut plain, &earlier, ld, &factors);
            for i in 0..rows {
                let expected = start[i] - (0..3).map(|k| earlier[i + k * ld] * factors[k]).sum::<f64>();
                assert!((fast[i] - expected).abs() < 1e-14 && (plain[i] - expected).abs() < 1e-14);
            }
            let largest = fast.iter().fold(-1.0, |m, v| f64::max(m, v.abs()));
            assert_eq!(at, fast.iter().position(|v| v.abs() == largest), "{rows} rows");
        }
    }
}
